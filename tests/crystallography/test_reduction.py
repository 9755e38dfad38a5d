"""Niggli cells against gemmi and spglib, equality of lattices, sub- and superlattices."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest
import spglib
from hypothesis import given, settings
from hypothesis import strategies as st

from app.crystallography import metric
from app.crystallography.cell import UnitCell
from app.crystallography.lattice import LATTICES, BravaisLattice
from app.crystallography.reduction import (
    derivative_lattices,
    hermite_normal_forms,
    niggli,
    reduce_cell,
    same_lattice,
)
from app.errors import InvalidInput
from tests.crystallography.cells import CORUNDUM, EXAMPLES, NAC, cells

pytestmark = pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")
lattices = pytest.mark.parametrize("lattice", LATTICES.values(), ids=lambda row: row.symbol)


def _transformed(cell: UnitCell, rows: np.ndarray) -> UnitCell:
    direct = np.linalg.inv(metric.tensor_from_form(metric.form_from_cell(cell)))
    return UnitCell(*metric.constants_from_tensor(rows @ direct @ rows.T))


def _axes(cell: UnitCell) -> np.ndarray:
    """Rows are Cartesian axes."""
    return np.array(gemmi.UnitCell(*cell.constants).orth.mat.tolist()).T


@lattices
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_niggli_cell_of_gemmi_and_spglib(lattice: BravaisLattice, data: st.DataObject) -> None:
    cell = data.draw(cells(lattice))
    mine = np.array(niggli(cell, lattice.centring.symbol).constants)
    gruber = gemmi.GruberVector(gemmi.UnitCell(*cell.constants), lattice.centring.symbol)
    gruber.niggli_reduce(epsilon=1e-6)
    np.testing.assert_allclose(mine, gruber.cell_parameters(), rtol=1e-3)
    reduced = spglib.niggli_reduce(lattice.centring.primitive @ _axes(cell), eps=1e-4)
    assert reduced is not None
    np.testing.assert_allclose(mine[:3], np.linalg.norm(reduced, axis=1), rtol=1e-3)


@lattices
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_the_reduced_basis_has_the_reduced_constants(lattice: BravaisLattice, data: st.DataObject) -> None:
    cell = data.draw(cells(lattice))
    reduced = reduce_cell(cell, lattice.centring.symbol)
    assert _transformed(cell, reduced.basis).constants == pytest.approx(reduced.cell.constants, rel=1e-6)
    assert metric.volume(reduced.cell) == pytest.approx(metric.volume(cell) / lattice.centring.multiplicity)


def test_corundum_has_a_rhombohedral_primitive_cell() -> None:
    reduced = niggli(CORUNDUM, "R")
    assert reduced.constants == pytest.approx((4.7592, 4.7592, 5.1297, 62.36, 62.36, 60.0), abs=2e-3)


def test_nac_is_body_centred() -> None:
    edge = 10.2510 * 3**0.5 / 2
    angle = np.degrees(np.arccos(-1 / 3))
    assert niggli(NAC, "I").constants == pytest.approx((edge,) * 3 + (angle,) * 3)


def test_a_cell_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidInput):
        niggli(UnitCell(1, 1, 1, 10, 10, 90))


unimodular = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(-1, 1)).filter(lambda t: t[0] != t[1]), max_size=4
)


@settings(max_examples=30, deadline=None)
@given(cells(LATTICES["aP"]), unimodular)
def test_the_same_lattice_in_other_axes(cell: UnitCell, shears: list[tuple[int, int, int]]) -> None:
    rows = np.eye(3)
    for i, j, n in shears:
        rows[i] += n * rows[j]
    assert same_lattice(cell, _transformed(cell, rows))


@lattices
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_errors_of_measurement_do_not_make_another_lattice(lattice: BravaisLattice, data: st.DataObject) -> None:
    """Special metrics sit on boundaries of Niggli forms: a small error flips type I and II, or the order of axes."""
    primitive = niggli(data.draw(cells(lattice)), lattice.centring.symbol)
    relative = np.array(data.draw(st.tuples(*[st.floats(-3e-3, 3e-3)] * 6)))
    wrong = UnitCell(*(np.array(primitive.constants) * (1 + relative * [1, 1, 1, 0.5, 0.5, 0.5])))
    assert same_lattice(primitive, wrong)
    assert same_lattice(wrong, primitive)


@pytest.mark.parametrize("factor", [0.97, 1.03])
def test_another_length_is_another_lattice(factor: float) -> None:
    cell = EXAMPLES["aP"]
    assert not same_lattice(cell, UnitCell(cell.a_ang * factor, *cell.constants[1:]))
    assert not same_lattice(cell, UnitCell(*cell.constants[:3], cell.alpha_deg + 3, *cell.constants[4:]))


def test_the_number_of_sublattices() -> None:
    """sigma-type count: sum over d of n of d sigma_1(d), 7, 13 and 35 for 2, 3 and 4."""
    for index, number in ((1, 1), (2, 7), (3, 13), (4, 35), (6, 91)):
        forms = hermite_normal_forms(index)
        assert len(forms) == number
        np.testing.assert_allclose(np.linalg.det(forms), index)


def test_no_two_hermite_forms_span_the_same_sublattice() -> None:
    forms = hermite_normal_forms(4)
    for i, one in enumerate(forms):
        for other in forms[:i]:
            change = one @ np.linalg.inv(other)
            assert not np.allclose(change, np.round(change))


@lattices
def test_derivative_lattices_lead_back(lattice: BravaisLattice) -> None:
    cell = EXAMPLES[lattice.symbol]
    primitive = niggli(cell, lattice.centring.symbol)
    derived = derivative_lattices(cell, lattice.centring.symbol, indices=(2, 3))
    for one in derived:
        assert metric.volume(one.niggli) == pytest.approx(one.volume_ratio * metric.volume(primitive))
        index = round(max(one.volume_ratio, 1 / one.volume_ratio))
        back = derivative_lattices(one.niggli, indices=(index,))
        assert any(same_lattice(primitive, other.niggli, length_tolerance=1e-6) for other in back)


def test_a_general_lattice_has_all_its_derivatives_and_a_cubic_one_few() -> None:
    assert len(derivative_lattices(EXAMPLES["aP"])) == 2 * (7 + 13 + 35)
    halves = [one for one in derivative_lattices(EXAMPLES["cP"], indices=(2,)) if one.volume_ratio == 2]
    assert len(halves) == 3  # doubled along [100], along [110], or face-centred with 2a
