"""How good answers are. Separations count in units of 8 us, as the school's targets do (a sample of 10 ns is 1/800)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float

from training.waveform.methods import LEVELS, Answer

UNIT_US: Final = 8.0
SEPARATION_EDGES: Final = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.6, 0.8, 1.0)
"""Bins of the true separation in which errors are reported; the last one holds its upper edge."""
TWO_EDGES: Final = (0.0, 0.01, 0.1, 0.2, 0.3, 1.0)
"""Bins of the true separation in which the recognition of two scatters is reported."""
FALSE_POSITIVES: Final = 0.05
ROC_POINTS: Final = 101


def rounded_accuracy(truth: Float[np.ndarray, "wave"], predicted: Float[np.ndarray, "wave"]) -> float:
    """Give the share of answers that round to the same tenth as the truth; both in units of 8 us.

    The school's metric, with equal shapes: compared as (n,) with (n, 1), Keras would compare all with all.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"shapes must be equal; found {truth.shape} and {predicted.shape}")
    return float(np.mean(np.rint(10 * truth) == np.rint(10 * predicted)))


@dataclass(frozen=True)
class Bin:
    """Errors of the events whose true separation lies in one range.

    Attributes:
        low, high: the range; in units of 8 us, as the errors are.
        events: how many.
        bias, rmse, mae: mean, root mean square and mean absolute error.
        bound: root mean square of the Cramer-Rao bounds, where they are known.
        coverage: share of truths within the central intervals of `LEVELS`; empty where there are none.
    """

    low: float
    high: float
    events: int
    bias: float
    rmse: float
    mae: float
    bound: float | None
    coverage: tuple[float, ...]

    @property
    def over_bound(self) -> float | None:
        """Error relative to the bound. A biased estimate may be below it: towards 0, all Bayesian ones are biased."""
        return self.rmse / self.bound if self.bound else None


@dataclass(frozen=True)
class SeparationScores:
    """Errors over all events with two scatters, and by separation."""

    events: int
    mse: float
    mae: float
    accuracy: float
    coverage: tuple[float, ...]
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class TwoBin:
    """How well two scatters in one range of separations are told from one scatter.

    Attributes:
        low, high: the range in units of 8 us.
        events: with two scatters.
        auc: area under the ROC curve; 1/2 is guessing.
        auc_error: its standard error (Hanley and McNeil, Radiology 143, 1982, 29).
        efficiency: share that is recognised where `FALSE_POSITIVES` of the single scatters are taken for two.
        roc: share of events above the threshold, at shares of single scatters above it in `ROC_POINTS` equal steps.
    """

    low: float
    high: float
    events: int
    auc: float
    auc_error: float
    efficiency: float
    roc: tuple[float, ...]


@dataclass(frozen=True)
class TwoScores:
    """Recognition of two scatters over all events, and by separation.

    Attributes:
        brier: mean squared difference between probability and truth, one and two weighed equally; 1/4 is guessing.
    """

    singles: int
    auc: float
    efficiency: float
    brier: float
    bins: tuple[TwoBin, ...]


@dataclass(frozen=True)
class Scores:
    """All that is known of one method on one set of events; None for what it does not answer."""

    separation: SeparationScores | None
    two: TwoScores | None


def score(
    d_us: Float[np.ndarray, "wave"],
    answer: Answer,
    single_p_two: Float[np.ndarray, "single"] | None = None,
    bound_us: Float[np.ndarray, "wave"] | None = None,
) -> Scores:
    """Score answers to waveforms with two scatters.

    Args:
        d_us: true separations.
        answer: to those waveforms.
        single_p_two: what the same method said of waveforms with one scatter.
        bound_us: least standard deviation of an unbiased estimate for each waveform; nan where unknown.
    """
    separation = None if answer.d_us is None else _separation(d_us, answer, answer.d_us, bound_us)
    two = None if answer.p_two is None or single_p_two is None else _two(d_us, answer.p_two, single_p_two)
    return Scores(separation, two)


def _separation(
    d_us: Float[np.ndarray, "wave"],
    answer: Answer,
    found_us: Float[np.ndarray, "wave"],
    bound_us: Float[np.ndarray, "wave"] | None,
) -> SeparationScores:
    truth, found = d_us / UNIT_US, found_us / UNIT_US
    error = found - truth
    bound = np.full(len(truth), np.nan) if bound_us is None else bound_us / UNIT_US
    inside = _inside(d_us, answer)
    bins = tuple(
        _bin(low, high, error[rows], inside[:, rows], bound[rows])
        for low, high, rows in in_bins(truth, SEPARATION_EDGES)
        if rows.any()
    )
    return SeparationScores(
        events=len(truth),
        mse=float(np.mean(error**2)),
        mae=float(np.mean(np.abs(error))),
        accuracy=rounded_accuracy(truth, found),
        coverage=tuple(inside.mean(axis=1).tolist()),
        bins=bins,
    )


def _inside(d_us: Float[np.ndarray, "wave"], answer: Answer) -> Bool[np.ndarray, "level wave"]:
    if answer.intervals_us is None:
        return np.zeros((0, len(d_us)), bool)
    return (answer.intervals_us[:, 0] <= d_us) & (d_us <= answer.intervals_us[:, 1])


def _bin(
    low: float,
    high: float,
    error: Float[np.ndarray, "wave"],
    inside: Bool[np.ndarray, "level wave"],
    bound: Float[np.ndarray, "wave"],
) -> Bin:
    known = np.isfinite(bound)
    return Bin(
        low=low,
        high=high,
        events=len(error),
        bias=float(error.mean()),
        rmse=float(np.sqrt(np.mean(error**2))),
        mae=float(np.mean(np.abs(error))),
        bound=float(np.sqrt(np.mean(bound[known] ** 2))) if known.any() else None,
        coverage=tuple(inside.mean(axis=1).tolist()),
    )


def in_bins(
    truth: Float[np.ndarray, "wave"], edges: Sequence[float]
) -> list[tuple[float, float, Bool[np.ndarray, "wave"]]]:
    """Give each bin's edges and which events lie in it."""
    last = edges[-1]
    pairs = itertools.pairwise(edges)
    return [(low, high, (truth >= low) & (truth <= high if high == last else truth < high)) for low, high in pairs]


def _two(
    d_us: Float[np.ndarray, "wave"], two: Float[np.ndarray, "wave"], one: Float[np.ndarray, "single"]
) -> TwoScores:
    bins = tuple(
        _two_bin(low, high, two[rows], one) for low, high, rows in in_bins(d_us / UNIT_US, TWO_EDGES) if rows.any()
    )
    return TwoScores(
        singles=len(one),
        auc=auc(two, one),
        efficiency=float(roc_curve(two, one, np.array([FALSE_POSITIVES]))[0]),
        brier=float(np.mean((1 - two) ** 2) + np.mean(one**2)) / 2,
        bins=bins,
    )


def _two_bin(low: float, high: float, two: Float[np.ndarray, "wave"], one: Float[np.ndarray, "single"]) -> TwoBin:
    area = auc(two, one)
    return TwoBin(
        low=low,
        high=high,
        events=len(two),
        auc=area,
        auc_error=_auc_error(area, len(two), len(one)),
        efficiency=float(roc_curve(two, one, np.array([FALSE_POSITIVES]))[0]),
        roc=tuple(roc_curve(two, one, np.linspace(0, 1, ROC_POINTS)).tolist()),
    )


def roc_curve(
    positive: Float[np.ndarray, "wave"], negative: Float[np.ndarray, "single"], share: Float[np.ndarray, "point"]
) -> Float[np.ndarray, "point"]:
    """Give the share of positives above the threshold that a share of the negatives is above.

    Between thresholds, as with scores that many events have in common, it is what choosing among equals at random
    gives: a straight line.
    """
    thresholds = np.unique(np.concatenate([positive, negative]))[::-1]
    false = 1 - np.searchsorted(np.sort(negative), thresholds, "left") / len(negative)
    true = 1 - np.searchsorted(np.sort(positive), thresholds, "left") / len(positive)
    return np.interp(share, np.append(0.0, false), np.append(0.0, true))


def auc(positive: Float[np.ndarray, "wave"], negative: Float[np.ndarray, "single"]) -> float:
    """Give the probability that a positive has the larger score (ties count half)."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left") + np.searchsorted(ordered, positive, "right")
    return float(np.mean(below) / (2 * len(ordered)))


def _auc_error(area: float, positives: int, negatives: int) -> float:
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (positives - 1) * (first - area**2) + (negatives - 1) * (second - area**2)
    return float(np.sqrt(max(spread, 0.0) / (positives * negatives)))


def coverage_names() -> tuple[str, ...]:
    """Name the columns of the coverages."""
    return tuple(f"cov {level:.2f}" for level in LEVELS)
