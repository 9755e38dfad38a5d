"""How good probabilities are: calibration error with its interval, Brier score, log loss, sharpness.

The expected calibration error is taken over bins of equal mass (Nixon et al., CVPR Workshops 2019). It is above 0 even
for perfect probabilities, because the share of right answers in a bin fluctuates (Kumar et al., NeurIPS 2019): that
bias is worked out by drawing outcomes from the probabilities themselves, and stands beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int

BINS: Final = 10
DRAWS: Final = 1000
LEAST: Final = 1e-6
"""Probabilities are kept this far from 0 and 1 in the log loss."""
SURE: Final = 0.95


@dataclass(frozen=True)
class Bin:
    """A bin of the reliability diagram: mean probability, share that was right, and how many."""

    probability: float
    right: float
    count: int


@dataclass(frozen=True)
class Scores:
    """Of probabilities that are held against what came out.

    Attributes:
        count: how many.
        right: share that was right.
        ece: expected calibration error.
        ece_low, ece_high: 95 % interval from bootstrap over groups.
        ece_perfect: what perfectly calibrated probabilities of the same values show on average.
        ece_perfect_high: 95th percentile of the same.
        brier: mean squared error.
        brier_share: that of the constant prediction, for comparison.
        log_loss: mean -ln of the probability of what came out.
        spread: standard deviation of the probabilities, their sharpness.
        sure, sure_right: share of probabilities of at least 0.95, and how often those were right.
        bins: of the reliability diagram.
    """

    count: int
    right: float
    ece: float
    ece_low: float
    ece_high: float
    ece_perfect: float
    ece_perfect_high: float
    brier: float
    brier_share: float
    log_loss: float
    spread: float
    sure: float
    sure_right: float | None
    bins: tuple[Bin, ...]


def scores(
    probability: Float[np.ndarray, "row"],
    right: Bool[np.ndarray, "row"],
    group: Int[np.ndarray, "row"],
    rng: np.random.Generator,
    *,
    bins: int = BINS,
    draws: int = DRAWS,
) -> Scores:
    """Hold probabilities against outcomes.

    Args:
        probability: of each row.
        right: what came out.
        group: rows of one group stay together in the bootstrap.
        rng: of bootstrap and null.
        bins: of equal mass.
        draws: of bootstrap and null.
    """
    p, y = np.asarray(probability, dtype=float), np.asarray(right, dtype=float)
    perfect = [ece(p, (rng.random(len(p)) < p).astype(float), bins) for _ in range(draws)]
    again = [_resampled(p, y, group, bins, rng) for _ in range(draws)]
    within = np.clip(p, LEAST, 1.0 - LEAST)
    sure = p >= SURE
    return Scores(
        count=len(p),
        right=float(y.mean()),
        ece=ece(p, y, bins),
        ece_low=float(np.quantile(again, 0.025)),
        ece_high=float(np.quantile(again, 0.975)),
        ece_perfect=float(np.mean(perfect)),
        ece_perfect_high=float(np.quantile(perfect, 0.95)),
        brier=float(np.mean((p - y) ** 2)),
        brier_share=float(y.mean() * (1.0 - y.mean())),
        log_loss=float(-np.mean(y * np.log(within) + (1.0 - y) * np.log(1.0 - within))),
        spread=float(p.std()),
        sure=float(sure.mean()),
        sure_right=float(y[sure].mean()) if sure.any() else None,
        bins=reliability(p, y, bins),
    )


def ece(probability: Float[np.ndarray, "row"], right: Float[np.ndarray, "row"], bins: int = BINS) -> float:
    """Give the mean over bins of equal mass of |share right - mean probability|, weighted by their size."""
    order = np.argsort(probability, kind="stable")
    starts = _starts(len(order), bins)
    return float(np.abs(np.add.reduceat((right - probability)[order], starts)).sum() / len(order))


def reliability(
    probability: Float[np.ndarray, "row"], right: Float[np.ndarray, "row"], bins: int = BINS
) -> tuple[Bin, ...]:
    """Give the bins of the reliability diagram, ascending."""
    order = np.argsort(probability, kind="stable")
    parts = np.split(order, _starts(len(order), bins)[1:])
    return tuple(Bin(float(probability[part].mean()), float(right[part].mean()), len(part)) for part in parts)


def _starts(count: int, bins: int) -> Int[np.ndarray, "bin"]:
    return np.unique(np.arange(bins) * count // bins)


def _resampled(
    p: Float[np.ndarray, "row"],
    y: Float[np.ndarray, "row"],
    group: Int[np.ndarray, "row"],
    bins: int,
    rng: np.random.Generator,
) -> float:
    _, member = np.unique(group, return_inverse=True)
    times = np.bincount(rng.integers(0, member.max() + 1, member.max() + 1), minlength=member.max() + 1)
    rows = np.repeat(np.arange(len(p)), times[member])
    return ece(p[rows], y[rows], bins)
