"""The two lists of lines: absences by gemmi, geometry, and the four conditions done the slow way."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from app.crystallography.lattice import LATTICES
from tests.training.indexing.crystals import CORUNDUM, HALITE, SILICON
from tests.training.indexing.data.test_kinematic import ALL, BODY_CENTRED, OLIVINE, QUARTZ
from training.indexing.data.amcsd import Structure
from training.indexing.data.peak_lists import is_of_smaller_cell, observable, peak_lists
from training.indexing.data.powder import reflections
from training.indexing.data.quality import entry_of
from training.indexing.data.space_groups import settings

WAVELENGTH = 1.5406


@pytest.mark.parametrize("structure", ALL, ids=lambda structure: structure.space_group.xhm())
def test_the_first_list_is_what_gemmi_does_not_find_absent(structure: Structure) -> None:
    entry = entry_of(structure)
    assert entry.lattice is not None
    assert entry.atoms is not None
    lists = peak_lists(entry.lattice.bravais, entry.lattice.setting, entry.lattice.cell, entry.atoms)
    last = lists.q2_all[-1]
    hkl = gemmi.make_miller_array(structure.cell, structure.space_group, last**-0.5 * (1 - 1e-9))
    q2 = np.sort([structure.cell.calculate_1_d2(index) for index in hkl.tolist()])
    expected = q2[np.diff(q2, prepend=0.0) > 1e-7 * q2]
    assert len(lists.q2_all) == 60
    np.testing.assert_allclose(lists.q2_all, expected[:60], rtol=1e-6)


@pytest.mark.parametrize("structure", [HALITE, QUARTZ, OLIVINE, BODY_CENTRED], ids=lambda one: one.space_group.xhm())
def test_indices_belong_to_the_cell_and_the_lattice(structure: Structure) -> None:
    entry = entry_of(structure)
    assert entry.lattice is not None
    assert entry.atoms is not None
    cell = gemmi.UnitCell(*entry.lattice.cell)
    lists = peak_lists(entry.lattice.bravais, entry.lattice.setting, entry.lattice.cell, entry.atoms)
    for q2, hkl in ((lists.q2_all, lists.hkl_all), (lists.q2, lists.hkl)):
        np.testing.assert_allclose(q2, [cell.calculate_1_d2(index) for index in hkl.tolist()], rtol=1e-9)
        assert LATTICES[entry.lattice.bravais].allowed(hkl).all()
    shown = np.isin(lists.q2[: np.searchsorted(lists.q2, lists.q2_all[-1])], lists.q2_all)
    assert shown.all()


@pytest.mark.parametrize("structure", ALL, ids=lambda structure: structure.space_group.xhm())
def test_the_second_list_fulfils_the_four_conditions(structure: Structure) -> None:
    entry = entry_of(structure)
    assert entry.lattice is not None
    assert entry.atoms is not None
    lists = peak_lists(entry.lattice.bravais, entry.lattice.setting, entry.lattice.cell, entry.atoms)
    d, strength = reflections(structure, d_min_ang=WAVELENGTH / 2 / np.sin(np.radians(30)))
    order = np.argsort(-d)
    theta = np.arcsin(WAVELENGTH / 2 / d[order])
    lorentz = (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))
    expected = naive_list(np.degrees(2 * theta), strength[order] * lorentz)
    found = np.degrees(2 * np.arcsin(WAVELENGTH / 2 * np.sqrt(lists.q2)))
    np.testing.assert_allclose(found, expected[:60], atol=1e-4)


def naive_list(two_theta: np.ndarray, intensity: np.ndarray) -> np.ndarray:
    """The conditions word by word: a pattern on a grid, its values and differences at each peak, peaks one by one."""

    def pattern(x: np.ndarray) -> np.ndarray:
        sigma, gamma = 0.1 / (2 * np.sqrt(2 * np.log(2))), 0.05
        total = np.zeros(len(x))
        for centre, area in zip(two_theta, intensity, strict=True):
            gauss = np.exp(-0.5 * ((x - centre) / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
            lorentz = gamma / np.pi / ((x - centre) ** 2 + gamma**2)
            total += area * (0.5 * gauss + 0.5 * lorentz)
        return total

    norm = np.sqrt(np.sum(pattern(np.arange(0, 60.001, 0.02)) ** 2))
    step = 1e-3
    height = pattern(two_theta) / norm
    bent = pattern(two_theta + step) - 2 * pattern(two_theta) + pattern(two_theta - step)
    left = [i for i in range(len(two_theta)) if height[i] > 0.001 and bent[i] < 0]
    kept: list[int] = []
    for i in sorted(left, key=lambda i: -intensity[i]):
        if all(abs(two_theta[i] - two_theta[j]) >= 0.1 / 1.5 for j in kept):
            kept.append(i)
    return np.sort(two_theta[kept])


def test_many_lines_are_as_good_as_few() -> None:
    """Only the first rows are looked at where there are many; what is listed must not depend on it."""
    rng = np.random.default_rng(3)
    two_theta, intensity = np.sort(rng.uniform(3, 60, 1500)), rng.gamma(0.5, 1.0, 1500)
    few = observable(two_theta, intensity)
    np.testing.assert_array_equal(few, observable(two_theta, intensity, count=1500)[:60])
    np.testing.assert_allclose(two_theta[few], naive_list(two_theta, intensity)[:60])


def test_nothing_is_seen_of_no_lines() -> None:
    assert len(observable(np.empty(0), np.empty(0))) == 0
    assert len(observable(np.array([20.0]), np.array([0.0]))) == 0


def test_a_pattern_of_a_smaller_cell_is_recognised() -> None:
    """Silicon's lines need its whole cell; one kind of atom on both sites of halite makes a primitive cubic cell."""
    for structure, smaller in ((SILICON, False), (CORUNDUM, False), (HALITE, False), (_one_kind_of_atom(), True)):
        entry = entry_of(structure)
        assert entry.lattice is not None
        assert entry.atoms is not None
        lists = peak_lists(entry.lattice.bravais, entry.lattice.setting, entry.lattice.cell, entry.atoms)
        assert is_of_smaller_cell(entry.lattice.bravais, entry.atoms.operations, lists.hkl) is smaller


def _one_kind_of_atom() -> Structure:
    from tests.training.indexing.crystals import crystal, cubic

    return crystal("F m -3 m", cubic(5.6402), ("Na", (0, 0, 0)), ("Na", (0.5, 0.5, 0.5)))


@pytest.mark.parametrize("bravais", LATTICES)
def test_settings_are_told_apart_by_group_and_absences(bravais: str) -> None:
    symbols = [setting.symbol for setting in settings(bravais)]
    assert len(symbols) == len(set(symbols)) > 0
    for setting in settings(bravais):
        assert gemmi.SpaceGroup(setting.symbol).number == setting.number


def test_all_230_groups_have_a_setting() -> None:
    assert {setting.number for bravais in LATTICES for setting in settings(bravais)} == set(range(1, 231))
