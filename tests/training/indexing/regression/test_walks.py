"""What drawn starts are worth: asked alone, and in whole searches."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from app.crystallography.cell import UnitCell
from app.indexing.problem import BRAVAIS, PeakList
from app.indexing.search.exhaustive import Exhaustive
from app.indexing.search.observed import Observed
from app.indexing.search_order import Doubt, Step
from training.indexing.odds.patterns import Known
from training.indexing.regression.walks import Searched, compared, generators, searched, walked

SIDE_ANG = 5.2


@dataclass(frozen=True)
class Cubic:
    """Odds of a primitive cube, and nothing else to do."""

    steps: tuple[Step, ...] = (Step("exhaustive", "cP", 0.9, 0.01),)
    doubt: Doubt = field(default_factory=lambda: Doubt((0.0,) * 7, 0.0, 0.0))

    def probabilities(self, observed: Observed) -> np.ndarray:
        del observed
        return np.where(np.array(BRAVAIS) == "cP", 1.0, 0.0)


class NoRegression:
    """Knows no lattice."""

    lattices: frozenset[str] = frozenset()

    def draw(self, bravais: str, q2: np.ndarray, rng: np.random.Generator, n_network: int, n_trees: int) -> np.ndarray:
        raise AssertionError((bravais, q2, rng, n_network, n_trees))


@pytest.fixture
def cube() -> Known:
    n = np.array([1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 16, 17])
    cell = UnitCell(SIDE_ANG, SIDE_ANG, SIDE_ANG, 90.0, 90.0, 90.0)
    return Known(1, "cP", cell, "clean", PeakList(n / SIDE_ANG**2, wavelength_ang=1.5406))


def test_a_generator_that_finds_the_cell_is_said_to(cube: Known) -> None:
    found, spent_s = walked(cube, {"exhaustive": Exhaustive()})["exhaustive"]
    assert found
    assert spent_s > 0.0
    other = Known(2, "cP", UnitCell(4.0, 4.0, 4.0, 90.0, 90.0, 90.0), "clean", cube.peaks)
    assert not walked(other, {"exhaustive": Exhaustive()})["exhaustive"][0]


def test_a_search_that_never_walks_is_one_and_the_same(cube: Known) -> None:
    ((drawn, random),) = searched([cube], Cubic(), NoRegression())
    assert drawn is random
    assert drawn.first
    assert not drawn.walked


def test_the_walks_have_their_draws() -> None:
    assert list(generators(NoRegression(), (10, 20))) == ["volume", "10 draws", "20 draws"]


def test_searches_that_walk_are_compared_in_pairs() -> None:
    without = (Searched(first=True, listed=True, cpu_s=1.0, walked=False),) * 2
    half = Searched(first=True, listed=True, cpu_s=1.0, walked=True)
    whole = Searched(first=False, listed=True, cpu_s=2.0, walked=True)
    (line,) = compared([without, (half, whole), (half, whole)])
    assert "2 of 3 searches walk" in line
    assert "drawn starts alone have 2 right, random ones 0" in line
    assert "CPU 0.50 times (0.50-0.50, 95 %)" in line
    assert compared([without]) == []
