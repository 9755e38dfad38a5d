"""Facts of noise, baseline and digitiser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.waveform.electronics import add_baseline, add_noise, add_recorded_noise, ar_amplitude, digitise
from training.waveform.settings import XENON1T_NOISE_AR, Electronics


def _rng() -> np.random.Generator:
    return np.random.default_rng(17)


def _noise(noise_ar: tuple[float, ...], n: int = 5000) -> np.ndarray:
    samples = np.zeros((200, n), dtype=np.float32)
    add_noise(samples, 0.5, noise_ar, _rng())
    return samples


def _correlation(samples: np.ndarray, lag: int) -> float:
    return float(np.mean(samples[:, :-lag] * samples[:, lag:]) / np.mean(samples**2))


@pytest.mark.parametrize("noise_ar", [(), (0.8,), XENON1T_NOISE_AR])
@pytest.mark.parametrize("n", [5000, 4999])
def test_noise_has_its_deviation_in_every_sample(noise_ar: tuple[float, ...], n: int) -> None:
    samples = _noise(noise_ar, n)
    assert samples.std() == pytest.approx(0.5, rel=0.02)
    assert samples.mean() == pytest.approx(0.0, abs=0.01)
    halves = [samples[:, : n // 2].std(), samples[:, n // 2 :].std()]
    assert halves == pytest.approx([0.5, 0.5], rel=0.02)


def test_first_order_noise_forgets_geometrically() -> None:
    samples = _noise((0.8,))
    assert [_correlation(samples, lag) for lag in (1, 2, 5)] == pytest.approx([0.8, 0.64, 0.8**5], abs=0.01)


def test_white_noise_is_white() -> None:
    samples = _noise(())
    assert [_correlation(samples, lag) for lag in (1, 2, 5)] == pytest.approx([0.0] * 3, abs=0.005)
    assert ar_amplitude((), 5000)[1:-1] == pytest.approx(np.sqrt(2500.0), rel=1e-5)


def test_coloured_noise_is_xenon1ts(shared_data: Path) -> None:
    """Lags that the coefficients were fitted to, computed anew from the recording."""
    with np.load(shared_data / "waveform" / "x1t_noise_170203_0850_00_small.npz") as file:
        recorded = file["arr_0"].sum(axis=1)
    recorded = (recorded - recorded.mean())[None, :]
    lags = (1, 2, 3, 5, 8, 10, 12)
    expected = [_correlation(recorded, lag) for lag in lags]
    samples = _noise(XENON1T_NOISE_AR)
    assert [_correlation(samples, lag) for lag in lags] == pytest.approx(expected, abs=0.03)


def test_recorded_noise_can_be_added(shared_data: Path) -> None:
    with np.load(shared_data / "waveform" / "x1t_noise_170203_0850_00_small.npz") as file:
        recorded = file["arr_0"]
    samples = np.zeros((50, 5000), dtype=np.float32)
    add_recorded_noise(samples, recorded, 0.5, _rng())
    assert samples.std() == pytest.approx(0.5, rel=0.05)
    assert _correlation(samples, 1) == pytest.approx(0.75, abs=0.03)


def test_each_event_may_have_its_own_noise() -> None:
    samples = np.zeros((3, 5000), dtype=np.float32)
    add_noise(samples, np.array([0.0, 1.0, 3.0]), (), _rng())
    assert samples.std(axis=1) == pytest.approx([0.0, 1.0, 3.0], rel=0.04)


def test_baseline_is_a_line_within_its_limits() -> None:
    samples = np.zeros((300, 5000), dtype=np.float32)
    add_baseline(samples, Electronics(baseline_phd=2.0, drift_phd=0.5), _rng())
    middle, drift = samples.mean(axis=1), samples[:, -1] - samples[:, 0]
    assert 1.9 < np.abs(middle).max() <= 2.0
    assert 0.45 < np.abs(drift).max() <= 0.5
    assert np.allclose(np.diff(samples, n=2, axis=1), 0.0, atol=1e-6)


def test_digitiser_rounds_to_steps_and_saturates() -> None:
    samples = _rng().normal(5.0, 20.0, (20, 500)).astype(np.float32)
    before = samples.copy()
    digitise(samples, Electronics(step_phd=0.25, full_scale_phd=30.0))
    assert samples.max() == 30.0
    assert np.array_equal(samples * 4.0, np.rint(samples * 4.0))
    below = before < 29.0
    assert np.abs(samples - before)[below].max() <= 0.125 + 1e-5
