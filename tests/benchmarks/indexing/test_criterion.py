"""The criterion against cells whose relation is known by construction."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from benchmarks.indexing.criterion import (
    basis_of,
    derivative_index,
    n_explained,
    niggli_of,
    same_constants,
    same_lattice,
)

ALBITE = (7.158, 7.447, 7.721, 115.08, 107.32, 100.46)
CELLS = [
    ALBITE,
    (6.47, 6.47, 6.47, 60.0, 60.0, 60.0),
    (4.94, 6.81, 6.978, 101.12, 94.86, 110.07),
    (3.5, 5.0, 7.0, 90.0, 90.0, 90.0),
    (5.084, 5.215, 6.887, 112.09, 111.5, 90.39),
]


def _constants(basis: np.ndarray) -> tuple[float, ...]:
    lengths = np.linalg.norm(basis, axis=1)
    cosines = basis @ basis.T / np.outer(lengths, lengths)
    return (*lengths, *np.degrees(np.arccos([cosines[1, 2], cosines[0, 2], cosines[0, 1]])))


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_agrees_with_itself_and_with_its_neighbours_inside_the_limits(cell: tuple[float, ...]) -> None:
    near = (*(1.014 * length for length in cell[:3]), *cell[3:])
    far = (*(1.04 * length for length in cell[:3]), *cell[3:])
    for agrees in (same_constants, same_lattice):
        assert agrees(cell, cell)
        assert agrees(near, cell)
        assert not agrees(far, cell)


def test_angles_count_to_one_and_a_half_degrees() -> None:
    true = (4.0, 5.0, 6.0, 90.0, 100.0, 90.0)
    assert same_lattice((4.0, 5.0, 6.0, 90.0, 101.4, 90.0), true)
    assert not same_lattice((4.0, 5.0, 6.0, 90.0, 101.6, 90.0), true)


def test_a_jump_of_the_niggli_cell_does_not_hide_the_lattice() -> None:
    acute, obtuse = (4.0, 5.0, 6.0, 89.9, 89.9, 89.9), (4.0, 5.0, 6.0, 90.1, 89.9, 90.1)
    assert same_lattice(acute, obtuse)
    swapped = (4.0, 4.01, 6.0, 80.0, 85.0, 88.0)
    assert not same_constants((4.0, 4.01, 6.0, 85.0, 80.0, 88.0), swapped)
    assert same_lattice((4.0, 4.01, 6.0, 85.0, 80.0, 88.0), swapped)
    # The longest axis of a lattice may be taken along c or along c - a where both are equally long.
    basis = basis_of((4.0, 5.0, 6.0, 90.0, np.degrees(np.arccos(2.0 / 6.0)), 90.0))
    other = basis.copy()
    other[2] = basis[2] - basis[0]
    assert same_lattice(_constants(other), _constants(basis))


@pytest.mark.parametrize("cell", CELLS)
def test_the_niggli_cell_does_not_depend_on_the_basis(cell: tuple[float, ...]) -> None:
    rows = np.array([[1, 1, 0], [0, 1, 0], [1, 0, -1]]) @ basis_of(cell)
    np.testing.assert_allclose(niggli_of(_constants(rows), "P"), niggli_of(cell, "P"), atol=1e-3)


@pytest.mark.parametrize("index", [2, 3, 4])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_multiplied_axes_are_derivatives(index: int, axis: int) -> None:
    rows = basis_of(ALBITE)
    rows[axis] *= index
    larger = niggli_of(_constants(rows), "P")
    assert derivative_index(larger, ALBITE) == index
    assert derivative_index(ALBITE, larger) == -index


def test_centring_is_a_derivative_and_another_lattice_is_none() -> None:
    conventional = (5.0, 6.0, 7.0, 90.0, 90.0, 90.0)
    body_centred = niggli_of(conventional, "I")
    assert derivative_index(body_centred, conventional) == -2
    assert derivative_index((5.0, 6.0, 7.9, 90.0, 90.0, 90.0), conventional) == 0


def test_lines_of_a_lattice_are_explained_by_it_and_its_superlattices_only() -> None:
    cell = gemmi.UnitCell(5.0, 6.0, 7.0, 90.0, 90.0, 90.0)
    hkl = gemmi.make_miller_array(cell, gemmi.SpaceGroup("P 1"), 2.0)
    two_theta = np.sort(np.degrees(2 * np.arcsin(1.5406 / 2 / cell.calculate_d_array(hkl))))
    assert n_explained(two_theta, 1.5406, cell.parameters) == two_theta.size
    assert n_explained(two_theta, 1.5406, (10.0, 6.0, 7.0, 90.0, 90.0, 90.0)) == two_theta.size
    assert n_explained(two_theta, 1.5406, (2.5, 6.0, 7.0, 90.0, 90.0, 90.0)) < two_theta.size
    assert n_explained(two_theta + 0.2, 1.5406, cell.parameters) < two_theta.size
