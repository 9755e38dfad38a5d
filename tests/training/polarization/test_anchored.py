"""Facts of the anchored model's training: the simulation is what it says, evidence weighs, sigma covers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from app.polarization import decay
from app.polarization.anchored import FEATURES, AnchoredParameters, LifetimePrior, linear_estimate
from training.polarization.anchored import (
    AnchoredArgs,
    AnchoredMethod,
    DecayRanges,
    Pulls,
    calibration_shift,
    heads_of,
    network_gain,
    simulate_decays,
    train_network,
    training_arrays,
)
from training.polarization.baselines import BASELINES
from training.polarization.scores import outcome, score
from training.polarization.simulate import SimulationArgs, simulate

PARAMETERS = AnchoredParameters(
    optics=decay.Optics(0.93),
    excess_sigma=1e-3,
    network_gain=1.0,
    log_sigma_shift=0.0,
    log_path_ang_cm=2.4,
    path_spread=0.1,
    cells={},
    unknown_cell=LifetimePrior(4.4, 0.2),
)
SMALL = AnchoredArgs(decays=4_000, epochs=2, batch_size=500)


def _pulls(residual: np.ndarray, correction: np.ndarray, sigma: float = 1.0, scatter: float = 1e-9) -> Pulls:
    ones = np.ones_like(residual)
    return Pulls(residual, correction, sigma * ones, ones, scatter * ones)


def test_the_same_seed_simulates_the_same_decays() -> None:
    first, second = (simulate_decays(PARAMETERS, SMALL, np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(first.polarization, second.polarization)
    np.testing.assert_array_equal(first.anchors.log_opacity, second.anchors.log_opacity)


def test_precise_decays_leave_nothing_over_of_the_physics() -> None:
    exact = DecayRanges(sigma=(1e-7, 2e-7), amplitude_jitter=0.0, duration_h=(5.0, 60.0))
    parameters = dataclasses.replace(PARAMETERS, excess_sigma=1e-7)
    decays = simulate_decays(parameters, SMALL, np.random.default_rng(2), exact)
    _, targets = training_arrays(decays, parameters)
    residual = targets[..., 0] * linear_estimate(decays.anchors, parameters).scale[:, None]
    assert np.quantile(np.abs(residual), 0.99) < 2e-6


def test_the_linear_estimate_brings_noisy_decays_nearer() -> None:
    noisy = DecayRanges(sigma=(0.02, 0.05), spread=(0.05, 0.2), opacity_spread=(0.05, 0.2), amplitude_jitter=0.0)
    decays = simulate_decays(PARAMETERS, SMALL, np.random.default_rng(3), noisy)
    linear = linear_estimate(decays.anchors, PARAMETERS)
    phi = linear.initial_opacity[:, None] * (linear.final_opacity / linear.initial_opacity)[:, None] ** decays.u
    physics = decays.polarization - decay.neutron_polarization(phi, PARAMETERS.optics)
    _, targets = training_arrays(decays, PARAMETERS)
    bent = targets[..., 0] * linear.scale[:, None]
    assert np.mean(bent**2) < 0.9 * np.mean(physics**2)


def test_a_network_counts_as_much_as_the_residuals_bear_it_out() -> None:
    rng = np.random.default_rng(4)
    correction = rng.standard_normal(20_000)
    noise = rng.standard_normal(20_000)
    assert network_gain(_pulls(correction, correction)) == pytest.approx(1.0)
    assert network_gain(_pulls(0.5 * correction + 0.1 * noise, correction)) == pytest.approx(0.5, abs=0.01)
    assert network_gain(_pulls(noise, correction)) == pytest.approx(0.0, abs=0.03)
    assert network_gain(_pulls(-correction, correction)) == 0.0
    assert network_gain(_pulls(noise, np.zeros_like(noise))) == 0.0


@pytest.mark.parametrize("stated", [0.5, 1.0, 2.0])
def test_the_calibration_undoes_a_wrong_sigma(stated: float) -> None:
    noise = np.random.default_rng(5).standard_normal(50_000)
    pulls = _pulls(noise, np.zeros_like(noise), sigma=stated)
    shift = calibration_shift(pulls, 0.0)
    assert shift == pytest.approx(-np.log(stated), abs=0.04)
    assert pulls.coverage(0.0, shift, 1.0) == pytest.approx(0.683, abs=0.02)


def test_the_same_seed_trains_the_same_network() -> None:
    features = np.random.default_rng(7).standard_normal((5, len(FEATURES)))
    first, second = (heads_of(train_network(PARAMETERS, SMALL))(features) for _ in range(2))
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_the_method_beats_physics_on_noisy_calibrations() -> None:
    rng = np.random.default_rng(6)
    experiments = simulate("crystalline", 60, rng, SimulationArgs(counts=1_500, t1_spread=0.1))
    known, asked = experiments[:40], experiments[40:]
    method = AnchoredMethod(dataclasses.replace(SMALL, decays=20_000, epochs=4))
    physics = next(b for b in BASELINES if b.name == "physics")
    scores = {}
    for candidate in (method, physics):
        predictor = candidate.fit(known, 0)
        scores[candidate.name] = score([outcome(e, predictor(e.query())) for e in asked])
    assert scores["anchored-decay"].rmse < scores["physics"].rmse
    assert scores["anchored-decay"].over_floor < 1.0
    assert 0.55 < scores["anchored-decay"].coverage_1 < 0.85
