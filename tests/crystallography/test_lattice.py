"""The table of Bravais lattices against gemmi and against itself."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from app.crystallography.lattice import CENTRINGS, LATTICES, products

BOX = np.stack(np.meshgrid(*[np.arange(-6, 7)] * 3, indexing="ij"), -1).reshape(-1, 3).astype(np.int32)


def test_fourteen_lattices() -> None:
    assert len(LATTICES) == 14
    assert all(symbol == lattice.symbol for symbol, lattice in LATTICES.items())


def test_centring_absences_of_every_space_group_setting() -> None:
    sample = BOX[::7]
    for group in gemmi.spacegroup_table():
        kind = group.centring_type()
        if kind not in CENTRINGS or (kind == "R" and group.ext != "H"):
            continue  # rhombohedral axes, and H cells, are never conventional here
        lattice_only = gemmi.GroupOps([gemmi.Op("x,y,z")])
        lattice_only.cen_ops = group.operations().cen_ops
        np.testing.assert_array_equal(CENTRINGS[kind].allowed(sample), ~lattice_only.systematic_absences(sample))


@pytest.mark.parametrize("centring", CENTRINGS.values(), ids=lambda c: c.symbol)
def test_primitive_axes_are_centring_vectors(centring) -> None:  # noqa: ANN001
    assert np.linalg.det(centring.primitive) == pytest.approx(1 / centring.multiplicity)
    # Every allowed reflection has integer indices in the primitive axes, and every integer triple is one.
    primitive_hkl = BOX @ centring.primitive.T
    integral = np.all(np.abs(primitive_hkl - np.round(primitive_hkl)) < 1e-9, axis=1)
    np.testing.assert_array_equal(integral, centring.allowed(BOX))


def test_the_share_of_allowed_reflections_is_one_over_the_multiplicity() -> None:
    full = np.stack(np.meshgrid(*[np.arange(12)] * 3, indexing="ij"), -1).reshape(-1, 3)
    for centring in CENTRINGS.values():
        assert centring.allowed(full).mean() == pytest.approx(1 / centring.multiplicity)


@pytest.mark.parametrize("lattice", LATTICES.values(), ids=lambda row: row.symbol)
def test_laue_order_is_the_largest_orbit(lattice) -> None:  # noqa: ANN001
    """Count the reflections that share a design row by symmetry: the Laue group of the lattice's holohedry."""
    group = {
        "cubic": "P m -3 m",
        "hexagonal": "P 6/m m m",
        "rhombohedral": "R -3 m",
        "tetragonal": "P 4/m m m",
        "orthorhombic": "P m m m",
        "monoclinic": "P 1 2/m 1",
        "triclinic": "P -1",
    }[lattice.system]
    operations = gemmi.SpaceGroup(group).operations()
    assert len(operations.sym_ops) == lattice.laue_order
    orbit = np.array([op.apply_to_hkl([1, 2, 5]) for op in operations.sym_ops])
    assert len(np.unique(lattice.design(orbit), axis=0)) == 1


@pytest.mark.parametrize("lattice", LATTICES.values(), ids=lambda row: row.symbol)
def test_as_many_terms_as_free_constants(lattice) -> None:  # noqa: ANN001
    assert lattice.n_params == len(lattice.free_constants) == np.linalg.matrix_rank(lattice.terms)


def test_products_in_the_order_of_the_docstring() -> None:
    assert products(np.array([2, 3, 5])).tolist() == [4, 9, 25, 15, 10, 6]
