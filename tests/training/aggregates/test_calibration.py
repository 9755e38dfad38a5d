"""Temperature and thresholds do what they are set for, on patterns whose odds are known."""

from __future__ import annotations

import numpy as np
import pytest

from app.aggregates.models import HEADS, count_probability, unlike_probability, verdict_probability
from app.aggregates.setting import COUNTS
from training.aggregates.calibration import CalibrationArgs, best_temperature, calibrate, least_probability
from training.aggregates.lessons import ROWS_OF_FACTS, LessonSet
from training.aggregates.school import SchoolArgs


def drawn(n: int, temperature: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Heads whose probabilities are right at a temperature, and numbers drawn with those probabilities."""
    heads = np.zeros((n, HEADS))
    heads[:, : len(COUNTS)] = rng.normal(0, 3, (n, len(COUNTS)))
    heads[:, len(COUNTS)] = rng.normal(8, 1, n)
    cumulative = count_probability(heads, temperature).cumsum(axis=1)
    return heads, (cumulative < rng.random((n, 1))).sum(axis=1).clip(max=4)


def lessons(number: np.ndarray, rng: np.random.Generator) -> LessonSet:
    n = len(number)
    facts = {name: np.zeros(n) for name in ROWS_OF_FACTS}
    facts |= {"number": number + 1.0, "photons": rng.uniform(1e4, 1e6, n), "radius_px": np.full(n, 5.0)}
    facts |= {"beam_stop_px": np.full(n, 3.0), "sphere": (rng.random(n) < 0.5).astype(float)}
    return LessonSet(np.zeros((n, 1)), np.zeros((n, 1), np.float32), facts)


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.6])
def test_the_temperature_that_numbers_were_drawn_with_is_found(temperature: float) -> None:
    heads, number = drawn(20_000, temperature, np.random.default_rng(0))
    assert best_temperature(heads, number) == pytest.approx(temperature, rel=0.06)


def test_answers_above_the_threshold_are_as_accurate_as_asked() -> None:
    rng = np.random.default_rng(1)
    sure = rng.uniform(0.4, 1.0, 5_000)
    right = rng.random(5_000) < sure
    threshold = least_probability(sure, right, 0.9)
    assert right[sure >= threshold].mean() >= 0.9
    assert right[sure >= threshold - 0.01].mean() < 0.9
    assert least_probability(sure, np.ones(5_000, bool), 0.9) == pytest.approx(0.4)


def test_rules_refuse_as_many_as_agreed_and_keep_the_accuracy_on_unseen_patterns() -> None:
    rng, args = np.random.default_rng(2), CalibrationArgs(refused=0.02, least_limit=0.0)
    heads, number = drawn(20_000, 1.0, rng)
    rules = calibrate(heads, lessons(number, rng), SchoolArgs(), args)
    unseen, truth = drawn(20_000, 1.0, rng)
    unlike = unlike_probability(verdict_probability(unseen))
    assert (unlike > rules.most_unlike).mean() == pytest.approx(0.02, abs=0.008)
    probability = count_probability(unseen, rules.temperature)
    answered = probability.max(axis=1) >= rules.least_probability
    assert (probability.argmax(axis=1) == truth)[answered].mean() >= args.accuracy - 0.01
