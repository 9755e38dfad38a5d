"""Bravais types and conventional cells within a tolerance, against spglib."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest
import spglib
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from app.crystallography import metric
from app.crystallography.cell import UnitCell
from app.crystallography.lattice import CENTRINGS, LATTICES, BravaisLattice
from app.crystallography.lattice_symmetry import bravais_of, promote
from app.crystallography.reduction import niggli, same_lattice
from tests.crystallography.cells import EXAMPLES, NAC, cells

pytestmark = pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")
lattices = pytest.mark.parametrize("lattice", LATTICES.values(), ids=lambda row: row.symbol)

HOLOHEDRY = {
    2: "aP", 10: "mP", 12: "mC", 47: "oP", 65: "oC", 69: "oF", 71: "oI", 123: "tP", 139: "tI", 166: "hR", 191: "hP",
    221: "cP", 225: "cF", 229: "cI",
}  # fmt: skip
"""Space group of a lattice with one atom on each point."""


def _spglib_bravais(cell: UnitCell, symprec: float) -> str:
    axes = np.array(gemmi.UnitCell(*cell.constants).orth.mat.tolist()).T
    dataset = spglib.get_symmetry_dataset((axes, [[0, 0, 0]], [1]), symprec=symprec)
    assert dataset is not None
    return HOLOHEDRY[dataset.number]


@lattices
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_exact_cells_have_the_type_that_spglib_finds(lattice: BravaisLattice, data: st.DataObject) -> None:
    cell = data.draw(cells(lattice))
    primitive = niggli(cell, lattice.centring.symbol)
    found = promote(primitive, tolerance=1e-6)
    # Where a little more tolerance changes the type, the drawn cell is nearly another lattice.
    assume(promote(primitive, tolerance=1e-3).bravais == found.bravais)
    assert found.bravais == _spglib_bravais(primitive, 1e-4)


@lattices
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_every_candidate_is_the_lattice_it_says(lattice: BravaisLattice, data: st.DataObject) -> None:
    cell = data.draw(cells(lattice))
    centring = lattice.centring.symbol
    candidates = bravais_of(cell, centring, tolerance=2e-3)
    assert lattice.symbol in {one.bravais for one in candidates}
    assert candidates[-1].bravais == "aP"
    orders = [LATTICES[one.bravais].laue_order for one in candidates]
    assert orders == sorted(orders, reverse=True)
    direct = np.linalg.inv(metric.tensor_from_form(metric.form_from_cell(cell)))
    for one in candidates:
        rows = one.transformation
        constants = metric.constants_from_tensor(rows @ direct @ rows.T)
        np.testing.assert_allclose(constants, one.cell.constants, rtol=1e-2)
        assert np.linalg.det(rows) > 0
        own = LATTICES[one.bravais].centring
        assert same_lattice(niggli(one.cell, own.symbol), niggli(cell, centring), length_tolerance=0.005)


@lattices
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_a_measured_cell_is_promoted_to_its_lattice(lattice: BravaisLattice, data: st.DataObject) -> None:
    """With errors of 0.03% in the lengths and 0.02 degrees in the angles of the primitive cell."""
    cell = data.draw(cells(lattice))
    primitive = niggli(cell, lattice.centring.symbol)
    assume(promote(primitive, tolerance=1e-2).bravais == promote(primitive, tolerance=1e-6).bravais)
    errors = np.array(data.draw(st.tuples(*[st.floats(-1, 1)] * 6)))
    wrong = np.array(primitive.constants) + errors * [*(3e-4 * np.array(primitive.constants[:3])), 0.02, 0.02, 0.02]
    candidates = bravais_of(UnitCell(*wrong), tolerance=4e-3)
    assert candidates[0].bravais == promote(primitive, tolerance=1e-6).bravais


@lattices
def test_conventional_cells_come_back(lattice: BravaisLattice) -> None:
    cell = EXAMPLES[lattice.symbol]
    found = promote(niggli(cell, lattice.centring.symbol))
    assert found.bravais == lattice.symbol
    if lattice.n_params < 6:
        assert found.cell.constants == pytest.approx(cell.constants, rel=1e-6)


@pytest.mark.parametrize("symbol", ["hP", "hR"])
def test_the_angle_of_120_degrees_is_gamma(symbol: str) -> None:
    cell = EXAMPLES[symbol]
    turned = UnitCell(cell.c_ang, cell.a_ang, cell.a_ang, 120.0, 90.0, 90.0)
    rows = CENTRINGS["R" if symbol == "hR" else "P"].primitive[:, [2, 0, 1]]
    direct = np.linalg.inv(metric.tensor_from_form(metric.form_from_cell(turned)))
    primitive = UnitCell(*metric.constants_from_tensor(rows @ direct @ rows.T))
    found = promote(primitive)
    assert (found.bravais, found.cell.alpha_deg, found.cell.gamma_deg) == (symbol, 90.0, 120.0)


def test_hexagonal_axes_are_obverse() -> None:
    cell = EXAMPLES["hR"]
    found = promote(UnitCell(*cell.constants), "R")
    # The primitive axes of the obverse setting, in the found axes, span the lattice that was asked about.
    inverse = CENTRINGS["R"].primitive @ found.transformation @ np.linalg.inv(CENTRINGS["R"].primitive)
    np.testing.assert_allclose(inverse, np.round(inverse), atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(cells(LATTICES["mC"]))
def test_monoclinic_cells_are_obtuse_and_short(cell: UnitCell) -> None:
    found = promote(cell, "C", tolerance=1e-5)
    assume(found.bravais == "mC")
    assert found.cell.beta_deg >= 90
    assert found.cell.a_ang <= cell.a_ang * (1 + 1e-6)
    longer = UnitCell(cell.a_ang, cell.b_ang, cell.c_ang, 90, cell.beta_deg, 90)
    assert found.cell.c_ang <= max(longer.c_ang, longer.a_ang) * (1 + 1e-6)


def test_a_nearly_tetragonal_cell_keeps_both_readings() -> None:
    cell = UnitCell(5.0, 5.01, 8.0, 90.0, 90.0, 90.0)
    assert promote(cell, tolerance=5e-4).bravais == "oP"
    loose = bravais_of(cell, tolerance=5e-3)
    assert [one.bravais for one in loose][:1] == ["tP"]
    assert any(one.bravais == "oP" and one.deviation < 1e-9 for one in loose)


def test_subgroups_of_a_cubic_lattice() -> None:
    found = {one.bravais for one in bravais_of(NAC, "I")}
    assert found == {"cI", "tI", "hR", "oI", "oF", "mC", "aP"}
