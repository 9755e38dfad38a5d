"""What each step of the search earns and costs, measured on published structures, and the steps in their best order.

Every step that may be of use is done on patterns of its own lattice. Lattices with as many metric terms are alike
enough to share their gains; costs are each lattice's own. From these the steps of a lattice are put in order, each
time the one that solves most of what is unsolved for its time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Float

from app.crystallography.lattice import LATTICES
from app.crystallography.metric import cell_from_x
from app.crystallography.reduction import niggli
from app.indexing.learned.models import Regression
from app.indexing.problem import BRAVAIS, SolveOptions
from app.indexing.search.generator import Effort
from app.indexing.search.hypotheses import Hypotheses, grown_and_weighed
from app.indexing.search_order import GENERATORS, Step
from app.indexing.solve import search_bounds, with_mixture
from training.indexing.odds.patterns import Known

_SHIFTS = (-0.7, 0.7)
_BOUNDS: Mapping[int, tuple[int, ...]] = MappingProxyType(
    {
        1: (0, 100),
        2: (0, 600, 2500, 8000),
        3: (0, 600, 2500, 6000, 15_000, 40_000),
        4: (0, 600, 2500, 6000, 20_000, 80_000),
        6: (0, 600, 2500, 6000, 20_000, 60_000, 200_000),
    }
)
"""By number of metric terms: where the list of assignments is cut."""
_KEEP = (40, 60, 80, 100, 150, 150)
_SHIFTED_ROWS = 4000
_LEAST_GAIN = 0.004
"""A step that earns less is worth this: patterns differ from those that it was measured on."""


def possible_steps(bravais: str) -> list[Step]:
    """All steps that a lattice may have, without gains and costs."""
    n = LATTICES[bravais].n_params
    bounds = _BOUNDS[n]

    def step(generator: str, **how: float) -> Step:
        return Step(generator, bravais, 0.0, 0.0, **how)  # pyright: ignore[reportArgumentType]

    found = [
        step("low_order", first=first, last=last, keep=keep, level=1)
        for first, last, keep in zip(bounds[:-1], bounds[1:], _KEEP, strict=False)
    ]
    found += [step("low_order", last=_SHIFTED_ROWS, keep=80, shift=shift) for shift in _SHIFTS]
    if n <= 3:
        found += [step("exhaustive"), step("exhaustive", impurities=1)]
    else:
        found += [step("zones"), *(step("zones", shift=shift) for shift in _SHIFTS), step("volume")]
    return found


@dataclass(frozen=True)
class Measured:
    """What the steps of some lattices did.

    Attributes:
        found: whether the true cell came of it, shape (pattern, step).
        cpu_s: processor time, shape (pattern, step).
        bravais: lattice of each pattern.
    """

    found: Bool[np.ndarray, "pattern step"]
    cpu_s: Float[np.ndarray, "pattern step"]
    bravais: tuple[str, ...]


def measure(
    patterns: Sequence[Known], tell: Callable[[str], None], regression: Regression | None = None
) -> dict[int, Measured]:
    """Do every step on every pattern of its lattice, walks from drawn cells where a model can draw; by metric terms."""
    results: dict[int, Measured] = {}
    for n in _BOUNDS:
        members = [known for known in patterns if LATTICES[known.bravais].n_params == n]
        rows = [_measured(known, regression) for known in members]
        results[n] = Measured(
            np.array([[found for found, _ in row] for row in rows]),
            np.array([[cpu for _, cpu in row] for row in rows]),
            tuple(known.bravais for known in members),
        )
        tell(f"{n} terms: {len(members)} patterns, solved by any step {results[n].found.any(axis=1).mean():.3f}")
    return results


def _measured(known: Known, regression: Regression | None) -> list[tuple[bool, float]]:
    return [_done(step, known, regression) for step in possible_steps(known.bravais)]


def _done(step: Step, known: Known, regression: Regression | None) -> tuple[bool, float]:
    options = SolveOptions(device="cpu")
    observed, limits, zero_sigma = search_bounds(known.peaks, options)
    shift = step.shift * options.zero_shift_deg
    started = time.thread_time()
    effort = Effort(level=step.level, max_impurities=step.impurities)
    generator = with_mixture(GENERATORS[step.generator](step), step.lattice, regression)
    proposal = generator.propose(step.lattice, observed.shifted(shift), limits, effort)
    found = grown_and_weighed(
        step.lattice, proposal.x, observed, limits,
        generator=step.generator, zero_start_deg=shift, zero_sigma_deg=zero_sigma,
    )  # fmt: skip
    return _has(found, known), time.thread_time() - started


def _has(found: Hypotheses, known: Known) -> bool:
    lattice = LATTICES[found.bravais]
    return any(known.is_cell(niggli(cell_from_x(lattice, x), lattice.centring.symbol)) for x in found.x)


def best_order(results: Mapping[int, Measured]) -> tuple[Step, ...]:
    """Put the steps of each lattice in order, with the gain of each over those before it."""
    return tuple(step for bravais in BRAVAIS for step in _chain(bravais, results[LATTICES[bravais].n_params]))


def _chain(bravais: str, measured: Measured) -> list[Step]:
    steps = possible_steps(bravais)
    own = np.array([name == bravais for name in measured.bravais])
    cost = measured.cpu_s[own].mean(axis=0)
    unsolved, left, chain = np.ones(len(measured.found), bool), list(range(len(steps))), []
    while left:
        # Slices of a list are done in the order of the list.
        ready = [i for i in left if not any(_comes_before(steps[j], steps[i]) for j in left)]
        gain = {i: max(float((measured.found[:, i] & unsolved).mean()), _LEAST_GAIN) for i in ready}
        best = max(ready, key=lambda i: gain[i] / cost[i])
        chain.append(replace(steps[best], gain=round(gain[best], 4), cost_s=round(float(cost[best]), 5)))
        unsolved &= ~measured.found[:, best]
        left.remove(best)
    return chain


def _comes_before(one: Step, other: Step) -> bool:
    return one.generator == other.generator == "low_order" and one.shift == other.shift and one.first < other.first
