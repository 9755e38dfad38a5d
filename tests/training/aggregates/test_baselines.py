"""Facts of the baselines: what their features do not see, and how good each can be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from training.aggregates.baselines import (
    BASELINES,
    FeatureMethod,
    Features,
    Majority,
    autocorrelation_rings,
    radial_profile,
    total_intensity,
)
from training.aggregates.methods import Method, Question, Sample, sample
from training.aggregates.settings import REFERENCE
from training.aggregates.simulate import simulate

Rings = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def few() -> Sample:
    return sample("reference-r3-7", "train", 40, 0)


def moved(question: Question, counts: np.ndarray) -> Question:
    return replace(question, counts=counts)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("features", [radial_profile, autocorrelation_rings])
def test_rings_do_not_change_when_a_pattern_is_transposed(few: Sample, features: Rings, scaled: bool) -> None:
    question = few.question
    turned = replace(question, counts=question.counts.swapaxes(1, 2), mask=question.mask.swapaxes(1, 2))
    np.testing.assert_allclose(features(turned, scaled=scaled), features(question, scaled=scaled), atol=1e-5)


def test_rings_of_the_autocorrelation_do_not_change_with_the_exposure(few: Sample) -> None:
    brighter = moved(few.question, few.question.counts * 3)
    np.testing.assert_allclose(autocorrelation_rings(brighter), autocorrelation_rings(few.question), atol=1e-5)


def test_the_first_column_is_the_logarithm_of_all_photons_where_a_pixel_measures(few: Sample) -> None:
    question = few.question
    naive = [np.log1p(c[m].sum(dtype=float)) for c, m in zip(question.counts, question.mask, strict=True)]
    np.testing.assert_allclose(total_intensity(question)[:, 0], naive)
    np.testing.assert_allclose(radial_profile(question)[:, 0], naive)
    hidden = moved(question, np.where(question.mask, question.counts, 1e6))
    np.testing.assert_allclose(radial_profile(hidden), radial_profile(question))


def test_a_ring_is_the_mean_over_its_pixels(few: Sample) -> None:
    counts, mask = few.question.counts[0], few.question.mask[0]
    row, column = np.mgrid[:64, :64] - 32
    ring = mask & (np.hypot(row, column) >= 10) & (np.hypot(row, column) < 11)
    expected = np.log(counts[ring].mean() / counts[mask].mean())
    assert radial_profile(few.question)[0, 1 + 10] == pytest.approx(expected, rel=1e-5)


def test_a_declared_centre_moves_the_rings_with_it(few: Sample) -> None:
    """Shifted by whole pixels with its centre, a profile far from the edges stays."""
    question = replace(few.question, mask=np.ones_like(few.question.mask))
    shifted = np.roll(question.counts, (2, -3), axis=(1, 2))
    centre = np.tile([34.0, 29.0], (len(question), 1))
    there = radial_profile(replace(question, counts=shifted, centre_px=centre))
    here = radial_profile(replace(question, centre_px=None))
    np.testing.assert_allclose(there[:, 1:28], here[:, 1:28], atol=1e-6)


def test_the_autocorrelation_is_that_of_direct_summation() -> None:
    """Of the pattern's Fourier transform, at whole object pixels, against a naive sum over the pixels."""
    from training.aggregates.methods import declared

    patterns = simulate(REFERENCE, 2, np.random.default_rng(0))
    question = declared(patterns, REFERENCE)
    counts = np.where(question.mask, question.counts, 0)[0].astype(float)
    y, x = np.mgrid[:64, :64]
    half = [(i, j) for i in range(-8, 9) for j in range(9) if j > 0 or i > 0]
    near = [(i, j) for i, j in half if 7 <= np.hypot(i, j) < 8]
    values = [abs((counts * np.exp(-2j * np.pi * (i * y + j * x) / 128)).sum()) / counts.sum() for i, j in near]
    found = autocorrelation_rings(question)[0]
    assert found[7] == pytest.approx(np.mean(values), rel=1e-4)
    assert found[45 + 7] == pytest.approx(np.std(values), rel=1e-3)
    assert found[90 + 7] == pytest.approx(max(values), rel=1e-4)


def test_scaled_rings_follow_the_declared_radius(few: Sample) -> None:
    """At a radius of 5 a ring of q r is one pixel."""
    at_5 = replace(few.question, settings=tuple(replace(s, radius_px=5.0) for s in few.question.settings))
    np.testing.assert_allclose(radial_profile(at_5, scaled=True), radial_profile(at_5), atol=1e-9)


def test_majority_is_right_as_often_as_its_number_occurs() -> None:
    drawn = sample("reference-r5", "train", 60, 0)
    numbers = np.random.default_rng(1).choice([1, 2, 2, 2, 3, 4, 5], 60)
    skewed = Sample(drawn.question, replace(drawn.truth, number=numbers))
    answer = Majority().fit(skewed, skewed, 0).predict_proba(skewed.question)
    said = 1 + answer.probability.argmax(axis=1)
    assert (said == numbers).mean() == np.bincount(numbers).max() / 60
    np.testing.assert_allclose(answer.probability.sum(axis=1), 1)
    assert answer.answered.all()


def test_every_baseline_has_its_own_name_and_is_a_method() -> None:
    assert len({b.name for b in BASELINES}) == len(BASELINES)
    assert all(isinstance(b, Method) for b in BASELINES)


def _small(seed: int) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(max_iter=15, random_state=seed)


def test_numbers_that_were_never_seen_have_no_probability() -> None:
    drawn = sample("reference-r5", "train", 200, 0)
    kept = np.flatnonzero(drawn.truth.number >= 3)
    truth = drawn.truth[kept]
    question = replace(
        drawn.question,
        counts=truth.counts,
        mask=truth.mask,
        centre_px=truth.centre_px,
        settings=tuple(drawn.question.settings[i] for i in kept),
    )
    method = FeatureMethod("small", radial_profile, _small)
    answer = method.fit(Sample(question, truth), Sample(question, truth), 0).predict_proba(drawn.question)
    assert (answer.probability[:, :2] == 0).all()
    np.testing.assert_allclose(answer.probability.sum(axis=1), 1)


def test_rings_tell_more_than_the_total_when_the_fluence_is_unknown() -> None:
    train, test = sample("reference-r5", "train", 500, 0), sample("reference-r5", "test", 300, 0)

    def accuracy(features: Features) -> float:
        answer = FeatureMethod("small", features, _small).fit(train, train, 0).predict_proba(test.question)
        return float((1 + answer.probability.argmax(axis=1) == test.truth.number).mean())

    assert accuracy(total_intensity) < 0.4 < 0.6 < accuracy(radial_profile)
