"""Facts of the figures: a perfect answer, equal shapes, areas under curves as scikit-learn gives them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc

from training.waveform.methods import LEVELS, NORMAL_QUANTILES, Answer, answer_from_normal
from training.waveform.scores import SEPARATION_EDGES, UNIT_US, auc, in_bins, roc_curve, rounded_accuracy, score


@pytest.fixture
def d_us() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 801, 3000) * 0.01


def test_a_perfect_answer(d_us: np.ndarray) -> None:
    found = score(d_us, Answer(d_us)).separation
    assert found is not None
    assert (found.mse, found.mae, found.accuracy, found.coverage) == (0, 0, 1, ())


def test_shapes_must_be_equal(d_us: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"\(3000,\) and \(3000, 1\)"):
        rounded_accuracy(d_us, d_us[:, None])


def test_the_mean_of_a_uniform_law_errs_by_its_variance(d_us: np.ndarray) -> None:
    """Variance 1/12 in units of the range, mean absolute error 1/4, and a tenth of the answers round alike."""
    found = score(d_us, Answer(np.full_like(d_us, 4.0))).separation
    assert found is not None
    assert found.mse == pytest.approx(1 / 12, rel=0.05)
    assert found.mae == pytest.approx(1 / 4, rel=0.05)
    assert found.accuracy == pytest.approx(0.1, abs=0.03)


def test_every_event_is_in_one_bin(d_us: np.ndarray) -> None:
    counts = sum(rows.astype(int) for _, _, rows in in_bins(d_us / UNIT_US, SEPARATION_EDGES))
    np.testing.assert_array_equal(counts, 1)


def test_bins_hold_the_whole_error(d_us: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    found = score(d_us, Answer(d_us + rng.standard_normal(len(d_us)))).separation
    assert found is not None
    assert sum(row.events * row.rmse**2 for row in found.bins) / found.events == pytest.approx(found.mse)
    assert sum(row.events * row.mae for row in found.bins) / found.events == pytest.approx(found.mae)


def test_a_normal_error_is_covered_as_it_says(d_us: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    sigma = np.full_like(d_us, 0.3)
    answer = answer_from_normal(d_us + 0.3 * rng.standard_normal(len(d_us)), sigma)
    found = score(d_us, answer, bound_us=sigma).separation
    assert found is not None
    np.testing.assert_allclose(found.coverage, LEVELS, atol=0.03)
    np.testing.assert_allclose([row.over_bound for row in found.bins], 1, atol=0.2)
    np.testing.assert_allclose(norm.cdf(NORMAL_QUANTILES) - norm.cdf(np.negative(NORMAL_QUANTILES)), LEVELS, atol=1e-5)


def test_the_area_is_scikit_learns() -> None:
    rng = np.random.default_rng(3)
    positive, negative = rng.integers(0, 9, 300) / 4 + 0.5, rng.integers(0, 9, 500) / 4
    labels = np.concatenate([np.ones(300), np.zeros(500)])
    assert auc(positive, negative) == pytest.approx(roc_auc_score(labels, np.concatenate([positive, negative])))


def test_the_curve_is_scikit_learns() -> None:
    rng = np.random.default_rng(5)
    for step in (1e-9, 0.5):  # all different, and few values that many share
        positive, negative = (np.round(rng.normal(shift, 1, 400) / step) * step for shift in (0.7, 0.0))
        labels = np.concatenate([np.ones(400), np.zeros(400)])
        false, true, _ = sklearn_roc(labels, np.concatenate([positive, negative]))
        share = np.linspace(0.001, 1, 57) - 0.0007
        np.testing.assert_allclose(roc_curve(positive, negative, share), np.interp(share, false, true), atol=1e-9)


def test_scores_that_all_share_are_a_guess() -> None:
    assert roc_curve(np.ones(10), np.ones(20), np.array([0.05]))[0] == pytest.approx(0.05)


def test_guessing_has_area_one_half_and_the_efficiency_of_the_false_positives(d_us: np.ndarray) -> None:
    rng = np.random.default_rng(4)
    found = score(d_us, Answer(p_two=rng.random(len(d_us))), rng.random(4000)).two
    assert found is not None
    assert found.auc == pytest.approx(0.5, abs=0.03)
    assert found.efficiency == pytest.approx(0.05, abs=0.02)
    assert found.brier == pytest.approx(1 / 3, abs=0.02)
    for row in found.bins:
        assert abs(row.auc - 0.5) < 5 * row.auc_error
        assert row.roc[0] <= row.roc[-1]


def test_a_perfect_classifier_has_area_one(d_us: np.ndarray) -> None:
    found = score(d_us, Answer(p_two=np.ones(len(d_us))), np.zeros(10)).two
    assert found is not None
    assert (found.auc, found.efficiency, found.brier) == (1, 1, 0)
