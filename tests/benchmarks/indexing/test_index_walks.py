"""The comparison of walks counts what reaches the true cell."""

from __future__ import annotations

import numpy as np
import pytest

from app.crystallography.lattice import LATTICES
from benchmarks.indexing.index_walks import Tally, compare, walked
from benchmarks.indexing.kernel import Start
from tests.indexing.walk.mcmc_cases import CELLS, problem_of


def start_of(symbol: str) -> Start:
    return Start(LATTICES[symbol], problem_of(symbol), CELLS[symbol])


def test_a_walk_that_knows_always_arrives_and_one_that_stays_rarely() -> None:
    methods = {
        "knows": lambda start, x: np.tile(start.true_x, (len(x), 1)),
        "stays": lambda start, x: x,
        "walks": walked(n_steps=20),
    }
    found = compare([start_of("oP"), start_of("aP")], methods, 0.03, 40)
    assert {tally.starts for tally in found.values()} == {80}
    assert found["knows"].reached == 80
    assert found["stays"].reached < found["walks"].reached


def test_a_row_tells_share_cost_and_gain() -> None:
    assert Tally(starts=200, reached=50, cpu_s=0.1).row == "25 | 0.50 | 500"
    assert Tally().row.startswith("0 | ")


def test_every_method_starts_from_the_same_cells() -> None:
    seen: list[np.ndarray] = []

    def walk(start: Start, x: np.ndarray) -> np.ndarray:
        seen.append(x)
        return x

    compare([start_of("oP")], {"one": walk, "other": walk}, 0.05, 8)
    np.testing.assert_array_equal(*seen)
    assert np.abs(seen[0] / start_of("oP").true_x - 1).std() == pytest.approx(0.1, abs=0.06)
