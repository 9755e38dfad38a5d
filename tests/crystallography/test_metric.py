"""Cell, form and x: round trips, gemmi's d-spacings and volumes, propagation by finite differences."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.crystallography import metric
from app.crystallography.cell import UnitCell
from app.crystallography.lattice import LATTICES, BravaisLattice
from app.errors import InvalidInput
from tests.crystallography.cells import EXAMPLES, cells

lattices = pytest.mark.parametrize("lattice", LATTICES.values(), ids=lambda row: row.symbol)


@lattices
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_a_cell_survives_the_round_trip(lattice: BravaisLattice, data: st.DataObject) -> None:
    cell = data.draw(cells(lattice))
    back = metric.cell_from_x(lattice, metric.x_from_cell(lattice, cell))
    assert back.constants == pytest.approx(cell.constants, rel=1e-9)
    fixed = np.array(lattice.fixed_constants)
    held = ~np.isnan(fixed)
    np.testing.assert_array_equal(np.array(back.constants)[held], fixed[held])


@lattices
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_spacings_and_volume_agree_with_gemmi(lattice: BravaisLattice, data: st.DataObject) -> None:
    cell = data.draw(cells(lattice))
    hkl = data.draw(st.tuples(*[st.integers(-9, 9)] * 3).filter(any))
    other = gemmi.UnitCell(*cell.constants)
    x = metric.x_from_cell(lattice, cell)
    assert float(lattice.design(np.array(hkl)) @ x) == pytest.approx(other.calculate_1_d2(hkl), rel=1e-9)
    assert metric.volume_from_x(lattice, x) == pytest.approx(other.volume, rel=1e-9)
    assert metric.volume(cell) == pytest.approx(other.volume, rel=1e-9)


@lattices
def test_a_batch_equals_its_members(lattice: BravaisLattice) -> None:
    constants = np.array(EXAMPLES[lattice.symbol].constants)
    scaled = np.stack([constants * np.where(np.arange(6) < 3, s, 1) for s in (1.0, 1.3, 2.0)])
    x = metric.x_from_constants(lattice, scaled)
    np.testing.assert_allclose(metric.constants_from_x(lattice, x), scaled, rtol=1e-12)
    for row, one in zip(x, scaled, strict=True):
        np.testing.assert_allclose(row, metric.x_from_cell(lattice, UnitCell(*one)))


@lattices
def test_jacobian_is_a_finite_difference(lattice: BravaisLattice) -> None:
    x = metric.x_from_cell(lattice, EXAMPLES[lattice.symbol])
    step = 1e-6 * np.abs(x).max()
    shifts = step * np.eye(lattice.n_params)
    up, down = (metric.constants_from_x(lattice, x + sign * shifts) for sign in (1, -1))
    np.testing.assert_allclose(metric.jacobian(lattice, x), (up - down).T / (2 * step), rtol=1e-5, atol=1e-5)


def test_cubic_error_is_that_of_the_formula() -> None:
    """a = x^(-1/2), so sigma(a) = a^3/2 sigma(x)."""
    sigma = metric.cell_sigma(LATTICES["cF"], np.array([1 / 16]), np.array([[1e-8]]))
    assert sigma.constants == pytest.approx((0.0032, 0.0032, 0.0032, 0, 0, 0))


def test_monte_carlo_scatter_is_the_propagated_one() -> None:
    lattice, generator = LATTICES["mP"], np.random.default_rng(4)
    x = metric.x_from_cell(lattice, EXAMPLES["mP"])
    root = 1e-6 * generator.standard_normal((4, 4))
    samples = metric.constants_from_x(lattice, x + generator.standard_normal((40_000, 4)) @ root)
    expected = metric.sigma_constants(lattice, x, root.T @ root)
    np.testing.assert_allclose(samples.std(axis=0), expected, rtol=0.02, atol=1e-12)


def test_what_is_no_cell_is_masked_or_refused() -> None:
    lattice = LATTICES["aP"]
    good = metric.x_from_cell(lattice, EXAMPLES["aP"])
    bad = np.stack([good, -good, good * [1, 1, 1, 1, 1, 50], good * np.nan, np.zeros(6)])
    assert metric.valid(lattice, bad).tolist() == [True, False, False, False, False]
    assert np.isnan(metric.constants_from_x(lattice, bad)).all(axis=1).tolist() == [False, True, True, True, True]
    assert np.isnan(metric.volume_from_x(lattice, bad)).tolist() == [False, True, True, True, True]
    with pytest.raises(InvalidInput):
        metric.cell_from_x(lattice, bad[1])


@pytest.mark.parametrize("constants", [(0, 1, 1, 90, 90, 90), (1, 1, 1, 30, 30, 80), (1, 1, 1, 121, 120, 120)])
def test_constants_of_no_cell_are_refused(constants: tuple[float, ...]) -> None:
    with pytest.raises(InvalidInput, match="No unit cell"):
        metric.volume(UnitCell(*constants))


@lattices
def test_projection_keeps_the_lattice_of_a_slightly_wrong_cell(lattice: BravaisLattice) -> None:
    constants = np.array(EXAMPLES[lattice.symbol].constants) * [1.001, 1, 0.999, 1.001, 1, 0.999]
    projected = metric.constants_from_x(lattice, metric.x_from_constants(lattice, constants))
    np.testing.assert_allclose(projected, constants, rtol=5e-3)
