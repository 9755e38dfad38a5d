"""What a method is: something that learns from simulated events and then answers questions about waveforms."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Final, Protocol

import numpy as np
from jaxtyping import Float, Float32

from app.waveform.detector import Detector
from app.waveform.normalise import centred
from app.waveform.posterior import Posterior
from training.waveform.simulate import Events, Truth, take

LEVELS: Final = (0.68, 0.95)
"""Probabilities of the central intervals that are asked for."""
NORMAL_QUANTILES: Final = (0.994458, 1.959964)
"""Half widths of the central intervals of `LEVELS` of a normal law, in standard deviations."""


@dataclass(frozen=True)
class Question:
    """What a method may see of waveforms from one detector.

    Attributes:
        waveforms: detected photons in each sample [phd], with noise and baseline.
        detector: its settings.
        drift_time_us: of the first scatter; a method that does not take it ignores it.
    """

    waveforms: Float32[np.ndarray, "wave sample"]
    detector: Detector
    drift_time_us: Float[np.ndarray, "wave"]

    def __len__(self) -> int:
        return len(self.waveforms)

    @cached_property
    def centred(self) -> Float32[np.ndarray, "wave bin"]:
        """See `app.waveform.normalise.centred`."""
        return centred(self.waveforms)


@dataclass(frozen=True)
class Labelled:
    """A question and the truth."""

    question: Question
    truth: Truth


@dataclass(frozen=True)
class Answer:
    """What a method says; None for what it does not say.

    Attributes:
        d_us: separation, given that there are two scatters.
        p_two: probability, or any score that grows with it, of two scatters.
        intervals_us: ends of the central intervals of `LEVELS`.
    """

    d_us: Float[np.ndarray, "wave"] | None = None
    p_two: Float[np.ndarray, "wave"] | None = None
    intervals_us: Float[np.ndarray, "level 2 wave"] | None = None


Predictor = Callable[[Question], Answer]


class Method(Protocol):
    """A method that can be fitted; a frozen dataclass, so that its repr tells it apart."""

    @property
    def name(self) -> str:
        """Short and unique in a table."""
        ...

    @property
    def drift(self) -> bool:
        """Uses the drift time."""
        ...

    @property
    def learns(self) -> bool:
        """Needs events to be fitted."""
        ...

    def fit(self, training: Sequence[Labelled], rng: np.random.Generator) -> Predictor:
        """Learn from these events."""
        ...


def method_key(method: Method) -> str:
    """Give a file name that changes whenever the method or any of its settings does."""
    digest = hashlib.sha256(repr(method).encode()).hexdigest()[:10]
    return f"{''.join(c if c.isalnum() or c in '-_.' else '-' for c in method.name)}-{digest}"


def labelled(events: Events, detector: Detector) -> Labelled:
    """Split events into what may be seen and what is true."""
    truth = Truth(**{f.name: getattr(events, f.name) for f in fields(Truth)})
    return Labelled(Question(events.samples, detector, events.drift_time_us), truth)


def two_only(training: Sequence[Labelled]) -> list[Labelled]:
    """Keep the events with two scatters."""
    kept = [_two_only(part) for part in training]
    return [part for part in kept if len(part.question)]


def _two_only(part: Labelled) -> Labelled:
    two = part.truth.scatters == 2
    if two.all():
        return part
    asked = part.question
    question = Question(asked.waveforms[two], asked.detector, asked.drift_time_us[two])
    return Labelled(question, take(part.truth, two))


def separations_us(training: Sequence[Labelled]) -> Float[np.ndarray, "wave"]:
    """Give the true separations, of all parts one after the other."""
    return np.concatenate([part.truth.d_us for part in training])


def is_two(training: Sequence[Labelled]) -> Float[np.ndarray, "wave"]:
    """Give 1 for two scatters and 0 for one."""
    return np.concatenate([part.truth.scatters == 2 for part in training]).astype(float)


def answer_from_posterior(posterior: Posterior) -> Answer:
    """Take mean, central intervals and the probability of two scatters."""
    ends = [[posterior.quantile_us((1 - level) / 2), posterior.quantile_us((1 + level) / 2)] for level in LEVELS]
    return Answer(posterior.mean_us, posterior.p_two, np.array(ends))


def answer_from_normal(mean_us: Float[np.ndarray, "wave"], sigma_us: Float[np.ndarray, "wave"]) -> Answer:
    """Take the intervals of a normal law."""
    ends = [[mean_us - width * sigma_us, mean_us + width * sigma_us] for width in NORMAL_QUANTILES]
    return Answer(mean_us, None, np.array(ends))
