"""The solver with learned parts off, each alone, and all, on the same cases in turn.

Each case is solved by every variant before the next case comes, and the order of the variants moves on by one with each
case, so that whatever else the machine does meanwhile falls on all of them alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from app.indexing.problem import Progress, SolveOptions, SolveResult
from benchmarks.indexing.cases import Case
from benchmarks.indexing.criterion import same_lattice
from benchmarks.indexing.outcome import Outcome
from benchmarks.indexing.perturb import Perturbation
from benchmarks.indexing.run import solve_case
from benchmarks.indexing.variants import Variant

Solve = Callable[..., SolveResult]

SCENARIOS: dict[str, Perturbation] = {
    "clean": Perturbation(),
    "noisy, 0.03 deg": Perturbation(sigma=0.03),
    "2 impurities": Perturbation(impurities=2),
    "5 impurities": Perturbation(impurities=5),
    "shift 0.05 deg": Perturbation(zero_shift=0.05),
    "shift 0.1 deg": Perturbation(zero_shift=0.1),
}
"""What simulated cases go through; measured ones are taken as they are."""


@dataclass(frozen=True)
class Trial:
    """One case solved by one variant.

    Attributes:
        scenario: where the case comes from and what was done to it.
        variant: name of the variant.
        outcome: see `Outcome`.
        true_wall_s, true_cpu_s: until the true cell first led; None where the answer is another one.
    """

    scenario: str
    variant: str
    outcome: Outcome
    true_wall_s: float | None
    true_cpu_s: float | None

    @property
    def right(self) -> bool:
        """The first answer is the true cell."""
        return self.outcome.rank == 1


@dataclass
class Watch:
    """Keeps each new leader of a running solve with the time it took; pass it as ``on_progress``."""

    started_wall_s: float = field(default_factory=time.perf_counter)
    started_cpu_s: float = field(default_factory=time.process_time)
    leaders: list[tuple[tuple[float, ...], float, float]] = field(default_factory=list)

    def __call__(self, progress: Progress) -> None:
        if progress.best is None:
            return
        cell = tuple(float(value) for value in progress.best.niggli.constants)
        if not self.leaders or self.leaders[-1][0] != cell:
            wall, cpu = time.perf_counter() - self.started_wall_s, time.process_time() - self.started_cpu_s
            self.leaders.append((cell, wall, cpu))


def run_matrix(
    sets: dict[str, Sequence[Case]], variants: Sequence[Variant], solve: Solve, options: SolveOptions
) -> Iterator[Trial]:
    """Solve every case of every scenario by every variant in turn.

    Args:
        sets: cases by scenario.
        variants: columns.
        solve: `app.indexing.solve.solve`.
        options: for all.
    """
    number = 0
    for scenario, cases in sets.items():
        for case in cases:
            turn = number % len(variants)
            number += 1
            for variant in (*variants[turn:], *variants[:turn]):
                yield tried(scenario, case, variant, solve, options)


def tried(scenario: str, case: Case, variant: Variant, solve: Solve, options: SolveOptions) -> Trial:
    """Solve one case by one variant."""
    watch = Watch()
    outcome = solve_case(
        case, lambda peaks, chosen: solve(peaks, chosen, watch, learned=variant.learned), options
    )  # the watch starts a few microseconds before the solver
    if outcome.rank != 1:
        return Trial(scenario, variant.name, outcome, None, None)
    led = ((wall, cpu) for cell, wall, cpu in watch.leaders if same_lattice(cell, case.niggli))
    wall, cpu = next(led, (outcome.wall_s, outcome.cpu_s))
    return Trial(scenario, variant.name, outcome, min(wall, outcome.wall_s), min(cpu, outcome.cpu_s))


def without_first(trial: Trial) -> Trial:
    """Drop the answered cell, which no table shows."""
    return replace(trial, outcome=replace(trial.outcome, first=None))
