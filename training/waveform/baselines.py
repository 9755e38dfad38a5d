"""What a network must beat: the mean, widths, and boosted trees on the pulse's shape. See also `templates`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from jaxtyping import Float
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from training.waveform.methods import Answer, Labelled, Method, Predictor, Question, is_two, separations_us, two_only
from training.waveform.shapes import drift_features, excess_us2, rms_us, shape_features
from training.waveform.templates import LeastSquares, Likelihood


@dataclass(frozen=True)
class Mean:
    """The mean separation of the training set, whatever the waveform."""

    name: str = "mean"
    drift: bool = False
    learns: bool = True

    def fit(self, training: Sequence[Labelled], rng: np.random.Generator) -> Predictor:
        """Take the mean."""
        mean_us = float(separations_us(two_only(training)).mean())
        return lambda question: Answer(np.full(len(question), mean_us))


@dataclass(frozen=True)
class Width:
    """The pulse's RMS width: a rising curve for the separation, a logistic one for two scatters."""

    name: str = "rms width"
    drift: bool = False
    learns: bool = True

    def fit(self, training: Sequence[Labelled], rng: np.random.Generator) -> Predictor:
        """Fit both curves; the second one only where there are events with one scatter."""
        curve = _rising(rms_us, training)
        two = _classified(LogisticRegression(), lambda question: rms_us(question)[:, None], training)
        return lambda question: Answer(curve(question), two(question) if two else None)


@dataclass(frozen=True)
class Moments:
    """The variance that gap and diffusion over the known drift leave over; the shares of the scatters are unknown."""

    name: str = "moments + drift time"
    drift: bool = True
    learns: bool = True

    def fit(self, training: Sequence[Labelled], rng: np.random.Generator) -> Predictor:
        """Fit a rising curve from the excess to the separation, and a logistic one to two scatters."""
        curve = _rising(excess_us2, training)
        two = _classified(LogisticRegression(), lambda question: excess_us2(question)[:, None], training)
        return lambda question: Answer(curve(question), two(question) if two else None)


@dataclass(frozen=True)
class Boosting:
    """Histogram gradient boosting on `shapes.SHAPE_FEATURES`.

    Attributes:
        drift: the drift time and what follows from it are features too.
        detector: the detector's settings are features too, for training on many of them.
    """

    drift: bool
    detector: bool = False
    iterations: int = 1000
    learning_rate: float = 0.05
    leaves: int = 31
    learns: bool = True

    @property
    def name(self) -> str:
        return f"boosting{' + drift time' if self.drift else ''}{' + detector' if self.detector else ''}"

    def fit(self, training: Sequence[Labelled], rng: np.random.Generator) -> Predictor:
        """Fit a regression, and a classifier where there are events with one scatter."""
        options: dict[str, Any] = {
            "max_iter": self.iterations,
            "learning_rate": self.learning_rate,
            "max_leaf_nodes": self.leaves,
            "early_stopping": True,
            "random_state": int(rng.integers(2**31)),
        }
        two = _classified(HistGradientBoostingClassifier(**options), self._features, training)
        kept = two_only(training)
        regression = HistGradientBoostingRegressor(**options).fit(_stacked(self._features, kept), separations_us(kept))
        return lambda question: Answer(
            regression.predict(self._features(question)), two(question) if two is not None else None
        )

    def _features(self, question: Question) -> Float[np.ndarray, "wave feature"]:
        parts = [shape_features(question)]
        parts += [drift_features(question)] if self.drift else []
        parts += [_detector_features(question)] if self.detector else []
        return np.concatenate(parts, axis=1)


def _detector_features(question: Question) -> Float[np.ndarray, "wave feature"]:
    d = question.detector
    ends = d.diffusion_us(np.array([d.drift_min_us, d.drift_max_us]))
    return np.tile([d.gas_gap_us, np.log10(d.phd_per_electron), *ends], (len(question), 1))


Column = Callable[[Question], Float[np.ndarray, "wave"]]
Table = Callable[[Question], Float[np.ndarray, "wave feature"]]


def _stacked(features: Table, training: Sequence[Labelled]) -> Float[np.ndarray, "wave feature"]:
    return np.concatenate([features(part.question) for part in training])


def _rising(column: Column, training: Sequence[Labelled]) -> Column:
    kept = two_only(training)
    x = np.concatenate([column(part.question) for part in kept])
    curve = IsotonicRegression(out_of_bounds="clip").fit(x, separations_us(kept))
    return lambda question: curve.predict(column(question))


def _classified(model: Any, features: Table, training: Sequence[Labelled]) -> Column | None:
    target = is_two(training)
    if target.all() or not target.any():
        return None
    model.fit(_stacked(features, training), target)
    return lambda question: model.predict_proba(features(question))[:, 1]


BASELINES: Final[tuple[Method, ...]] = (
    Mean(),
    Width(),
    Moments(),
    LeastSquares(drift=False),
    LeastSquares(drift=True),
    Likelihood(drift=False),
    Likelihood(drift=True),
    Boosting(drift=False),
    Boosting(drift=True),
)
FOR_MANY_DETECTORS: Final[tuple[Method, ...]] = (
    Boosting(drift=False, detector=True),
    Boosting(drift=True, detector=True),
)
"""To be trained on the setting `mixed`; on one detector they are what they are without the detector's columns."""
