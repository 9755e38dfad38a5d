"""What the model sees: free of baseline, gain, position and neighbours, and true to the pulse."""

from __future__ import annotations

import numpy as np
import pytest

from app.waveform.detector import DETECTORS, Detector
from app.waveform.features import (
    NUMBERS,
    SAMPLE_US,
    SAMPLES,
    SHAPE_BINS,
    Features,
    features,
    find_pulses,
)

TIME = np.arange(SAMPLES) + 0.5
REFERENCE = DETECTORS["reference"]


def pulse(centre: float = 2500.0, sigma: float = 150.0, photons: float = 40_000.0) -> np.ndarray:
    return photons * np.exp(-0.5 * ((TIME - centre) / sigma) ** 2) / (sigma * np.sqrt(2.0 * np.pi))


def measured(n: int = 4, seed: int = 1, **changes: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.poisson(pulse(**changes), (n, SAMPLES)) + rng.normal(0.0, 0.5, (n, SAMPLES))


def number(seen: Features, name: str) -> np.ndarray:
    return seen.numbers[:, NUMBERS.index(name)]


def same(one: Features, other: Features, tolerance: float = 1e-4) -> None:
    np.testing.assert_allclose(one.shape, other.shape, atol=tolerance)
    np.testing.assert_allclose(one.numbers, other.numbers, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("offset", [-300.0, 0.01, 16_000.0])
def test_a_baseline_offset_changes_nothing(offset: float) -> None:
    waveforms = measured()
    same(features(waveforms + offset, REFERENCE), features(waveforms, REFERENCE))


@pytest.mark.parametrize("gain", [1e-3, 0.7, 250.0])
def test_the_gain_changes_nothing(gain: float) -> None:
    waveforms = measured()
    same(features(gain * waveforms, REFERENCE), features(waveforms, REFERENCE))


def test_a_slope_of_the_baseline_changes_little() -> None:
    waveforms = measured()
    slope = np.linspace(0.0, 3.0, SAMPLES)
    same(features(waveforms + slope, REFERENCE), features(waveforms, REFERENCE), tolerance=0.02)


@pytest.mark.parametrize("shift", [-700, 1, 333])
def test_the_place_in_the_window_changes_nothing_but_the_noise(shift: int) -> None:
    still, moved = pulse(), np.roll(pulse(), shift)
    same(features(moved[None], REFERENCE), features(still[None], REFERENCE), tolerance=3e-3)


def test_a_batch_equals_its_members_in_any_order() -> None:
    waveforms = np.concatenate([measured(sigma=sigma) for sigma in (40.0, 120.0, 200.0)])
    drift = np.linspace(50.0, 900.0, len(waveforms))
    order = np.random.default_rng(3).permutation(len(waveforms))
    together = features(waveforms, REFERENCE, drift)
    shuffled = features(waveforms[order], REFERENCE, drift[order])
    np.testing.assert_array_equal(shuffled.numbers, together.numbers[order])
    for row in range(len(waveforms)):
        alone = features(waveforms[row : row + 1], REFERENCE, drift[row : row + 1])
        np.testing.assert_allclose(alone.shape[0], together.shape[row], rtol=1e-5, atol=1e-6)


def test_area_centroid_and_width_are_the_pulse_s() -> None:
    found = find_pulses(pulse(centre=2611.3)[None] + 7.0)
    assert found.found.all()
    assert found.area[0] == pytest.approx(40_000.0, rel=2e-3)
    assert found.centroid[0] == pytest.approx(2611.3, abs=1.0)
    assert found.baseline[0] == pytest.approx([7.0, 7.0], abs=0.01)
    rms = number(features(pulse()[None], REFERENCE), "rms_us")
    assert rms[0] == pytest.approx(150.0 * SAMPLE_US, rel=0.02)


def test_quantile_widths_are_those_of_a_gaussian() -> None:
    seen = features(pulse(sigma=150.0)[None], REFERENCE)
    # Between 25 % and 75 % of a Gaussian lie 2 x 0.6745 sigma.
    wide = number(seen, "width_0.5_0.25_us") + number(seen, "width_0.75_0.5_us")
    assert wide[0] == pytest.approx(2.0 * 0.6745 * 1.5, rel=0.01)


def test_the_shape_s_mean_is_one() -> None:
    np.testing.assert_allclose(features(measured(), REFERENCE).shape.mean(axis=1), 1.0, rtol=1e-4)
    assert features(measured(), REFERENCE).shape.shape[1] == SHAPE_BINS


def test_graininess_counts_the_photons() -> None:
    for photons in (8_000.0, 40_000.0, 120_000.0):
        counted = 10.0 ** number(features(measured(64, photons=photons), REFERENCE), "log10_photons")
        # A thousand samples tell a variance to some per cent; the mean of 64 waveforms to about one.
        assert counted.mean() == pytest.approx(photons, rel=0.03)


def test_a_known_drift_time_is_told_and_takes_its_variance_away() -> None:
    seen = features(measured(2), REFERENCE, np.array([400.0, np.nan]))
    assert number(seen, "drift_known").tolist() == [1.0, 0.0]
    sigma = float(REFERENCE.diffusion_us(400.0))
    assert number(seen, "diffusion_us") == pytest.approx([sigma, 0.0])
    explained = number(seen, "rms_us") ** 2 - REFERENCE.gas_gap_us**2 / 12.0 - np.array([sigma**2, 0.0])
    assert number(seen, "excess_us2") == pytest.approx(explained, abs=1e-5)


def test_nothing_is_found_in_noise_and_every_number_is_finite() -> None:
    rng = np.random.default_rng(5)
    quiet = np.stack([rng.normal(12.0, 1.0, SAMPLES), np.zeros(SAMPLES), np.full(SAMPLES, 3.0)])
    assert not find_pulses(quiet).found.any()
    seen = features(quiet, REFERENCE)
    assert np.isfinite(seen.numbers).all()
    assert not seen.shape.any()


def test_diffusion_grows_with_the_root_of_the_drift_time() -> None:
    # 26 cm2/s over 100 us is 0.721 mm, which takes 0.481 us at 1.5 mm/us.
    assert float(Detector().diffusion_us(100.0)) == pytest.approx(np.sqrt(2 * 26e-4 * 100.0) / 1.5)
    assert float(Detector().diffusion_us(400.0) / Detector().diffusion_us(100.0)) == pytest.approx(2.0)
