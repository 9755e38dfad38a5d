"""Two ways to solve the same cases, compared case by case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
from jaxtyping import Float

RESAMPLES = 4000
INTERVAL = (0.025, 0.975)


@dataclass(frozen=True)
class Interval:
    """A figure with the ends of its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Gains:
    """Cases that only one of two ways solves.

    Attributes:
        won: solved by the new way alone.
        lost: solved by the old way alone.
        p_value: of McNemar's exact test: the probability that as uneven a split, or a more uneven one, comes by chance
            where both ways are equally good.
    """

    won: int
    lost: int
    p_value: float


def gains(new: Sequence[bool], old: Sequence[bool]) -> Gains:
    """Count the cases on which two ways differ (Q. McNemar, Psychometrika 12 (1947) 153; exact binomial, two-sided).

    Raises:
        ValueError: the two are not of one length.
    """
    won = sum(one and not other for one, other in zip(new, old, strict=True))
    lost = sum(other and not one for one, other in zip(new, old, strict=True))
    n = won + lost
    tail = sum(comb(n, k) for k in range(min(won, lost) + 1)) / 2**n
    return Gains(won, lost, min(1.0, 2.0 * tail))


def ratio(new: Float[np.ndarray, "case"], old: Float[np.ndarray, "case"], *, seed: int = 0) -> Interval:
    """Give the geometric mean of new / old over the cases, with a bootstrap interval over cases (percentile method).

    Raises:
        ValueError: the two are not of one length, or empty.
    """
    if len(new) != len(old) or not len(new):
        raise ValueError(f"found {len(new)} and {len(old)} times; expected as many of each, and one at least")
    logs = np.log(np.asarray(new, dtype=float) / np.asarray(old, dtype=float))
    rng = np.random.default_rng(seed)
    means = logs[rng.integers(len(logs), size=(RESAMPLES, len(logs)))].mean(axis=1)
    low, high = np.quantile(means, INTERVAL)
    return Interval(float(np.exp(logs.mean())), float(np.exp(low)), float(np.exp(high)))
