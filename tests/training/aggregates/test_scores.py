"""Facts of the scores: what is known of a predictor beforehand comes out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from app.aggregates.setting import COUNTS
from training.aggregates.scores import Outcome, calibration_error, confusion, log_loss, reliability, score, sliced

RNG = np.random.default_rng(5)


def outcome(number: np.ndarray, probability: np.ndarray, answered: np.ndarray | None = None) -> Outcome:
    n = len(number)
    everything = np.ones(n, dtype=bool) if answered is None else answered
    return Outcome(number, probability, everything, np.geomspace(1e4, 1e6, n), np.linspace(3, 7, n), np.zeros(n))


def drawn(n: int) -> Outcome:
    """Probabilities at random, and numbers that follow them."""
    probability = RNG.dirichlet(np.full(5, 0.4), n)
    cumulative = np.cumsum(probability, axis=1)
    number = 1 + (RNG.random((n, 1)) > cumulative).sum(axis=1).clip(max=4)
    return outcome(number, probability)


def test_a_perfect_predictor_has_accuracy_one_and_no_calibration_error() -> None:
    number = np.tile(COUNTS, 4)
    found = score(outcome(number, np.eye(5)[number - 1]))
    assert (found.accuracy, found.ece, found.log_loss, found.answered) == (1.0, 0.0, 0.0, 1.0)


def test_a_predictor_that_is_always_wrong_is_off_by_its_confidence() -> None:
    number = np.ones(50, dtype=int)
    said = np.tile([0.1, 0.6, 0.1, 0.1, 0.1], (50, 1))
    assert calibration_error(outcome(number, said)) == pytest.approx(0.6)


def test_too_sure_by_a_fifth_is_a_calibration_error_of_a_fifth() -> None:
    """Says 0.9 and is right 7 times of 10."""
    number = np.array([1] * 7 + [2] * 3)
    said = np.tile([0.9, 0.025, 0.025, 0.025, 0.025], (10, 1))
    assert calibration_error(outcome(number, said)) == pytest.approx(0.2)


def test_probabilities_that_are_true_are_calibrated() -> None:
    assert calibration_error(drawn(20_000)) < 0.02


def test_softening_true_probabilities_costs_calibration_and_log_loss_but_no_accuracy() -> None:
    true = drawn(20_000)
    soft = true.probability**0.5
    softened = outcome(true.number, soft / soft.sum(axis=1, keepdims=True))
    assert score(softened).accuracy == score(true).accuracy
    assert log_loss(softened) > log_loss(true)
    assert calibration_error(softened) > calibration_error(true) + 0.05


def test_numbers_agree_with_scikit_learn() -> None:
    found = drawn(400)
    assert log_loss(found) == pytest.approx(metrics.log_loss(found.number, found.probability, labels=COUNTS))
    theirs = metrics.confusion_matrix(found.number, found.predicted, labels=COUNTS)
    np.testing.assert_array_equal(confusion(found), theirs)


def test_rows_of_the_confusion_are_the_true_numbers_and_its_diagonal_is_what_is_right() -> None:
    found = drawn(300)
    table = confusion(found)
    np.testing.assert_array_equal(table.sum(axis=1), [(found.number == n).sum() for n in COUNTS])
    assert np.trace(table) == found.correct.sum()


def test_every_pattern_is_in_one_bin_of_confidence_and_bins_average_to_the_whole() -> None:
    found = drawn(500)
    bins = reliability(found)
    assert bins.images.sum() == 500
    assert np.average(bins.accuracy, weights=bins.images) == pytest.approx(found.correct.mean())
    assert np.average(bins.confidence, weights=bins.images) == pytest.approx(found.confidence.mean())


def test_abstaining_where_it_is_wrong_makes_the_answered_ones_perfect() -> None:
    raw = drawn(300)
    found = score(outcome(raw.number, raw.probability, raw.correct))
    assert found.answered == pytest.approx(found.accuracy)
    assert found.accuracy_answered == 1.0


def test_who_answers_nothing_has_no_accuracy_of_answers() -> None:
    raw = drawn(30)
    found = score(outcome(raw.number, raw.probability, np.zeros(30, dtype=bool)))
    assert found.answered == 0.0
    assert found.accuracy_answered is None
    assert found.ece_answered is None


def test_slices_cover_what_lies_within_the_edges_once() -> None:
    found = drawn(100)
    slices = sliced(found, found.radius_px, (3.0, 4.0, 5.0, 7.0))
    assert sum(s.images for s in slices) == 100
    assert sum(s.images * s.accuracy for s in slices) == pytest.approx(found.correct.sum())
    assert [s.low for s in sliced(found, found.radius_px, (5.0, 6.0, 9.0, 10.0))] == [5.0, 6.0]


def test_nothing_cannot_be_scored() -> None:
    with pytest.raises(ValueError, match="no pattern"):
        score(outcome(np.ones(0, dtype=int), np.ones((0, 5))))
