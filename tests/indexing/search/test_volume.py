"""Random cells of growing volume."""

from __future__ import annotations

import numpy as np
import pytest

from app.crystallography.lattice import LATTICES
from app.crystallography.metric import valid, volume_from_x
from app.indexing.search.generator import Effort
from app.indexing.search.volume import ByVolume, random_cells
from tests.indexing.search.lattice_lines import LIMITS, has_cell, lines_of, random_cell


@pytest.mark.parametrize("bravais", LATTICES)
def test_random_cells_have_the_volume_asked_for(bravais: str) -> None:
    lattice = LATTICES[bravais]
    x = random_cells(lattice, 321.0, 50, np.random.default_rng(0))
    assert np.all(valid(lattice, x))
    np.testing.assert_allclose(volume_from_x(lattice, x) / lattice.centring.multiplicity, 321.0, rtol=1e-9)


@pytest.mark.parametrize("bravais", ["tP", "oI", "mP"])
def test_it_finds_a_cell_with_missing_and_foreign_lines(bravais: str) -> None:
    rng = np.random.default_rng(4)
    x = random_cell(bravais, rng, 180.0)
    observed = lines_of(bravais, x, rng, n_foreign=1)
    assert has_cell(bravais, ByVolume().propose(bravais, observed, LIMITS, Effort()).x, x)


def test_the_seed_decides() -> None:
    rng = np.random.default_rng(4)
    observed = lines_of("oP", random_cell("oP", rng, 180.0), rng)
    one, same, other = (ByVolume().propose("oP", observed, LIMITS, Effort(seed=seed)).x for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert one.shape != other.shape or np.any(one != other)
