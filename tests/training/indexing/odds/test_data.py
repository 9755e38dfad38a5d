"""Patterns for learning the odds of the lattices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from app.crystallography.bragg import dq2_d_two_theta, q2_from_two_theta, two_theta_from_q2
from app.indexing.learned.template_features import N_LINES
from app.indexing.problem import BRAVAIS
from training.indexing.odds.data import (
    WAVELENGTH_ANG,
    Disturbance,
    Examples,
    disturbed,
    frequencies,
    joined,
    synthetic,
)

NOTHING = Disturbance(lost=(0.0, 0.0), foreign=(1.0,), sigma_deg=(0.0, 0.0), zero_sigma_deg=0.0, short=0.0)
CLEAN = np.tile(np.linspace(0.02, 0.6, 30), (50, 1))


def _two_theta(q2: np.ndarray) -> np.ndarray:
    return two_theta_from_q2(q2_inv_ang2=q2, wavelength_ang=WAVELENGTH_ANG)


def _rng() -> np.random.Generator:
    return np.random.default_rng(3)


def test_frequencies_are_those_of_a_choice_among_all_lattices() -> None:
    assert frequencies().sum() == pytest.approx(1.0)
    assert frequencies().min() > 0.005
    assert BRAVAIS[int(frequencies().argmax())] == "mP"


def test_lines_to_which_nothing_is_done_stay() -> None:
    q2, slope = disturbed(CLEAN, NOTHING, _rng())
    assert q2 == pytest.approx(CLEAN[:, :N_LINES])
    assert slope == pytest.approx(dq2_d_two_theta(q2_inv_ang2=CLEAN[:, :N_LINES], wavelength_ang=WAVELENGTH_ANG))


def test_a_zero_shift_moves_all_lines_by_one_angle_either_way() -> None:
    moved = _two_theta(disturbed(CLEAN, replace(NOTHING, zero_deg=0.1), _rng())[0]) - _two_theta(CLEAN[:, :N_LINES])
    assert np.abs(moved) == pytest.approx(0.1, abs=1e-6)
    assert np.ptp(moved, axis=1) == pytest.approx(0.0, abs=1e-6)
    assert {-1.0, 1.0} == set(np.sign(moved[:, 0]))


def test_foreign_lines_stand_among_the_others() -> None:
    q2, _ = disturbed(CLEAN, replace(NOTHING, foreign=(0.0, 0.0, 1.0)), _rng())
    own = np.isclose(q2[:, :, None], CLEAN[0]).any(axis=2)
    assert np.all((~own).sum(axis=1) <= 2)
    assert np.mean((~own).sum(axis=1)) > 1.7
    assert np.all(np.diff(q2, axis=1) > 0)


def test_lines_are_lost_and_patterns_end_early_but_not_too_early() -> None:
    q2, _ = disturbed(CLEAN, replace(NOTHING, lost=(0.5, 0.5), short=1.0), _rng())
    count = np.isfinite(q2).sum(axis=1)
    assert count.min() >= 8
    assert count.max() < N_LINES


def test_lines_beyond_180_degrees_are_not_seen() -> None:
    beyond = np.concatenate(
        [CLEAN[:1, :15], q2_from_two_theta(two_theta_deg=np.array([[170.0]]), wavelength_ang=0.7)], 1
    )
    assert np.isfinite(disturbed(beyond, NOTHING, _rng())[0]).sum() == 15


@pytest.mark.slow
def test_random_lattices_weigh_as_their_lattices_occur() -> None:
    drawn = synthetic(3, seed=1)
    assert len(drawn) == 3 * len(BRAVAIS)
    assert np.bincount(drawn.lattice, weights=drawn.weight) == pytest.approx(frequencies())
    assert np.all(np.diff(drawn.q2, axis=1)[np.isfinite(drawn.q2[:, 1:])] > 0)
    assert not drawn.real.any()
    assert np.array_equal(drawn.q2, synthetic(3, seed=1).q2, equal_nan=True)
    both = joined([drawn, drawn])
    assert isinstance(both, Examples)
    assert len(both) == 2 * len(drawn)
