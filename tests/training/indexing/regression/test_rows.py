"""Patterns for the regression models: cells in the solver's setting, lines as a measurement spoils them."""

from __future__ import annotations

import numpy as np
import pytest

from app.crystallography.bragg import two_theta_from_q2
from app.crystallography.lattice import LATTICES
from app.crystallography.metric import x_from_constants
from app.indexing.learned.regression import FRAMES
from training.indexing.regression.rows import (
    CLEAN,
    WAVELENGTH_ANG,
    Disturbance,
    conventional,
    disturbed,
    fit_scaling,
    n_lines_of,
    synthetic_rows,
)

NOTHING = Disturbance((0.0, 0.0), 0.0, 0.0, 0, 0.0, 0)


@pytest.mark.parametrize("bravais", LATTICES)
def test_synthetic_cells_are_conventional_and_explain_their_lines(bravais: str) -> None:
    rows = synthetic_rows(bravais, 12, seed=3)
    a, b, c = rows.constants[:, :3].T
    if bravais in ("oP", "oI", "oF"):
        assert np.all((a <= b) & (b <= c))
    if bravais == "oC":
        assert np.all(a <= b)
    if bravais[0] == "m":
        assert np.all(rows.constants[:, 4] >= 90.0)
    lattice = LATTICES[bravais]
    x = x_from_constants(lattice, rows.constants)
    index = np.stack(np.meshgrid(*[np.arange(-12, 13)] * 3, indexing="ij"), -1).reshape(-1, 3)
    design = lattice.design(index[lattice.allowed(index) & index.any(axis=1)])
    for terms, lines in zip(x, rows.q2, strict=True):
        first = lines[np.isfinite(lines)][:6]
        assert np.all(np.abs((design @ terms)[None] - first[:, None]).min(axis=1) < 1e-6 * first)
    assert 0 < rows.validation.sum() < len(rows)


def test_a_setting_without_a_conventional_cell_is_told() -> None:
    cell = np.array([[5.0, 7.0, 6.0, 90.0, 90.0, 90.0]])
    np.testing.assert_allclose(conventional(cell, "P 2 2 2")[0, :3], [5.0, 6.0, 7.0])
    assert np.isnan(conventional(np.array([[5.0, 5.0, 6.0, 90.0, 90.0, 90.0]]), "C -4 2 b")).all()


def angles(q2: np.ndarray) -> np.ndarray:
    known = two_theta_from_q2(q2_inv_ang2=np.nan_to_num(q2, nan=1.0), wavelength_ang=WAVELENGTH_ANG)
    return np.where(np.isnan(q2), np.nan, known)


Q2 = np.tile(np.concatenate([np.linspace(0.02, 0.6, 30), np.full(10, np.nan)]), (400, 1))


def test_undisturbed_lines_stay() -> None:
    np.testing.assert_allclose(disturbed(Q2, NOTHING, np.random.default_rng(0)), Q2, rtol=1e-9)


def test_noise_shift_and_foreign_lines_are_as_large_as_they_say() -> None:
    rng = np.random.default_rng(0)
    noisy = angles(disturbed(Q2, CLEAN, rng)) - angles(Q2)
    assert np.nanstd(noisy) == pytest.approx(np.sqrt(np.mean(np.linspace(0.01, 0.02, 99) ** 2)), rel=0.05)
    shifted = angles(disturbed(Q2, Disturbance((0.0, 0.0), 0.1, 0.0, 0, 0.0, 0), rng)) - angles(Q2)
    assert np.nanstd(shifted[:, 0]) == pytest.approx(0.1, rel=0.1)
    np.testing.assert_allclose(shifted[:, :30], np.tile(shifted[:, :1], 30), atol=1e-9)
    impure = disturbed(Q2, Disturbance((0.0, 0.0), 0.0, 0.0, 0, 1.0, 4), rng)
    foreign = np.isfinite(impure).sum(axis=1) - 30
    assert set(foreign) == {1, 2, 3, 4}
    assert np.all(np.diff(impure[:, :30], axis=1) > 0)
    poor = disturbed(Q2, Disturbance((0.0, 0.0), 0.0, 0.5, 3, 0.0, 0), rng)
    assert set(30 - np.isfinite(poor).sum(axis=1)) == {0, 1, 2, 3}


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("bravais", ["cF", "hP", "mC", "aP"])
def test_scaled_numbers_are_near_one(bravais: str, frame: str) -> None:
    rows = synthetic_rows(bravais, 200, seed=1)
    scaling = fit_scaling(rows, frame, n_lines_of(bravais))
    inputs, targets = scaling.inputs(rows.q2), scaling.targets(LATTICES[bravais], rows.constants, rows.q2)
    assert np.sqrt(np.mean(inputs**2)) == pytest.approx(1.0, rel=1e-3)
    assert np.sqrt(np.mean(targets**2)) == pytest.approx(1.0, rel=0.05)


def test_principal_directions_do_not_hang_together() -> None:
    rows = synthetic_rows("oP", 300, seed=1)
    scaling = fit_scaling(rows, "relative", 20, rotate=True)
    targets = scaling.targets(LATTICES["oP"], rows.constants, rows.q2)
    np.testing.assert_allclose(np.cov(targets.T), np.eye(3), atol=0.02)
