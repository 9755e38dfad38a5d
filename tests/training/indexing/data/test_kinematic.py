"""Structure factors against gemmi's, reflection by reflection."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from tests.training.indexing.crystals import CORUNDUM, HALITE, SILICON, crystal
from training.indexing.data.amcsd import Structure
from training.indexing.data.kinematic import squared_structure_factors
from training.indexing.data.peak_lists import enough_reflections, peak_lists
from training.indexing.data.powder import reflections
from training.indexing.data.quality import entry_of

BLENDE = crystal("F -4 3 m", (5.409, 5.409, 5.409, 90, 90, 90), ("Zn", (0, 0, 0)), ("S", (0.25, 0.25, 0.25)))
QUARTZ = crystal("P 32 2 1", (4.913, 4.913, 5.405, 90, 90, 120), ("Si", (0.47, 0, 2 / 3)), ("O", (0.414, 0.267, 0.786)))
OLIVINE = crystal(
    "P b n m",
    (4.756, 10.207, 5.98, 90, 90, 90),
    ("Mg", (0, 0, 0)),
    ("Mg", (0.99, 0.277, 0.25)),
    ("Si", (0.426, 0.094, 0.25)),
    ("O", (0.766, 0.092, 0.25)),
    ("O", (0.221, 0.447, 0.25)),
    ("O", (0.277, 0.163, 0.033)),
)
BODY_CENTRED = crystal(
    "I 1 2/a 1",
    (5.679, 15.202, 6.522, 90, 118.43, 90),
    ("Ca", (0.25, 0.0797, 0)),
    ("S", (0.25, 0.5773, 0)),
    ("O", (0.9632, 0.1319, 0.5505)),
    ("O", (0.7582, 0.0223, 0.6671)),
    ("O", (0.3796, 0.1821, 0.4588)),
)
RHOMBOHEDRAL_CALCITE = crystal(
    "R -3 c:R",
    (6.375, 6.375, 6.375, 46.08, 46.08, 46.08),
    ("Ca", (0, 0, 0)),
    ("C", (0.25, 0.25, 0.25)),
    ("O", (0.507, 0.993, 0.25)),
)
CENTRED_TRICLINIC = crystal(
    "C -1",
    (8.155, 12.821, 7.139, 94.2, 116.6, 87.8),
    ("Na", (0.27, 0.99, 0.15)),
    ("Si", (0.01, 0.17, 0.22)),
    ("O", (0.59, 0.99, 0.28)),
)
ALL = [HALITE, SILICON, CORUNDUM, BLENDE, QUARTZ, OLIVINE, BODY_CENTRED, RHOMBOHEDRAL_CALCITE, CENTRED_TRICLINIC]


@pytest.mark.parametrize("structure", ALL, ids=lambda structure: structure.space_group.xhm())
def test_squared_structure_factors_are_gemmis(structure: Structure) -> None:
    """In the conventional axes, through the change of axes; the number of atoms in the cell changes with the cell."""
    entry = entry_of(structure)
    assert entry.lattice is not None
    assert entry.atoms is not None
    found = enough_reflections(entry.lattice.bravais, entry.lattice.setting, entry.lattice.cell, n_lines=40)
    squared = squared_structure_factors(entry.atoms, found.hkl, found.q2_inv_ang2)
    published = np.round(found.hkl @ np.linalg.inv(entry.lattice.basis).T).astype(int)
    ratio = abs(np.linalg.det(entry.lattice.basis))
    np.testing.assert_allclose(squared / ratio**2, _gemmi(structure, published), rtol=2e-4, atol=1e-2)


def _gemmi(structure: Structure, hkl: np.ndarray) -> np.ndarray:
    small = gemmi.SmallStructure()
    small.cell, small.spacegroup_hm = structure.cell, structure.space_group.xhm()
    small.symops = [operation.triplet() for operation in structure.space_group.operations()]
    small.determine_and_set_spacegroup("S")
    for site in structure.sites:
        made = gemmi.SmallStructure.Site()
        made.element, made.fract = gemmi.Element(site.element), gemmi.Fractional(*site.fract)
        made.occ, made.u_iso = site.occupancy, site.u_iso_ang2
        small.add_site(made)
    small.setup_cell_images()
    small.change_occupancies_to_crystallographic()
    calculator = gemmi.StructureFactorCalculatorX(small.cell)
    return np.array([abs(calculator.calculate_sf_from_small_structure(small, index)) ** 2 for index in hkl.tolist()])


@pytest.mark.parametrize("structure", ALL, ids=lambda structure: structure.space_group.xhm())
def test_lines_have_the_strength_of_their_families(structure: Structure) -> None:
    """The intensities of the second list against the sums over families that gemmi's reflections give."""
    entry = entry_of(structure)
    assert entry.lattice is not None
    assert entry.atoms is not None
    lists = peak_lists(entry.lattice.bravais, entry.lattice.setting, entry.lattice.cell, entry.atoms)
    d, strength = reflections(structure, d_min_ang=1.54)
    theta = np.arcsin(1.5406 / 2 / d)
    intensity = strength * (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))
    at_lines = [intensity[np.abs(d**-2 / q2 - 1) < 1e-6].sum() for q2 in lists.q2]
    np.testing.assert_allclose(lists.intensity, 100 * np.array(at_lines) / max(at_lines), rtol=2e-4, atol=1e-3)
