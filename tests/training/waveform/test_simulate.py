"""Facts of simulated S2s: photons are conserved, shapes are those of diffusion and gas, seeds repeat."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtr

from app.errors import InvalidInput
from app.waveform.detector import DETECTORS
from training.waveform.light import crossing, delay_kernel, gaussian_kernel
from training.waveform.mixed import WIDEST_US, random_detector, random_simulation, simulate_mixed
from training.waveform.settings import SAMPLE_US, SAMPLES, SIMULATIONS, Electronics, Emission, Population, Simulation
from training.waveform.simulate import Events, batches, concatenate, simulate, take

SILENT = Electronics(noise_phd=0.0)
REFERENCE = Simulation(electronics=SILENT)
TIME_US = (np.arange(SAMPLES) + 0.5) * SAMPLE_US


def _rng(seed: int = 5) -> np.random.Generator:
    return np.random.default_rng(seed)


def _fixed(electrons: int, split: float, d_us: float | None = None, **other: object) -> Simulation:
    """One number of electrons, one split, one drift time, the pulse in the window's middle."""
    population = Population(electrons, electrons, split, split, 8.0 if d_us is None else d_us, jitter_us=0.0)
    detector = replace(DETECTORS["reference"], drift_min_us=400.0, drift_max_us=400.0)
    return replace(Simulation(detector, Emission(), SILENT, population), **other)


def _areas(events: Events) -> np.ndarray:
    return events.samples.sum(axis=1, dtype=np.float64)


def _moments(events: Events) -> tuple[np.ndarray, np.ndarray]:
    weight = events.samples / _areas(events)[:, None]
    mean = weight @ TIME_US
    return mean, weight @ TIME_US**2 - mean**2


def test_reference_is_what_it_is_compared_on() -> None:
    reference = SIMULATIONS["reference"]
    assert reference == Simulation()
    assert (reference.population.electrons_min, reference.population.electrons_max) == (300, 3000)
    events = simulate(reference, 500, _rng())
    assert events.samples.shape == (500, 5000)
    assert events.samples.dtype == np.float32
    units = events.d_us / 8.0 * 800
    assert np.allclose(units, np.rint(units))
    assert units.min() >= 0
    assert units.max() <= 800
    assert np.all((events.split >= 0.3) & (events.split <= 0.7))


def test_area_is_whole_photons_and_their_mean_is_the_light_of_the_electrons() -> None:
    events = simulate(REFERENCE, 600, _rng())
    areas = _areas(events)
    assert np.array_equal(areas, np.rint(areas))
    expected = events.electrons * 40.0
    pulls = (areas - expected) / np.sqrt(expected)
    assert abs(pulls.mean()) < 4.0 / np.sqrt(600)
    assert pulls.var() == pytest.approx(1.0, abs=5.0 * np.sqrt(2.0 / 600))


@pytest.mark.parametrize(
    ("emission", "per_photon"),
    [
        (Emission(), 1.0),
        (Emission(charge_spread=0.5), 1.25),
        (Emission(double_share=0.2), 1.0 + 0.2 * 0.8 / 1.2**2),
        (Emission(gain_spread=0.3), 1.0 + 40.0 * 0.09),
        (Emission(charge_spread=0.5, double_share=0.2), 1.0 + 0.2 * 0.8 / 1.2**2 + 0.25 / 1.2),
    ],
)
def test_variance_of_the_area_is_that_of_its_parts(emission: Emission, per_photon: float) -> None:
    n = 800
    areas = _areas(simulate(_fixed(300, 0.5, emission=emission), n, _rng()))
    assert areas.mean() == pytest.approx(12000.0, abs=5.0 * np.sqrt(12000.0 * per_photon / n))
    assert areas.var() == pytest.approx(12000.0 * per_photon, rel=5.0 * np.sqrt(2.0 / n))


def test_mean_pulse_is_two_gaussians_seen_through_the_gap() -> None:
    settings = _fixed(1000, 0.3)
    events = simulate(settings, 150, _rng())
    gap, drift = settings.detector.gas_gap_us, events.drift_time_us
    edges = np.arange(SAMPLES + 1) * SAMPLE_US
    fine = (np.arange(12) + 0.5) / 12 * gap
    expected = np.zeros((150, SAMPLES))
    for share, sign, extra in ((0.3, -0.5, 0.0), (0.7, 0.5, events.d_us)):
        sigma = settings.detector.diffusion_us(drift + extra)
        mean = events.centre_us + sign * events.d_us
        for late in fine:
            cumulative = ndtr((edges[None, :] - mean[:, None] - late) / sigma[:, None])
            expected += share * 40_000.0 / 12 * np.diff(cumulative, axis=1)
    rebinned = (events.samples - expected).reshape(150, 250, 20).sum(axis=(0, 2))
    # In 0.2 us an electron leaves at most 40 * 0.2/1.1 photons, so its variance is at most that many times the mean.
    spread = np.sqrt(expected.reshape(150, 250, 20).sum(axis=(0, 2)) * (1.0 + 40.0 * 0.2 / gap) + 1.0)
    assert np.all(np.abs(rebinned) < 5.0 * spread)


def test_second_moment_adds_diffusion_separation_and_gap() -> None:
    settings = _fixed(2000, 0.4)
    events = simulate(settings, 800, _rng())
    mean, variance = _moments(events)
    first, second = (settings.detector.diffusion_us(events.drift_time_us + extra) ** 2 for extra in (0.0, events.d_us))
    expected = 0.4 * first + 0.6 * second + 0.4 * 0.6 * events.d_us**2 + 1.1**2 / 12.0
    assert np.mean(variance / expected) == pytest.approx(1.0, abs=0.006)
    centroid = events.centre_us + (0.6 - 0.4) / 2.0 * events.d_us + 1.1 / 2.0
    assert np.mean(mean - centroid) == pytest.approx(0.0, abs=0.01)


def test_few_electrons_make_rough_pulses() -> None:
    """The centroid of a pulse scatters as its electrons do, not as its many more photons."""
    settings = _fixed(50, 0.5, d_us=0.0)
    mean, _ = _moments(simulate(settings, 1500, _rng()))
    sigma = float(settings.detector.diffusion_us(400.0))
    electrons = sigma**2 / 50 * (1.0 + 1.0 / 40.0)
    assert mean.var() == pytest.approx(electrons + 1.1**2 / 12.0 / 2000.0, rel=5.0 * np.sqrt(2.0 / 1500))


@pytest.mark.parametrize("gap", [1.0, 3.0, 7.3, 110.0, 110.9])
def test_crossing_is_the_overlap_of_an_electron_anywhere_in_its_sample_with_each_sample(gap: float) -> None:
    pad = int(gap) + 2
    electrons = np.zeros(pad + 2 * pad)
    electrons[pad] = 1.0
    event = np.zeros(2 * pad, dtype=np.int32)
    found = crossing(electrons, pad, event, np.array([gap]))
    start = (np.arange(4000) + 0.5) / 4000
    edges = np.arange(2 * pad + 1)
    emitted = np.mean(np.clip((edges[:, None] - start) / gap, 0.0, 1.0), axis=1)
    assert np.allclose(found, np.diff(emitted), atol=1e-6)
    assert found.sum() == pytest.approx(1.0)


def test_kernels_have_the_moments_of_their_laws() -> None:
    taps = np.arange(len(gaussian_kernel(0.02)))
    kernel = gaussian_kernel(0.02)
    assert kernel.sum() == pytest.approx(1.0)
    assert kernel @ (taps - len(taps) // 2) == pytest.approx(0.0, abs=1e-12)
    assert kernel @ (taps - len(taps) // 2) ** 2 == pytest.approx(4.0 + 1.0 / 12.0, rel=1e-3)
    late = delay_kernel(Emission(triplet_us=0.1, singlet_us=0.00588, singlet_share=0.35))
    assert late @ np.arange(len(late)) == pytest.approx(0.35 * 0.588 + 0.65 * 10.0, rel=5e-3)
    assert np.array_equal(delay_kernel(Emission()), [1.0])


def test_one_scatter_is_narrower_and_says_so() -> None:
    events = simulate(REFERENCE, 400, _rng(), two_share=0.5)
    one = events.scatters == 1
    assert 140 < one.sum() < 260
    assert np.all(events.d_us[one] == 0.0)
    assert np.all(events.split[one] == 1.0)
    assert np.array_equal(events.first_electrons[one], events.electrons[one])
    _, variance = _moments(take(events, one))
    drift = events.drift_time_us[one]
    expected = DETECTORS["reference"].diffusion_us(drift) ** 2 + 1.1**2 / 12.0
    assert np.median(variance / expected) == pytest.approx(1.0, abs=0.02)


def test_same_seed_same_set_whatever_the_batch() -> None:
    def run(batch: int, seed: int) -> list[Events]:
        return list(batches(SIMULATIONS["realistic"], 600, seed, batch=batch, two_share=0.5))

    large, small, other = run(600, 3), run(70, 3), run(600, 4)
    assert [len(part) for part in small] == [70] * 8 + [40]
    assert np.array_equal(concatenate(small).samples, large[0].samples)
    assert np.array_equal(concatenate(small).d_us, large[0].d_us)
    assert not np.array_equal(other[0].samples, large[0].samples)
    first = next(batches(SIMULATIONS["realistic"], 300, 3, batch=300, two_share=0.5))
    assert np.array_equal(first.samples, large[0].samples[:300])
    with pytest.raises(InvalidInput):
        next(batches(REFERENCE, 3, 1, batch=0))


def test_light_outside_of_the_window_is_lost_and_reaches_no_other_event() -> None:
    off = replace(REFERENCE, population=replace(Population(), jitter_us=60.0))
    events = simulate(off, 400, _rng())
    away = (events.centre_us < -15.0) | (events.centre_us > 65.0)
    inside = (events.centre_us > 14.0) & (events.centre_us < 34.0)
    assert away.any()
    assert np.all(_areas(events)[away] == 0.0)
    assert np.allclose(_areas(events)[inside] / events.electrons[inside] / 40.0, 1.0, atol=0.05)


def test_random_detectors_cover_the_real_ones_and_fit_the_window() -> None:
    drawn = [random_detector(_rng(seed)) for seed in range(300)]
    for name in ("drift_velocity_mm_per_us", "longitudinal_diffusion_cm2_per_s", "gas_gap_us", "phd_per_electron"):
        values = [getattr(detector, name) for detector in drawn]
        assert all(min(values) < getattr(real, name) < max(values) for real in DETECTORS.values()), name
    assert max(float(d.diffusion_us(d.drift_max_us)) for d in drawn) <= WIDEST_US * 1.0001
    assert random_simulation(_rng(1)) != random_simulation(_rng(2))


def test_mixed_events_have_each_their_own_detector() -> None:
    events = simulate_mixed(300, _rng(8), two_share=0.5)
    assert len(set(events.transport.phd_per_electron)) == 300
    ratio = _areas(events) / (events.electrons * events.transport.phd_per_electron)
    assert np.median(ratio) == pytest.approx(1.0, abs=0.05)
