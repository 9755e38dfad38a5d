"""Facts of the bound: its moments are the simulator's, its limits are known, and estimates come close to it."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from app.errors import InvalidInput
from training.waveform.bound import (
    DRIFT,
    PARAMETERS,
    D,
    Grid,
    Information,
    Moments,
    Pulse,
    bound_by_separation,
    bound_of_events,
    bound_us,
    electron_information,
    fisher,
    grid_for,
    information_from_moments,
    moments,
    prior_information,
    sigma_d_us,
)
from training.waveform.settings import SIMULATIONS, Electronics, Simulation
from training.waveform.simulate import Events, Transport, Truth, measure, simulate, take

REFERENCE = SIMULATIONS["reference"]
REALISTIC = SIMULATIONS["realistic"]
CENTRE_SAMPLE = 2500
EVERY_INFORMATION = pytest.mark.parametrize("information", get_args(Information))


def _events(settings: Simulation, pulse: Pulse, n: int) -> Events:
    """The same pulse again and again, its middle at the window's."""
    detector = settings.detector
    names = Transport.__dataclass_fields__
    truth = Truth(
        scatters=np.full(n, 2),
        d_us=np.full(n, pulse.d_us),
        drift_time_us=np.full(n, pulse.drift_time_us),
        electrons=np.full(n, int(pulse.electrons)),
        split=np.full(n, pulse.split),
        centre_us=np.full(n, CENTRE_SAMPLE * 0.01),
        transport=Transport(**{name: np.full(n, getattr(detector, name)) for name in names}),
    )
    quiet = replace(settings.electronics, baseline_phd=0.0, drift_phd=0.0, full_scale_phd=float("inf"))
    return measure(truth, settings.emission, quiet, np.random.default_rng(11))


def _binned(events: Events, grid: Grid) -> np.ndarray:
    start = CENTRE_SAMPLE + round(grid.start_us / 0.01)
    part = events.samples[:, start : start + grid.bins * grid.bin_samples].astype(np.float64)
    return part.reshape(len(events), grid.bins, grid.bin_samples).sum(axis=2)


def _stepped(pulse: Pulse, step: np.ndarray) -> Pulse:
    """The pulse with its parameters moved; the middle is the grid's matter."""
    return Pulse(
        pulse.d_us + step[0], pulse.drift_time_us + step[4], pulse.electrons * np.exp(step[3]), pulse.split + step[2]
    )


@pytest.mark.parametrize("settings", [REFERENCE, REALISTIC], ids=["reference", "realistic"])
def test_moments_are_the_simulators(settings: Simulation) -> None:
    pulse, n = Pulse(2.0, 300.0, 500, 0.4), 600
    grid = grid_for(settings, pulse)
    binned, m = _binned(_events(settings, pulse, n), grid), moments(settings, pulse, grid)
    assert np.sum(m.mean) == pytest.approx(500 * settings.detector.phd_per_electron, rel=1e-3)
    # Whitened by the computed covariance the pulses are of mean zero and unit variance, neighbours uncorrelated.
    white = np.linalg.solve(np.linalg.cholesky(m.covariance), (binned - m.mean).T)
    assert np.abs(white.mean(axis=1)).max() < 5.0 / np.sqrt(n)
    assert np.mean(white**2) == pytest.approx(1.0, abs=0.03)
    assert np.mean(white[1:] * white[:-1]) == pytest.approx(0.0, abs=0.03)
    smooth = binned @ np.ones(grid.bins)
    assert smooth.var() == pytest.approx(m.covariance.sum(), rel=5.0 * np.sqrt(2.0 / n))


@pytest.mark.parametrize("settings", [REFERENCE, REALISTIC], ids=["reference", "realistic"])
def test_derivatives_are_those_of_the_moments(settings: Simulation) -> None:
    pulse = Pulse(1.5, 400.0, 800.0, 0.35)
    grid = grid_for(settings, pulse)
    m = moments(settings, pulse, grid, both=True)
    assert m.dcovariance is not None
    for name, size in (("d_us", 1e-4), ("split", 1e-5), ("ln_electrons", 1e-5), ("drift_time_us", 1e-2)):
        index = PARAMETERS.index(name)
        step = np.where(np.arange(5) == index, size, 0.0)
        up, down = (moments(settings, _stepped(pulse, sign * step), grid) for sign in (1.0, -1.0))
        for found, numeric in (
            (m.dmean[index], (up.mean - down.mean) / 2.0 / size),
            (m.dcovariance[index], (up.covariance - down.covariance) / 2.0 / size),
        ):
            assert np.allclose(found, numeric, atol=1e-4 * np.abs(numeric).max()), name


def test_moving_the_pulse_by_a_bin_shifts_its_moments() -> None:
    """The derivative with respect to the middle, which no other parameter can stand in for."""
    pulse = Pulse(1.5, 400.0, 800.0, 0.35)
    grid = grid_for(REFERENCE, pulse)
    width = grid.bin_samples * 0.01
    m = moments(REFERENCE, pulse, grid)
    shifted = moments(REFERENCE, pulse, grid._replace(start_us=grid.start_us - width))
    assert np.allclose(shifted.mean[1:], m.mean[:-1], atol=1e-3)  # the grid ends at five sigma
    ahead = moments(REFERENCE, pulse, grid._replace(start_us=grid.start_us - 1e-4))
    behind = moments(REFERENCE, pulse, grid._replace(start_us=grid.start_us + 1e-4))
    numeric = (ahead.mean - behind.mean) / 2e-4
    assert np.allclose(m.dmean[1], numeric, atol=1e-4 * np.abs(numeric).max())


def _scores(m: Moments, binned: np.ndarray) -> np.ndarray:
    return (binned - m.mean) @ np.linalg.solve(m.covariance, m.dmean.T)


def test_linear_information_is_the_covariance_of_the_score_on_simulated_pulses() -> None:
    pulse, n = Pulse(2.0, 300.0, 500, 0.4), 1500
    grid = grid_for(REFERENCE, pulse)
    m = moments(REFERENCE, pulse, grid)
    scores = _scores(m, _binned(_events(REFERENCE, pulse, n), grid))
    whitener = np.linalg.inv(np.linalg.cholesky(information_from_moments(m)))
    # The ln(electrons) direction is nearly noiseless, hence its Fisher entry is large; whitening puts all on one scale.
    found = whitener @ np.cov(scores.T) @ whitener.T
    assert np.allclose(found, np.eye(5), atol=6.0 * np.sqrt(1.0 / n))


def test_estimates_on_simulated_pulses_come_close_to_the_bound() -> None:
    """Scoring for d, middle, split and electrons, started beside the truth, on pulses of two clear scatters."""
    truth, n = Pulse(4.0, 400.0, 1000, 0.4), 150
    grid = grid_for(REFERENCE, truth)
    kept = [i for i in range(5) if i != DRIFT]
    found = np.zeros(n)
    for event, binned in enumerate(_binned(_events(REFERENCE, truth, n), grid)):
        theta = np.array([3.8, 0.05, 0.45, np.log(1030.0)])
        for _ in range(4):
            pulse = Pulse(theta[0], 400.0, np.exp(theta[3]), theta[2])
            m = moments(REFERENCE, pulse, grid._replace(start_us=grid.start_us - theta[1]))
            score = _scores(m, binned)[kept]
            theta = theta + np.linalg.solve(information_from_moments(m)[np.ix_(kept, kept)], score)
        found[event] = theta[0]
    least = bound_us(REFERENCE, 4.0, 400.0, 1000, 0.4, drift_known=True, prior=False)[0]
    assert found.mean() == pytest.approx(4.0, abs=5.0 * least / np.sqrt(n))
    assert 1.0 - 4.0 / np.sqrt(2 * n) < found.std() / least < 1.1 + 4.0 / np.sqrt(2 * n)


@pytest.mark.parametrize("drift_known", [True, False])
def test_information_of_the_pulse_is_less_than_that_of_its_electrons(*, drift_known: bool) -> None:
    d_us = np.array([0.1, 0.5, 1.0, 2.0, 4.0, 8.0])
    for drift_time_us in (20.0, 400.0, 950.0):
        linear, electrons = (
            bound_us(REFERENCE, d_us, drift_time_us, 600, 0.4, drift_known=drift_known, information=information)
            for information in ("linear", "electrons")
        )
        assert np.all(electrons <= linear * (1.0 + 1e-6))
        assert np.all(linear < 1.2 * electrons)


def test_two_clear_scatters_are_as_well_known_as_their_mean_arrival_times() -> None:
    """No overlap: the variance of d is that of two means."""
    sigma = REFERENCE.detector.diffusion_us(np.array([30.0, 38.0]))
    expected = np.sqrt(sigma[0] ** 2 / 400 + sigma[1] ** 2 / 600)
    found = bound_us(REFERENCE, 8.0, 30.0, 1000, 0.4, drift_known=False)
    assert found[0] == pytest.approx(expected, rel=0.01)


def test_electrons_count_by_their_root() -> None:
    few, many = bound_us(REFERENCE, 3.0, 400.0, np.array([500.0, 2000.0]), 0.4, drift_known=True, prior=False)
    assert few / many == pytest.approx(2.0, rel=1e-6)


@EVERY_INFORMATION
def test_bound_diverges_at_zero_and_the_prior_ends_that(information: Information) -> None:
    alone = bound_us(
        REFERENCE, np.array([0.5, 0.1, 0.02]), 400.0, 1000, 0.5, drift_known=False, information=information
    )
    assert np.all(np.diff(alone) > 0.0)
    joined = bound_us(REFERENCE, 0.0, 400.0, 1000, 0.5, drift_known=False, information=information, joined=True)
    assert joined[0] == pytest.approx(8.0 / np.sqrt(12.0), rel=0.05)


@EVERY_INFORMATION
def test_knowing_the_drift_time_never_hurts(information: Information) -> None:
    d_us = np.linspace(0.3, 8.0, 6)
    known, unknown = (
        bound_us(REFERENCE, d_us, 500.0, 900, 0.6, drift_known=known, information=information)
        for known in (True, False)
    )
    assert np.all(known <= unknown * (1.0 + 1e-9))


def test_information_is_symmetric_and_of_no_negative_direction() -> None:
    matrix = fisher(REFERENCE, 2.0, 300.0, 700, 0.4, information="gaussian")[0]
    assert np.allclose(matrix, matrix.T)
    scale = np.sqrt(np.diag(matrix))
    assert np.linalg.eigvalsh(matrix / scale / scale[:, None]).min() > 0.0
    assert np.allclose(electron_information(REFERENCE, Pulse(2.0, 300.0, 700, 0.4))[3, 3], 700.0, rtol=1e-4)


def test_prior_is_that_of_the_population() -> None:
    found = np.diag(prior_information(REFERENCE, joined=True))
    assert found[D] == pytest.approx(12.0 / 64.0)
    assert found[PARAMETERS.index("split")] == pytest.approx(12.0 / 0.16)
    assert found[1] == 0.0


def test_nothing_known_is_infinite() -> None:
    assert sigma_d_us(np.diag([0.0, 1.0, 1.0, 1.0, 1.0])[None], drift_known=False)[0] == np.inf


def test_no_noise_is_refused() -> None:
    with pytest.raises(InvalidInput, match="noise"):
        bound_us(Simulation(electronics=Electronics(noise_phd=0.0)), 1.0, 100.0, 500, 0.5, drift_known=True)


def test_bound_of_a_set_falls_with_the_separation_and_starts_at_the_prior() -> None:
    events = simulate(REFERENCE, 300, np.random.default_rng(2))
    edges_us = np.array([0.0, 0.8, 2.0, 4.0, 8.01])
    for drift_known in (True, False):
        binned = bound_by_separation(REFERENCE, events, edges_us, drift_known=drift_known)
        assert np.all(np.diff(binned) < 0.0)
        assert binned[0] < 8.0 / np.sqrt(12.0)
    some = take(events, slice(0, 5))
    each = bound_of_events(REFERENCE, some, drift_known=True)
    assert each.shape == (5,)
    assert np.isnan(bound_by_separation(REFERENCE, some, np.array([8.5, 9.0]), drift_known=True)[0])
