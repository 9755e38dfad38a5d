"""Probabilities of ranked cells: they sum to one with none, follow the cells, and know the whole answer."""

from dataclasses import replace

import numpy as np
import pytest

from app.indexing.learned.models import Learned
from app.indexing.learned.probability import (
    CellProbabilities,
    ScoredProbability,
    chosen,
    cut,
    log_odds_of,
    softmax_with_none,
    with_probabilities,
)
from app.indexing.learned.probability_features import FEATURES, MOST_CELLS, cell_features
from app.indexing.problem import SolveOptions, SolveResult
from app.indexing.search.low_order import LowOrder
from app.indexing.solve import Round, solve
from tests import indexing_results
from tests.indexing.synthetic import is_lattice, pattern


class ByColumn:
    """Takes one feature for the log-odds."""

    def __init__(self, name: str) -> None:
        self.at = FEATURES.index(name)

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        right = 1 / (1 + np.exp(-x[:, self.at]))
        return np.column_stack([1 - right, right])


def part(
    name: str = "log_odds", *, weight: float = 1.0, none: float = 0.0, reorders: bool = False
) -> ScoredProbability:
    wide = np.full(len(FEATURES), 1e6)
    return ScoredProbability((ByColumn(name),), (weight,), none, -wide, wide, reorders)


def longer(count: int) -> SolveResult:
    """An answer with more cells, each with less evidence."""
    result = indexing_results.result()
    rest = [replace(result.solutions[1], log_odds=12.0 - i, relatives=(0,)) for i in range(1, count - 1)]
    return replace(result, solutions=(*result.solutions, *rest))


def column(name: str, result: SolveResult) -> np.ndarray:
    return cell_features(result)[:, FEATURES.index(name)]


def test_features_count_what_the_lines_show() -> None:
    result = indexing_results.result()
    assert column("unindexed", result).tolist() == [1, 2]
    assert column("unindexed_over_least", result).tolist() == [0, 1]
    assert column("n_params", result).tolist() == [1, 4]
    first, second = (one.log_odds for one in result.solutions)
    assert column("gap", result) == pytest.approx([min(first - second, 60.0), max(second - first, -60.0)])


def test_volumes_are_those_of_primitive_cells() -> None:
    volumes = np.exp(column("log_volume", indexing_results.result()))
    cube, rival = indexing_results.result().solutions
    assert volumes == pytest.approx([cube.volume_ang3, rival.volume_ang3 / 2])


@pytest.mark.parametrize("wavelength_ang", [None, indexing_results.WAVELENGTH_ANG])
def test_features_are_numbers_with_and_without_a_wavelength(wavelength_ang: float | None) -> None:
    features = cell_features(indexing_results.result(wavelength_ang=wavelength_ang))
    assert features.shape == (2, len(FEATURES))
    assert np.isfinite(features).all()


def test_a_cell_alone_is_compared_with_chance() -> None:
    result = indexing_results.result()
    alone = replace(result, solutions=(replace(result.solutions[0], relatives=()),))
    assert column("gap", alone) == pytest.approx([min(result.solutions[0].log_odds, 60.0)])


def test_without_cells_there_is_nothing_to_score() -> None:
    empty = replace(indexing_results.result(), solutions=())
    found = part().of(empty)
    assert len(found.cells) == 0
    assert found.none == 1.0
    answered = part(reorders=True).answered(empty)
    assert (answered.solutions, answered.confidence, answered.probability) == ((), 0.0, 0.0)


def test_probabilities_and_none_sum_to_one() -> None:
    found = part(weight=0.1, none=1.0).of(longer(8))
    assert found.cells.sum() + found.none == pytest.approx(1.0)
    assert (found.cells > 0).all()


def test_cells_apart_come_to_one_at_most() -> None:
    sure = replace(part(weight=1.0), competing=False).of(longer(8))
    assert sure.cells.sum() == pytest.approx(1.0)
    assert sure.none == pytest.approx(0.0)
    doubtful = replace(part(weight=0.1, none=12.0), competing=False).of(longer(2))
    assert doubtful.cells == pytest.approx(1 / (1 + np.exp(12.0 - 0.1 * np.array([20.0, 12.5]))))
    assert doubtful.cells.sum() + doubtful.none == pytest.approx(1.0)


def test_cells_beyond_those_looked_at_have_no_chance() -> None:
    found = part(weight=0.1).of(longer(MOST_CELLS + 3))
    assert len(found.cells) == MOST_CELLS + 3
    assert found.cells[MOST_CELLS:].tolist() == [0.0, 0.0, 0.0]


def test_a_surer_none_leaves_less_for_the_cells() -> None:
    shares = [part(weight=0.1, none=none).of(longer(4)).cells.sum() for none in (-2.0, 0.0, 2.0)]
    assert shares == sorted(shares, reverse=True)


def test_features_beyond_their_range_count_as_its_end() -> None:
    wide = part(weight=0.1)
    narrow = replace(wide, high=np.where(np.arange(len(FEATURES)) == FEATURES.index("log_odds"), 20.0, wide.high))
    result = indexing_results.result()
    first = replace(result.solutions[0], log_odds=20.0)
    assert narrow.scores(cell_features(result))[0] == pytest.approx(
        wide.scores(cell_features(replace(result, solutions=(first, result.solutions[1]))))[0]
    )


def test_the_most_probable_cell_comes_first_only_where_that_is_asked_for() -> None:
    result = indexing_results.result()
    odds = CellProbabilities(np.array([0.2, 0.7]), 0.1)
    kept = with_probabilities(result, odds, reorders=False)
    turned = with_probabilities(result, odds, reorders=True)
    assert [one.probability for one in kept.solutions] == [0.2, 0.7]
    assert [one.probability for one in turned.solutions] == [0.7, 0.2]
    assert [one.bravais for one in turned.solutions] == ["mC", "cP"]
    assert (kept.confidence, turned.confidence) == (0.2, 0.7)
    assert kept.probability == turned.probability == pytest.approx(0.9)


def test_relatives_and_weights_follow_the_cells() -> None:
    solutions = longer(4).solutions
    turned = chosen(solutions, np.array([2, 0]))
    assert [one.log_odds for one in turned] == [solutions[2].log_odds, solutions[0].log_odds]
    assert turned[0].relatives == (1,)
    assert turned[1].relatives == ()
    assert sum(one.weight for one in turned) == pytest.approx(1.0)


def test_a_short_answer_has_the_probabilities_of_the_long_one() -> None:
    long = part(weight=0.1).answered(longer(6))
    short = cut(long, 2)
    assert len(short.solutions) == 2
    assert [one.probability for one in short.solutions] == [one.probability for one in long.solutions[:2]]
    assert short.probability == long.probability
    assert cut(long, 6) is long


def test_the_solver_asks_for_them_and_cuts_afterwards() -> None:
    peaks, learned = pattern("tI", seed=2), Learned(probability=part(weight=0.1))
    options = SolveOptions(lattices=("tI", "tP"), max_seconds=300.0)
    rounds = ((Round(LowOrder()),),)
    long, short = (
        solve(peaks, replace(options, max_solutions=count), rounds=rounds, learned=learned) for count in (20, 1)
    )
    assert is_lattice(long.solutions[0], "tI")
    assert len(short.solutions) == 1
    assert short.solutions[0].probability == long.solutions[0].probability == long.confidence
    assert short.probability == long.probability
    plain = solve(peaks, options, rounds=rounds)
    assert (plain.probability, plain.solutions[0].probability) == (None, None)


def test_no_estimator_is_surer_than_all_others_together() -> None:
    class Sure:
        def predict_proba(self, x: np.ndarray) -> np.ndarray:
            return np.array([[0.0, 1.0], [1.0, 0.0]])

    assert log_odds_of(Sure(), np.zeros((2, 1))) == pytest.approx([20.0, -20.0])


def test_softmax_is_safe_for_large_scores() -> None:
    assert softmax_with_none(np.array([1000.0, 0.0]), -1000.0) == pytest.approx([1.0, 0.0, 0.0])
