"""What the scores of probabilities say of ones that are known to be good or bad."""

import numpy as np
import pytest

from training.indexing.probability.scores import Scores, ece, reliability, scores

RNG = np.random.default_rng(0)
P = RNG.random(2000)
PERFECT = RNG.random(2000) < P


def judged(p: np.ndarray, y: np.ndarray) -> Scores:
    return scores(p, y, np.arange(len(p)), np.random.default_rng(1), draws=200)


def test_perfect_probabilities_are_as_far_off_as_chance_makes_them() -> None:
    found = judged(P, PERFECT)
    assert found.ece < found.ece_perfect_high * 1.2
    assert 0 < found.ece_perfect < 0.05
    assert found.ece_low < found.ece_high


def test_probabilities_that_are_all_too_high_are_off_by_as_much() -> None:
    y = np.arange(1000) % 2 == 0
    assert ece(np.full(1000, 0.7), y.astype(float)) == pytest.approx(0.2, abs=0.001)


def test_brier_and_log_loss_of_a_coin() -> None:
    found = judged(np.full(400, 0.5), np.arange(400) % 2 == 0)
    assert found.brier == pytest.approx(0.25)
    assert found.log_loss == pytest.approx(np.log(2))
    assert found.spread == 0
    assert found.sure_right is None


def test_bins_hold_equally_many_and_ascend() -> None:
    bins = reliability(P, PERFECT.astype(float), 10)
    assert [one.count for one in bins] == [200] * 10
    assert [one.probability for one in bins] == sorted(one.probability for one in bins)


def test_fewer_rows_than_bins() -> None:
    assert ece(np.array([0.25, 0.75]), np.array([0.0, 1.0])) == pytest.approx(0.25)


def test_groups_that_stay_together_widen_the_interval() -> None:
    p, y = np.full(1000, 0.5), np.repeat(np.arange(20) % 2 == 0, 50)
    alone = scores(p, y, np.arange(1000), np.random.default_rng(0), bins=1, draws=300)
    together = scores(p, y, np.repeat(np.arange(20), 50), np.random.default_rng(0), bins=1, draws=300)
    assert together.ece_high > 2 * alone.ece_high
