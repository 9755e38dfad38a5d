"""Facts of the fits: what a simulation was made with comes back."""

from __future__ import annotations

import numpy as np
import pytest

from app.polarization.anchored import foretold, laboratory_calibration
from app.polarization.experiment import Material
from training.polarization.lifetimes import (
    FittedDecay,
    fit_decay,
    fit_excess_sigma,
    fit_parameters,
    lifetime_priors,
    student_beneath_errors,
)
from training.polarization.simulate import SETUPS, SimulationArgs, simulate, simulate_with_truth

MATERIALS = pytest.mark.parametrize("material", ["crystalline", "amorphous"])


def _rng(seed: int = 5) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_centre_and_scale_of_student_come_back_from_beneath_errors() -> None:
    rng = _rng()
    sigma = rng.uniform(0.01, 0.2, 600)
    x = 4.4 + 0.1 * rng.standard_t(3, 600) + sigma * rng.standard_normal(600)
    centre, scale = student_beneath_errors(x, sigma)
    assert centre == pytest.approx(4.4, abs=0.02)
    assert scale == pytest.approx(0.1, rel=0.25)


def test_a_wild_filling_moves_the_centre_little() -> None:
    x = np.array([4.40, 4.42, 4.38, 4.41, 4.39, 3.0])
    centre, scale = student_beneath_errors(x, np.full(6, 0.02))
    assert centre == pytest.approx(4.40, abs=0.02)
    assert scale < 0.1


def test_the_lifetime_of_a_filling_comes_back_within_its_error() -> None:
    made = simulate_with_truth("crystalline", 60, _rng())
    optics = SETUPS["crystalline"].optics
    pulls = []
    for s in made:
        fitted = fit_decay(s.experiment, optics, 1e-6)
        pulls.append((fitted.log_t1_h - np.log(s.t1_s / 3600)) / fitted.sigma)
    assert abs(np.mean(pulls)) < 0.4
    assert 0.75 < np.std(pulls) < 1.25


@pytest.mark.parametrize("excess", [0.0, 4e-3])
def test_the_excess_scatter_comes_back(excess: float) -> None:
    experiments = simulate("crystalline", 60, _rng(), SimulationArgs(excess_sigma=excess))
    found = fit_excess_sigma(experiments, SETUPS["crystalline"].optics)
    assert found == pytest.approx(excess, abs=1e-3)


@MATERIALS
def test_the_laboratory_values_promise_the_first_polarization(material: Material) -> None:
    experiments = simulate(material, 40, _rng())
    parameters = fit_parameters(experiments)
    misses = []
    for e in experiments:
        filled = laboratory_calibration(e.polarizer, e.lab_time_s, parameters)
        promised = foretold(filled, parameters.lifetime(e.polarizer.cell_id), parameters.optics, e.time_s[:1])
        misses.append(float(promised.mean[0] - e.polarization[0]))
    assert np.median(np.abs(misses)) < 0.02


def test_a_cell_often_seen_has_its_own_lifetime_and_one_seen_once_mostly_that_of_the_others() -> None:
    rng = _rng()
    often = [FittedDecay("long", 0.0, 5.0 + 0.03 * float(rng.standard_normal()), 0.02) for _ in range(20)]
    others = [FittedDecay("short", 0.0, 4.0 + 0.03 * float(rng.standard_normal()), 0.02) for _ in range(20)]
    cells, unknown = lifetime_priors([*often, *others, FittedDecay("once", 0.0, 5.5, 1.0)])
    assert cells["long"].log_t1_h == pytest.approx(5.0, abs=0.05)
    assert cells["short"].log_t1_h == pytest.approx(4.0, abs=0.05)
    assert cells["long"].spread < 0.1 < unknown.spread
    assert cells["once"].spread > cells["long"].spread
