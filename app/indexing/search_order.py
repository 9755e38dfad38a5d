"""In which order the pieces of a search are worth their time, and when the answer is beyond doubt.

A step is one generator on one lattice with one part of its effort. What it earns, the share of patterns of its lattice
that it solves and those before it do not, and what it costs were measured (`training.indexing.odds.steps`). A step is
worth its gain times the probability of its lattice, over its cost, and the best come first, which makes the expected
time until the true cell is found least (W. E. Smith, Naval Res. Logist. Quart. 3 (1956) 59). Steps of one lattice keep
their order, so a poor step before a good one is taken with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from jaxtyping import Float

from app.indexing.problem import BRAVAIS
from app.indexing.ranking import Found
from app.indexing.search.exhaustive import Exhaustive
from app.indexing.search.generator import Generator
from app.indexing.search.listed import Listed
from app.indexing.search.volume import ByVolume
from app.indexing.search.zones import Zones

FIRST_LOT_S = 0.02
"""Processor time of the steps between the start and the first look at what was found."""
LOT_GROWTH = 0.5
"""A lot takes this share of the time spent before it: looking takes time, too."""

N_TERMS = 7
"""Of `doubt_terms`."""


@dataclass(frozen=True)
class Step:
    """One piece of the search.

    Attributes:
        generator: a key of `GENERATORS`.
        lattice: Bravais lattice.
        gain: share of the patterns of this lattice that it solves and the lattice's steps before it do not.
        cost_s: processor time, seconds.
        level, impurities: see `Effort`.
        shift: zero shift that is taken off the lines beforehand, as a share of the largest that is looked for.
        first, last, keep: see `Listed`.
    """

    generator: str
    lattice: str
    gain: float
    cost_s: float
    level: int = 0
    impurities: int = 0
    shift: float = 0.0
    first: int = 0
    last: int = 0
    keep: int = 150


GENERATORS: Mapping[str, Callable[[Step], Generator]] = MappingProxyType(
    {
        "low_order": lambda step: Listed(step.first, step.last, step.keep),
        "exhaustive": lambda _: Exhaustive(),
        "zones": lambda _: Zones(),
        "volume": lambda _: ByVolume(),
    }
)
"""What makes the generator of a step."""


def in_lots(
    steps: Iterable[Step], odds: Float[np.ndarray, "lattice"], lattices: Sequence[str]
) -> tuple[tuple[Step, ...], ...]:
    """Put the steps of the lattices that are asked for in the order of their worth, in lots.

    Args:
        steps: of all lattices; those of one lattice in the order in which they have to be done.
        odds: probability of each lattice, in the order of `BRAVAIS`.
        lattices: those to search.

    Returns:
        Lots of steps; what was found is looked at after each.
    """
    chains = {bravais: [step for step in steps if step.lattice == bravais] for bravais in lattices}
    groups = [
        (float(odds[BRAVAIS.index(bravais)]) * rate, group)
        for bravais in sorted(chains, key=BRAVAIS.index)
        for rate, group in _pooled(chains[bravais])
    ]
    groups.sort(key=lambda one: -one[0])
    lots: list[tuple[Step, ...]] = []
    lot: list[Step] = []
    spent = cost = 0.0
    for step in (step for _, group in groups for step in group):
        lot.append(step)
        cost += step.cost_s
        if cost >= max(FIRST_LOT_S, LOT_GROWTH * spent):
            lots.append(tuple(lot))
            spent, cost, lot = spent + cost, 0.0, []
    return (*lots, tuple(lot)) if lot else tuple(lots)


def _pooled(chain: Sequence[Step]) -> list[tuple[float, list[Step]]]:
    """Join steps with those after them that are worth more, until the rates of gain fall; give rates and groups."""
    groups: list[tuple[float, float, list[Step]]] = []
    for step in chain:
        gain, cost, members = step.gain, step.cost_s, [step]
        while groups and groups[-1][0] * cost <= gain * groups[-1][1]:
            before = groups.pop()
            gain, cost, members = gain + before[0], cost + before[1], [*before[2], *members]
        groups.append((gain, cost, members))
    return [(gain / cost, members) for gain, cost, members in groups]


def remaining(steps: Iterable[Step], odds: Float[np.ndarray, "lattice"]) -> float:
    """Probability that the true cell is found by these steps and none before."""
    return float(sum(odds[BRAVAIS.index(step.lattice)] * step.gain for step in steps))


@dataclass(frozen=True)
class Doubt:
    """A logistic model of whether the search to its end would change the first family.

    Attributes:
        weights: of the terms of `doubt_terms`.
        bias: added to them.
        most: probability of a change below which the search ends.
        weak: evidence for each line below which a family is weak.
        most_weak: the probability below which the search ends at a weak family: the model has seen few of them.
    """

    weights: tuple[float, ...]
    bias: float
    most: float
    weak: float = 0.0
    most_weak: float = 0.0

    def is_settled(self, best: Sequence[Found], n_lines: int, left: float) -> bool:
        """Tell whether the search may end. Arguments as `doubt_terms`."""
        score = self.bias + float(np.dot(self.weights, doubt_terms(best, n_lines, left)))
        most = self.most_weak if best[0].log_odds < self.weak * n_lines else self.most
        return 1.0 / (1.0 + math.exp(-max(min(score, 700.0), -700.0))) < most


def doubt_terms(best: Sequence[Found], n_lines: int, left: float) -> Float[np.ndarray, "term"]:
    """What speaks for and against the first family.

    Args:
        best: families, best first, at least one.
        n_lines: lines that the families were weighed on.
        left: see `remaining`.

    Returns:
        Evidence; evidence for each line; gap to the second family, and its square root; share of the lines that are not
        explained, and of the predicted lines that are seen; logarithm of what is left to find.
    """
    first = best[0]
    gap = min(first.log_odds - best[1].log_odds, 40.0) if len(best) > 1 else 40.0
    return np.array(
        (
            min(first.log_odds, 80.0) / 10.0,
            first.log_odds / n_lines,
            gap / 10.0,
            math.sqrt(max(gap, 0.0)),
            1.0 - first.n_indexed / n_lines,
            first.n_indexed / max(first.n_possible, 1),
            math.log(left + 1e-3),
        )
    )
