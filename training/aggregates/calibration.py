"""Set temperature and abstention of a trained count network on patterns that it has not seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int

from app.aggregates.models import Rules, count_probability, unlike_probability, verdict_probability
from app.aggregates.setting import TRANSFORM_PX, VERDICTS
from training.aggregates.lessons import LessonSet
from training.aggregates.school import SchoolArgs

TEMPERATURES: Final = np.geomspace(0.4, 3.0, 81)
THRESHOLDS: Final = np.round(np.arange(0.4, 0.96, 0.01), 2)


@dataclass(frozen=True)
class CalibrationArgs:
    """What is asked of the abstention.

    Attributes:
        accuracy: among the answers of each stratum: kind of particle, and fifth of the photons.
        refused: share of patterns that fit their declaration and may be taken for unlike it.
        refused_dark: the same for those that may be taken for badly masked.
        least_limit: neither limit is set below this.
        temperature_share: share of the patterns that the temperature is set on; the rest sets the thresholds.
    """

    accuracy: float = 0.965
    refused: float = 0.035
    refused_dark: float = 0.01
    least_limit: float = 0.02
    temperature_share: float = 0.5


def calibrate(
    heads: Float[np.ndarray, "image head"], lessons: LessonSet, school: SchoolArgs, args: CalibrationArgs
) -> Rules:
    """Find the rules.

    Args:
        heads: the network's mean answers to the lessons.
        lessons: a validation set.
        school: what the network was trained on.
        args: what is asked.
    """
    fits = lessons.fits
    first = np.arange(len(lessons)) < args.temperature_share * len(lessons)
    number = lessons.facts["number"].astype(int) - 1
    temperature = best_temperature(heads[fits & first], number[fits & first])
    verdicts = verdict_probability(heads)
    unlike, dark = unlike_probability(verdicts), verdicts[:, VERDICTS.index("mask")]
    most_unlike, most_dark = (
        max(float(np.quantile(each[fits & ~first], 1.0 - share)), args.least_limit)
        for each, share in ((unlike, args.refused), (dark, args.refused_dark))
    )
    probability = count_probability(heads, temperature)
    asked = fits & ~first & (unlike <= most_unlike) & (dark <= most_dark)
    right = probability.argmax(axis=1) == number
    sure = probability.max(axis=1)
    needed = [least_probability(sure[s], right[s], args.accuracy) for s in _strata(lessons, asked)]
    stop = lessons.facts["beam_stop_px"] * lessons.facts["radius_px"] / TRANSFORM_PX
    return Rules(
        temperature=temperature,
        least_probability=max(needed, default=float(THRESHOLDS[0])),
        most_unlike=most_unlike,
        most_dark=most_dark,
        radius_px=school.radius_px,
        stop=(0.0, float(stop[fits].max())),
    )


def best_temperature(heads: Float[np.ndarray, "image head"], number: Int[np.ndarray, "image"]) -> float:
    """The temperature of the smallest cross-entropy (Guo et al., ICML 2017), by trying all of `TEMPERATURES`."""
    rows = np.arange(len(number))

    def cross_entropy(temperature: float) -> float:
        chosen = count_probability(heads, temperature)[rows, number]
        return float(-np.log(np.maximum(chosen, np.finfo(float).tiny)).mean())

    return float(min(TEMPERATURES, key=cross_entropy))


def least_probability(sure: Float[np.ndarray, "image"], right: Bool[np.ndarray, "image"], accuracy: float) -> float:
    """The lowest of `THRESHOLDS` above which answers are as accurate as asked; the highest where none is."""
    for threshold in THRESHOLDS:
        answered = sure >= threshold
        if answered.any() and right[answered].mean() >= accuracy:
            return float(threshold)
    return float(THRESHOLDS[-1])


def _strata(lessons: LessonSet, asked: Bool[np.ndarray, "image"]) -> Iterator[Bool[np.ndarray, "image"]]:
    photons = lessons.facts["photons"]
    edges = np.quantile(photons[asked], [0.2, 0.4, 0.6, 0.8])
    fifth = np.searchsorted(edges, photons)
    for sphere in (0, 1):
        for k in range(5):
            stratum = asked & (lessons.facts["sphere"] == sphere) & (fifth == k)
            if stratum.any():
                yield stratum
