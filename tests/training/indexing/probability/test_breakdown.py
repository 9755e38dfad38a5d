"""The probability by kinds of answers, and by how much it was fitted on."""

from __future__ import annotations

import numpy as np
import pytest

from app.indexing.learned.probability_features import FEATURES
from training.indexing.probability.breakdown import by_kind, curve_table, kinds_table, learning_curve
from training.indexing.probability.data import Answers
from training.indexing.probability.methods import METHODS

LOG_ODDS = FEATURES.index("log_odds")


def answers(count: int, cells: int = 3) -> Answers:
    """The first cell of each answer has most evidence, and is right in four of five."""
    rng = np.random.default_rng(1)
    answer = np.repeat(np.arange(count), cells)
    features = rng.normal(size=(len(answer), len(FEATURES)))
    features[:, LOG_ODDS] = 20.0 - 5.0 * np.tile(np.arange(cells), count)
    right = np.zeros(len(answer), bool)
    right[::cells] = np.arange(count) % 5 != 0
    return Answers(features, right, answer, np.arange(count))


def test_kinds_are_told_apart() -> None:
    of = answers(10)
    p = np.tile([0.9, 0.05, 0.0], 10)
    kinds = by_kind(p, of, ["cP" if number % 5 else "aP" for number in range(10)])
    assert [(one.name, one.count, one.right) for one in kinds] == [("aP", 2, 0.0), ("cP", 8, 1.0)]
    assert [one.brier for one in kinds] == [pytest.approx(0.81), pytest.approx(0.01)]
    assert "| aP | 2 | 0 % | 0.90 | 0.810 |" in kinds_table("lattice", kinds)


def test_an_answer_without_cells_is_told_0() -> None:
    of = answers(2, cells=1)
    empty = Answers(of.features[:1], of.right[:1], of.answer[:1], of.group)
    (kind,) = by_kind(np.array([0.8]), empty, ["x", "x"])
    assert (kind.told, kind.right) == (pytest.approx(0.4), 0.0)


def test_the_trivial_predictor_knows_the_places() -> None:
    fitted = METHODS["place alone"](answers(100), np.random.default_rng(0))
    assert fitted(answers(2)) == pytest.approx([0.8, 0.0, 0.0] * 2)


def test_the_curve_is_of_ever_more_answers() -> None:
    curve = learning_curve("place alone", METHODS["place alone"], answers(100), (0.1, 1.0))
    assert [count for count, _ in curve] == [8, 80]
    assert curve[1][1].answer_loss == pytest.approx(-0.8 * np.log(0.8) - 0.2 * np.log(0.2), abs=0.01)
    assert curve_table(curve).count("\n") == 3
