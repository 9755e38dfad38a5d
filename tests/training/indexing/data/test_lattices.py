"""Conventional cells describe the same lattice as the published ones; Bravais letters come from the space group."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from training.indexing.data.lattices import lattice_of, niggli_cell

_MONO = (11.93, 3.57, 6.14, 90.0, 119.3, 90.0)
_ORTHO = (5.0, 7.0, 11.0, 90.0, 90.0, 90.0)


@pytest.mark.parametrize(
    ("group", "cell", "bravais"),
    [
        ("F d -3 m:2", (8.2, 8.2, 8.2, 90, 90, 90), "cF"),
        ("I a -3 d", (12.0, 12.0, 12.0, 90, 90, 90), "cI"),
        ("R -3 c:H", (4.76, 4.76, 12.99, 90, 90, 120), "hR"),
        ("R -3 c:R", (5.13, 5.13, 5.13, 55.3, 55.3, 55.3), "hR"),
        ("P 32 2 1", (4.91, 4.91, 5.4, 90, 90, 120), "hP"),
        ("I 41/a m d:1", (5.76, 5.76, 9.44, 90, 90, 90), "tI"),
        ("B b m m", _ORTHO, "oC"),
        ("A m m 2", _ORTHO, "oC"),
        ("C m c m", _ORTHO, "oC"),
        ("F d d 2", _ORTHO, "oF"),
        ("P n m a", _ORTHO, "oP"),
        ("C 1 2/m 1", _MONO, "mC"),
        ("A 1 2/a 1", _MONO, "mC"),
        ("I 1 2/a 1", _MONO, "mC"),
        ("I 1 1 2/b", (5.2, 5.1, 11.7, 90, 90, 100.4), "mC"),
        ("P 1 21/n 1", _MONO, "mP"),
        ("P 1 1 21/b", (5.2, 5.1, 11.7, 90, 90, 79.6), "mP"),
        ("C -1", (5.17, 2.85, 7.31, 89.5, 103.0, 89.9), "aP"),
    ],
)
def test_the_conventional_cell_spans_the_published_lattice(group: str, cell: tuple[float, ...], bravais: str) -> None:
    published, space_group = gemmi.UnitCell(*cell), gemmi.find_spacegroup_by_name(group)
    lattice = lattice_of(published, space_group)
    assert lattice is not None
    assert lattice.bravais == bravais
    centring = "P" if bravais == "hP" else bravais[1]
    from_conventional = niggli_cell(gemmi.UnitCell(*lattice.cell), centring)
    np.testing.assert_allclose(from_conventional, lattice.niggli, atol=1e-4)
    assert gemmi.UnitCell(*lattice.niggli).volume == pytest.approx(lattice.volume_primitive_ang3, rel=1e-6)


def test_monoclinic_cells_are_unique_in_b_and_obtuse() -> None:
    for group in ("C 1 2/m 1", "P 1 21/n 1", "I 1 2/a 1"):
        lattice = lattice_of(gemmi.UnitCell(*_MONO), gemmi.find_spacegroup_by_name(group))
        assert lattice is not None
        assert lattice.cell[3] == lattice.cell[5] == 90.0
        assert lattice.cell[4] >= 90.0
        assert lattice.cell[1] == pytest.approx(3.57)


def test_a_setting_without_a_conventional_cell_is_left_out() -> None:
    cell = gemmi.UnitCell(7.0, 7.0, 9.0, 90, 90, 90)
    assert lattice_of(cell, gemmi.find_spacegroup_by_name("C -4 2 b")) is None
