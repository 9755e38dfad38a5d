"""Patterns, labels and errors of the cells that index networks learn from."""

from __future__ import annotations

import numpy as np
import pytest

from app.crystallography import metric
from app.crystallography.lattice import LATTICES
from app.indexing.learned.indices import least_symmetric
from training.indexing.indices.rows import (
    IndexRows,
    Scaling,
    labels,
    noisy,
    perturbed,
    random_rows,
    scaling_of,
    system_references,
    with_foreign,
)

SYSTEMS = tuple(dict.fromkeys(lattice.system for lattice in LATTICES.values()))
SCALING = Scaling(5.0, 10.0, 0.05)


def rows_of(system: str, count: int = 30) -> IndexRows:
    return random_rows(system, count, np.random.default_rng(3))


@pytest.mark.parametrize("system", SYSTEMS)
def test_labels_are_the_reflections_that_the_true_cell_puts_on_the_lines(system: str) -> None:
    rows = rows_of(system)
    hkl = system_references(system, rows)
    found = labels(rows, system, hkl)
    lattice = least_symmetric(system)
    x = metric.x_from_constants(lattice, rows.constants)
    for cell, q2, index in zip(x, rows.q2, found, strict=True):
        known = (q2 > 0) & (index < len(hkl))
        np.testing.assert_allclose(lattice.design(hkl[index[known]]) @ cell, q2[known], rtol=1e-5)
    assert (found < len(hkl))[rows.real].mean() > 0.9


def test_cells_are_in_the_solvers_setting() -> None:
    ortho, mono = rows_of("orthorhombic").constants, rows_of("monoclinic").constants
    assert np.all(ortho[:, 0] <= ortho[:, 1] + 1e-9)
    assert np.all(mono[:, 4] >= 90)
    assert np.all(mono[:, [3, 5]] == 90)


@pytest.mark.parametrize("system", SYSTEMS)
def test_references_are_sorted_by_their_mean_over_the_cells(system: str) -> None:
    rows, lattice = rows_of(system), least_symmetric(system)
    hkl = system_references(system, rows)
    mean = (metric.x_from_constants(lattice, rows.constants) @ lattice.design(hkl).T).mean(axis=0)
    assert len(hkl) == (100 if system == "cubic" else 500)
    assert np.all(np.diff(mean) >= -1e-12)


def test_foreign_lines_have_no_reflection() -> None:
    rows = rows_of("orthorhombic", 60)
    spoilt = with_foreign(rows, 2.0, np.random.default_rng(0))
    assert spoilt.q2.shape == rows.q2.shape
    assert np.all(np.diff(spoilt.q2, axis=1)[spoilt.real[:, 1:]] > 0)
    hkl = system_references("orthorhombic", rows)
    none, before = (labels(r, "orthorhombic", hkl) == len(hkl) for r in (spoilt, rows))
    added = none[spoilt.real].sum() - before[rows.real].sum()
    assert 1.2 < added / len(rows) < 2.4


@pytest.mark.parametrize("system", SYSTEMS)
def test_errors_have_the_size_that_is_asked_for_and_keep_the_symmetry(system: str) -> None:
    lattice = least_symmetric(system)
    base = np.array([12.0, 12.0, 12.0, 90.0, 90.0, 90.0])
    base = np.where(np.isnan(lattice.fixed_constants), base, lattice.fixed_constants)
    x = perturbed(np.tile(base, (3000, 1)), system, 0.1, SCALING, np.random.default_rng(0))
    error = metric.constants_from_x(lattice, x) - base
    np.testing.assert_allclose(error[:, 0].std(), 0.5, rtol=0.06)
    free_angles = [i for i in range(3, 6) if np.isnan(lattice.fixed_constants[i])]
    for i in free_angles:
        np.testing.assert_allclose(error[:, i].std(), 1.0, rtol=0.06)
    assert np.all(metric.valid(lattice, x))


def test_errors_that_would_break_a_cell_are_made_smaller() -> None:
    thin = np.tile([2.0, 30.0, 31.0, 60.0, 62.0, 64.0], (500, 1))
    x = perturbed(thin, "triclinic", 3.0, SCALING, np.random.default_rng(0))
    lengths = metric.constants_from_x(LATTICES["aP"], x)[:, :3]
    assert np.all(lengths > 0.499 * thin[:, :3])


def test_scaling_measures_the_free_constants() -> None:
    rows = IndexRows(np.array([[4.0, 6, 8, 90, 100, 90], [6.0, 8, 10, 90, 110, 90]]), np.array([[0.1, 0.3], [0.2, 0]]))
    found = scaling_of(rows, "monoclinic")
    assert found.length_ang == pytest.approx(np.std([4, 6, 8, 6, 8, 10]))
    assert found.angle_deg == pytest.approx(np.sqrt((100 + 400) / 2))
    assert found.q2_inv_ang2 == pytest.approx(np.std([0.1, 0.3, 0.2]))


def test_lines_move_by_degrees_and_padding_stays() -> None:
    q2 = np.tile([0.1, 0.2, 0.0], (4000, 1))
    found = noisy(q2, 0.02, np.random.default_rng(0))
    assert np.all(found[:, 2] == 0)
    two_theta = 2 * np.degrees(np.arcsin(np.sqrt(found[:, :2]) * 1.5406 / 2))
    np.testing.assert_allclose(two_theta.std(axis=0), 0.02, rtol=0.05)
