"""What a network must beat: the largest class, total intensity, rings of the pattern and of its autocorrelation.

Rings are of whole pixels, or (`scaled`) on axes free of the declared radius r: s = q r in cycles, d / r for distances.
Everything is measured around the declared beam centre and where the mask is True.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Int
from scipy import fft
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from app.aggregates.setting import COUNTS, DETECTOR_PX, TRANSFORM_PX
from training.aggregates.methods import Answer, Classifier, Method, Question, Sample, answer_all

RINGS: Final = 45
"""Rings of a pattern: the corner is 45 pixels from its middle."""
Q_STEP_CYCLES: Final = 5.0 / TRANSFORM_PX
"""Width of a ring in s = q r: one pixel for a radius of 5."""
DISTANCE_RINGS: Final = 45
DISTANCE_STEP_RADII: Final = 0.25
"""Width of a ring in d / r; the outermost centres of five particles in a row are 8 r apart."""
CHUNK: Final = 250
"""Patterns whose autocorrelation is computed at once."""

Features = Callable[[Question], Float[np.ndarray, "image feature"]]


def total_intensity(question: Question) -> Float[np.ndarray, "image feature"]:
    """Give the logarithm of all photons, one column."""
    return np.log1p(np.sum(question.counts, axis=(1, 2), where=question.mask, dtype=float))[:, None]


def radial_profile(question: Question, *, scaled: bool = False) -> Float[np.ndarray, "image feature"]:
    """Give ln(1 + total), then each ring's ln(mean counts / mean of all); 0 for a ring without a pixel that measures.

    A ring without a photon counts as half a photon.
    """
    ring = _rings(question, scaled)
    counts = np.where(question.mask, question.counts, 0.0).reshape(len(question), -1)
    measured = question.mask.reshape(len(question), -1)
    photons, pixels = _summed(counts, ring, RINGS), _summed(measured, ring, RINGS)
    mean = np.maximum(counts.sum(axis=1, dtype=float), 0.5) / np.maximum(measured.sum(axis=1), 1)
    share = np.divide(np.maximum(photons, 0.5), pixels * mean[:, None], out=np.ones_like(photons), where=pixels > 0)
    return np.concatenate([total_intensity(question), np.log(share)], axis=1)


def autocorrelation_rings(question: Question, *, scaled: bool = False) -> Float[np.ndarray, "image feature"]:
    """Give mean, standard deviation and maximum of the autocorrelation on each ring of distance, relative to d = 0.

    The Fourier transform of the intensity is the object's autocorrelation (Patterson, 1934), here with what the beam
    stop hides left out. Of two points that are Friedel mates one counts.
    """
    parts = [_autocorrelation_rings(question[i : i + CHUNK], scaled) for i in range(0, len(question), CHUNK)]
    return np.concatenate(parts)


def _autocorrelation_rings(question: Question, scaled: bool) -> Float[np.ndarray, "image feature"]:
    counts = np.where(question.mask, question.counts, np.float32(0))
    whole = np.abs(np.asarray(fft.rfft2(counts, s=(TRANSFORM_PX, TRANSFORM_PX))))
    row = np.minimum(np.arange(TRANSFORM_PX), TRANSFORM_PX - np.arange(TRANSFORM_PX))
    distance = np.hypot(row[:, None], np.arange(whole.shape[2])).ravel()
    mates = (np.arange(whole.shape[2]) == 0) & (np.arange(TRANSFORM_PX) > DETECTOR_PX)[:, None]
    inside = (distance < DETECTOR_PX) & ~mates.ravel()
    values = whole.reshape(len(whole), -1)[:, inside] / np.maximum(whole[:, :1, 0], 1.0)
    step = question.radius_px * DISTANCE_STEP_RADII if scaled else np.ones(len(whole))
    ring = np.minimum((distance[inside] / step[:, None]).astype(int), DISTANCE_RINGS)
    number = np.maximum(_summed(np.ones_like(values), ring, DISTANCE_RINGS), 1.0)
    mean = _summed(values, ring, DISTANCE_RINGS) / number
    square = _summed(values**2, ring, DISTANCE_RINGS) / number
    largest = np.zeros((len(values), DISTANCE_RINGS + 1))
    np.maximum.at(largest, (np.arange(len(values))[:, None], ring), values)
    return np.concatenate([mean, np.sqrt(np.maximum(square - mean**2, 0.0)), largest[:, :-1]], axis=1)


def _rings(question: Question, scaled: bool) -> Int[np.ndarray, "image pixel"]:
    """Number of the ring of each pixel; `RINGS` for those beyond the last one."""
    middle = np.full((len(question), 2), DETECTOR_PX / 2)
    centre = middle if question.centre_px is None else question.centre_px
    pixel = np.arange(DETECTOR_PX)
    rows, columns = ((pixel - centre[:, axis, None]) ** 2 for axis in (0, 1))
    distance = np.sqrt(rows[:, :, None] + columns[:, None, :]).reshape(len(question), -1)
    width = TRANSFORM_PX * Q_STEP_CYCLES / question.radius_px if scaled else np.ones(len(question))
    return np.minimum((distance / width[:, None]).astype(int), RINGS)


def _summed(values: np.ndarray, ring: Int[np.ndarray, "image pixel"], rings: int) -> Float[np.ndarray, "image ring"]:
    """Sum of the values on each ring of each image."""
    images = len(values)
    flat = ring + (rings + 1) * np.arange(images)[:, None]
    sums = np.bincount(flat.ravel(), values.ravel(), minlength=images * (rings + 1))
    return sums.reshape(images, rings + 1)[:, :rings]


def _radial_and_autocorrelation(question: Question) -> Float[np.ndarray, "image feature"]:
    return np.concatenate([radial_profile(question), autocorrelation_rings(question)], axis=1)


def _told_radius(question: Question) -> Float[np.ndarray, "image feature"]:
    return np.concatenate([_radial_and_autocorrelation(question), question.radius_px[:, None]], axis=1)


def _scaled_radial(question: Question) -> Float[np.ndarray, "image feature"]:
    return np.concatenate([radial_profile(question, scaled=True), question.radius_px[:, None]], axis=1)


def _scaled_both(question: Question) -> Float[np.ndarray, "image feature"]:
    return np.concatenate([_scaled_radial(question), autocorrelation_rings(question, scaled=True)], axis=1)


def boosting(seed: int) -> Any:
    """Make gradient boosting on histograms: 200 rounds of small trees."""
    return HistGradientBoostingClassifier(
        max_iter=200,
        max_leaf_nodes=15,
        early_stopping=False,  # pyright: ignore[reportArgumentType]  (declared as a string there)
        random_state=seed,
    )


def neighbours(seed: int) -> Any:
    """Make the 10 nearest in standardised features, weighted by closeness."""
    del seed
    return make_pipeline(StandardScaler(), KNeighborsClassifier(n_neighbors=10, weights="distance"))


@dataclass(frozen=True)
class Fitted:
    """A fitted scikit-learn classifier with the features it takes."""

    features: Features
    model: Any

    def predict_proba(self, question: Question) -> Answer:
        """Give the model's probabilities, 0 for a number it has not seen."""
        probability = np.zeros((len(question), len(COUNTS)))
        probability[:, np.searchsorted(COUNTS, self.model.classes_)] = self.model.predict_proba(self.features(question))
        return answer_all(probability)


@dataclass(frozen=True)
class FeatureMethod:
    """A scikit-learn classifier on features of the pattern."""

    name: str
    features: Features
    model: Callable[[int], Any]

    def __repr__(self) -> str:
        return f"FeatureMethod({self.name!r}, {self.model(0)!r})"

    def fit(self, train: Sample, validation: Sample, seed: int) -> Classifier:
        """Learn from the training patterns alone."""
        del validation
        return Fitted(self.features, self.model(seed).fit(self.features(train.question), train.truth.number))


@dataclass(frozen=True)
class Shares:
    """Answers every pattern with the same probabilities."""

    probability: Float[np.ndarray, "class"]

    def predict_proba(self, question: Question) -> Answer:
        """Repeat the shares for each pattern."""
        return answer_all(np.tile(self.probability, (len(question), 1)))


@dataclass(frozen=True)
class Majority:
    """The shares of the numbers among the training patterns: the answer is always the most frequent one."""

    name: str = "majority"

    def fit(self, train: Sample, validation: Sample, seed: int) -> Classifier:
        """Count."""
        del validation, seed
        return Shares((train.truth.number[:, None] == np.array(COUNTS)).mean(axis=0))


BASELINES: Final[tuple[Method, ...]] = (
    Majority(),
    FeatureMethod("total-intensity", total_intensity, boosting),
    FeatureMethod("radial-neighbours", radial_profile, neighbours),
    FeatureMethod("radial-boosting", radial_profile, boosting),
    FeatureMethod("autocorrelation-boosting", _radial_and_autocorrelation, boosting),
    FeatureMethod("autocorrelation-boosting-told-r", _told_radius, boosting),
    FeatureMethod("scaled-radial-boosting", _scaled_radial, boosting),
    FeatureMethod("scaled-autocorrelation-boosting", _scaled_both, boosting),
)
