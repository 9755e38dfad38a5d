"""Powder patterns of textbook structures against published cards and naive sums."""

from __future__ import annotations

from dataclasses import replace

import gemmi
import numpy as np
import pytest

from tests.training.indexing.crystals import CORUNDUM, HALITE, SILICON, SYLVITE, crystal
from training.indexing.data.amcsd import Structure
from training.indexing.data.powder import LineOptions, Lines, line_list, lorentz_polarisation, merge, reflections


# Powder Diffraction File 27-1402, 5-628 and 10-173: 2theta for Cu K-alpha1, measured intensity.
@pytest.mark.parametrize(
    ("structure", "card"),
    [
        (SILICON, [(28.442, 100), (47.303, 55), (56.121, 30), (69.130, 6), (76.377, 11), (88.032, 12)]),
        (HALITE, [(27.334, 13), (31.692, 100), (45.449, 55), (53.852, 2), (56.477, 15), (66.227, 6), (75.293, 11)]),
        (CORUNDUM, [(25.578, 75), (35.152, 90), (37.776, 40), (43.355, 100), (52.549, 45), (57.496, 80)]),
    ],
)
def test_lines_of_textbook_structures_agree_with_their_powder_cards(
    structure: Structure, card: list[tuple[float, float]]
) -> None:
    lines = line_list(structure, LineOptions())
    two_theta, intensity = np.array(card).T
    nearest = np.argmin(np.abs(lines.two_theta_deg[:, None] - two_theta), axis=0)
    np.testing.assert_allclose(lines.two_theta_deg[nearest], two_theta, atol=0.04)
    np.testing.assert_allclose(lines.intensity[nearest], intensity, atol=20.0)
    others = np.setdiff1d(np.flatnonzero(lines.two_theta_deg < two_theta[-1]), nearest)
    assert np.all(lines.intensity[others] < 3.0)


def test_potassium_chloride_looks_primitive_because_its_ions_scatter_alike() -> None:
    d, strength = reflections(SYLVITE, d_min_ang=1.5)
    odd = np.round((6.2917 / d) ** 2).astype(int) % 2 == 1
    assert strength[odd].max() < 0.02 * strength.max()
    d, strength = reflections(HALITE, d_min_ang=1.5)
    odd = np.round((5.6402 / d) ** 2).astype(int) % 2 == 1
    assert strength[odd].max() > 0.02 * strength.max()


@pytest.mark.parametrize("structure", [HALITE, SILICON, CORUNDUM])
def test_families_hold_what_a_sum_over_the_whole_sphere_holds(structure: Structure) -> None:
    d, strength = reflections(structure, d_min_ang=1.2)
    assert strength.sum() == pytest.approx(_sphere_sum(structure, 1.2), rel=1e-5)
    assert d.min() >= 1.2


def test_friedel_mates_count_without_a_centre_of_symmetry() -> None:
    blende = crystal("F -4 3 m", (5.409, 5.409, 5.409, 90, 90, 90), ("Zn", (0, 0, 0)), ("S", (0.25, 0.25, 0.25)))
    _, strength = reflections(blende, d_min_ang=1.2)
    assert strength.sum() == pytest.approx(_sphere_sum(blende, 1.2), rel=1e-5)


def test_an_atom_shared_by_two_elements_scatters_as_their_mean() -> None:
    half = tuple(replace(site, occupancy=0.5) for site in HALITE.sites)
    shared = (*half, *(replace(site, fract=other.fract) for site, other in zip(half, half[::-1], strict=True)))
    _, strength = reflections(replace(HALITE, sites=shared), d_min_ang=2.0)
    d, whole = reflections(HALITE, d_min_ang=2.0)
    even = np.isclose(d, 5.6402 / 2) | np.isclose(d, 5.6402 / np.sqrt(8))
    np.testing.assert_allclose(strength[even], whole[even], rtol=1e-6)
    assert strength[~even].max() < 1e-6


def test_neighbours_become_one_line_at_their_weighted_mean() -> None:
    lines = merge(Lines(np.array([20.0, 20.05, 30.0]), np.array([30.0, 10.0, 80.0])), LineOptions())
    np.testing.assert_allclose(lines.two_theta_deg, [20.0125, 30.0])
    np.testing.assert_allclose(lines.intensity, [50.0, 100.0])


def test_weak_lines_are_not_seen() -> None:
    lines = merge(Lines(np.array([20.0, 25.0, 30.0]), np.array([0.29, 0.31, 100.0])), LineOptions())
    np.testing.assert_allclose(lines.two_theta_deg, [25.0, 30.0])


def test_noise_has_the_stated_width_and_the_seed_decides_it() -> None:
    options = LineOptions(sigma_deg=0.015)
    clean = line_list(CORUNDUM, LineOptions())
    noise = [
        line_list(CORUNDUM, options, np.random.default_rng(seed)).two_theta_deg - clean.two_theta_deg
        for seed in range(30)
    ]
    assert np.std(noise) == pytest.approx(0.015, rel=0.1)
    again = line_list(CORUNDUM, options, np.random.default_rng(3)).two_theta_deg - clean.two_theta_deg
    np.testing.assert_array_equal(again, noise[3])


def test_lorentz_polarisation_is_least_at_high_angles_and_symmetric_in_the_beam_direction() -> None:
    theta = np.radians([10.0, 45.0])
    np.testing.assert_allclose(
        lorentz_polarisation(theta), [(1 + np.cos(np.radians(20)) ** 2) / 0.029696, 2**1.5], rtol=1e-3
    )


def _sphere_sum(structure: Structure, d_min: float) -> float:
    """Sum |F|^2 over every h, k, l of the sphere, from the atoms of the cell one by one."""
    assert structure.space_group is not None
    operations = [np.array(op.float_seitz()) for op in structure.space_group.operations()]
    grid = np.arange(-12, 13)
    hkl = np.array(np.meshgrid(grid, grid, grid)).reshape(3, -1).T
    hkl = hkl[np.any(hkl != 0, axis=1)]
    d = structure.cell.calculate_d_array(hkl.astype(np.int32))
    hkl, d = hkl[d >= d_min], d[d >= d_min]
    amplitude = np.zeros(len(hkl), dtype=complex)
    for site in structure.sites:
        atoms = {tuple(np.round((op[:3, :3] @ site.fract + op[:3, 3]) % 1.0, 6) % 1.0) for op in operations}
        stol2 = 1.0 / (4.0 * d**2)
        form = np.array([gemmi.Element(site.element).it92.calculate_sf(float(value)) for value in stol2])
        damping = np.exp(-8.0 * np.pi**2 * 0.005 * stol2)
        amplitude += form * damping * np.exp(2j * np.pi * hkl @ np.array(list(atoms)).T).sum(axis=1)
    return float(np.sum(np.abs(amplitude) ** 2))
