"""How good answers are: accuracy with its error, log loss, calibration, abstention, and what is confused with what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int

from app.aggregates.setting import COUNTS

CALIBRATION_BINS: Final = 15
"""Bins of confidence, as in Guo et al., "On calibration of modern neural networks", ICML 2017."""
SMALLEST_PROBABILITY: Final = 1e-7
"""What a true class's probability counts as at least in the log loss: a single sure error must not make it infinite."""


@dataclass(frozen=True)
class Outcome:
    """What a method said of patterns whose truth is known.

    Attributes:
        number: true number of particles, one of `COUNTS`.
        probability: of each of `COUNTS`; rows sum to one.
        answered: where the method did not abstain.
        photons: mean photons scattered by one particle.
        radius_px: of one particle [object pixels].
        overlap: share of the particles' areas that is hidden behind others; 0 for tangent particles.
    """

    number: Int[np.ndarray, "image"]
    probability: Float[np.ndarray, "image class"]
    answered: Bool[np.ndarray, "image"]
    photons: Float[np.ndarray, "image"]
    radius_px: Float[np.ndarray, "image"]
    overlap: Float[np.ndarray, "image"]

    @property
    def predicted(self) -> Int[np.ndarray, "image"]:
        """The most probable number."""
        return np.array(COUNTS)[self.probability.argmax(axis=1)]

    @property
    def correct(self) -> Bool[np.ndarray, "image"]:
        """Where the most probable number is the true one."""
        return self.predicted == self.number

    @property
    def confidence(self) -> Float[np.ndarray, "image"]:
        """Probability of the most probable number."""
        return self.probability.max(axis=1)

    def where(self, chosen: Bool[np.ndarray, "image"]) -> Outcome:
        """Only these patterns."""
        return Outcome(**{name: column[chosen] for name, column in vars(self).items()})


@dataclass(frozen=True)
class Scores:
    """One method on one set of patterns.

    Attributes:
        images: how many patterns.
        accuracy: share whose most probable number is the true one, abstentions or not.
        accuracy_sigma: its binomial standard error.
        log_loss: mean of -ln(probability of the true number).
        ece: expected calibration error, see `calibration_error`.
        answered: share of patterns without abstention.
        accuracy_answered: accuracy on these; None without any.
        ece_answered: expected calibration error on these; None without any.
    """

    images: int
    accuracy: float
    accuracy_sigma: float
    log_loss: float
    ece: float
    answered: float
    accuracy_answered: float | None
    ece_answered: float | None


def score(outcome: Outcome) -> Scores:
    """Give all numbers of one method on one set.

    Raises:
        ValueError: no pattern.
    """
    if len(outcome.number) == 0:
        raise ValueError("there is no pattern to score")
    accuracy = float(outcome.correct.mean())
    answered = outcome.where(outcome.answered)
    some = len(answered.number) > 0
    return Scores(
        images=len(outcome.number),
        accuracy=accuracy,
        accuracy_sigma=float(np.sqrt(accuracy * (1.0 - accuracy) / len(outcome.number))),
        log_loss=log_loss(outcome),
        ece=calibration_error(outcome),
        answered=float(outcome.answered.mean()),
        accuracy_answered=float(answered.correct.mean()) if some else None,
        ece_answered=calibration_error(answered) if some else None,
    )


def log_loss(outcome: Outcome) -> float:
    """Mean of -ln p(true number), with p at least `SMALLEST_PROBABILITY`."""
    true = outcome.probability[np.arange(len(outcome.number)), outcome.number - COUNTS[0]]
    return float(-np.log(np.maximum(true, SMALLEST_PROBABILITY)).mean())


def confusion(outcome: Outcome) -> Int[np.ndarray, "class class"]:
    """Count patterns by true number (row) and most probable number (column)."""
    table = np.zeros((len(COUNTS), len(COUNTS)), dtype=int)
    np.add.at(table, (outcome.number - COUNTS[0], outcome.predicted - COUNTS[0]), 1)
    return table


@dataclass(frozen=True)
class Reliability:
    """Stated against found, in bins of confidence that hold at least one pattern."""

    confidence: Float[np.ndarray, "bin"]
    accuracy: Float[np.ndarray, "bin"]
    images: Int[np.ndarray, "bin"]


def reliability(outcome: Outcome, bins: int = CALIBRATION_BINS) -> Reliability:
    """Mean confidence and accuracy in equal bins of confidence; a bin holds its upper edge."""
    index = np.clip(np.ceil(outcome.confidence * bins).astype(int) - 1, 0, bins - 1)
    images = np.bincount(index, minlength=bins)
    kept = images > 0
    confidence = np.bincount(index, outcome.confidence, bins)[kept] / images[kept]
    accuracy = np.bincount(index, outcome.correct, bins)[kept] / images[kept]
    return Reliability(confidence, accuracy, images[kept])


def calibration_error(outcome: Outcome, bins: int = CALIBRATION_BINS) -> float:
    """Expected calibration error: mean of |accuracy - confidence| of a pattern's bin (Guo et al. 2017, eq. 3)."""
    found = reliability(outcome, bins)
    return float(np.average(np.abs(found.accuracy - found.confidence), weights=found.images))


@dataclass(frozen=True)
class Slice:
    """Accuracy among patterns whose quantity lies in [low, high)."""

    low: float
    high: float
    images: int
    accuracy: float
    accuracy_sigma: float
    answered: float


def sliced(
    outcome: Outcome, quantity: Float[np.ndarray, "image"], edges: Sequence[float] | Float[np.ndarray, "edge"]
) -> list[Slice]:
    """Accuracy as a function of a quantity; bins without a pattern are left out, the last one holds its upper edge."""
    inside = np.clip(np.searchsorted(edges, quantity, side="right") - 1, 0, len(edges) - 2)
    inside = np.where((quantity >= edges[0]) & (quantity <= edges[-1]), inside, -1)
    return [
        _slice(outcome.where(inside == b), float(edges[b]), float(edges[b + 1]))
        for b in range(len(edges) - 1)
        if (inside == b).any()
    ]


def _slice(outcome: Outcome, low: float, high: float) -> Slice:
    found = score(outcome)
    return Slice(low, high, found.images, found.accuracy, found.accuracy_sigma, found.answered)
