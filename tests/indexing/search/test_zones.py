"""The search by zones."""

from __future__ import annotations

import numpy as np
import pytest

from app.crystallography.cell import UnitCell
from app.crystallography.lattice import LATTICES
from app.crystallography.metric import x_from_cell
from app.indexing.search.generator import Effort
from app.indexing.search.zones import Zones
from tests.indexing.search.lattice_lines import LIMITS, has_cell, lines_of

CELLS = {
    "aP": UnitCell(5.9, 7.4, 8.8, 98.0, 104.0, 95.0),
    "mP": UnitCell(5.6, 9.7, 8.1, 90, 103.0, 90),
    "mC": UnitCell(13.1, 6.3, 7.9, 90, 108.0, 90),
}


@pytest.mark.parametrize("bravais", CELLS)
def test_it_finds_a_cell_with_missing_lines(bravais: str) -> None:
    x = x_from_cell(LATTICES[bravais], CELLS[bravais])
    observed = lines_of(bravais, x, np.random.default_rng(5), missing=0.15)
    assert has_cell(bravais, Zones().propose(bravais, observed, LIMITS, Effort()).x, x)


def test_it_finds_a_monoclinic_cell_whose_low_lines_lie_in_one_zone() -> None:
    x = x_from_cell(LATTICES["mP"], UnitCell(14.2, 3.9, 11.6, 90, 99.0, 90))
    observed = lines_of("mP", x, np.random.default_rng(2), missing=0.0)
    # b* is so long that the first dozen lines are h0l.
    assert np.count_nonzero(observed.q2 < x[1]) >= 10
    np.testing.assert_allclose(Zones().zones(observed, LIMITS, keep=1)[0], x[[0, 2, 3]], rtol=0.01)
    assert has_cell("mP", Zones().propose("mP", observed, LIMITS, Effort(level=1)).x, x)


def test_equal_arguments_give_equal_proposals() -> None:
    x = x_from_cell(LATTICES["aP"], CELLS["aP"])
    observed = lines_of("aP", x, np.random.default_rng(5))
    one, other = (Zones().propose("aP", observed, LIMITS, Effort()) for _ in range(2))
    np.testing.assert_array_equal(one.x, other.x)


def test_a_stopped_search_proposes_nothing() -> None:
    x = x_from_cell(LATTICES["aP"], CELLS["aP"])
    observed = lines_of("aP", x, np.random.default_rng(5))
    proposal = Zones().propose("aP", observed, LIMITS, Effort(stop=lambda: True))
    assert len(proposal.x) == 0
    assert not proposal.complete
