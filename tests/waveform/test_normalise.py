"""Facts of the two views: nothing of another waveform, of baseline, gain or place is left in them."""

from __future__ import annotations

import numpy as np
import pytest

from app.waveform.normalise import CENTRED_BIN_SAMPLES, CENTRED_BINS, centred, min_max


@pytest.fixture
def waveforms() -> np.ndarray:
    rng = np.random.default_rng(5)
    time = np.arange(5000)
    centre, width = rng.uniform(2000, 3000, (4, 1)), rng.uniform(50, 130, (4, 1))
    pulse = 400 * np.exp(-0.5 * ((time - centre) / width) ** 2)
    return rng.poisson(pulse) + 0.5 * rng.standard_normal(pulse.shape)


def test_min_max_spans_zero_to_one_in_each_waveform(waveforms: np.ndarray) -> None:
    seen = min_max(waveforms * np.array([[1.0], [10.0], [100.0], [1e4]]))
    np.testing.assert_array_equal(seen.min(axis=1), 0)
    np.testing.assert_array_equal(seen.max(axis=1), 1)
    np.testing.assert_allclose(seen, min_max(3 * waveforms + 7), atol=1e-6)


def test_a_constant_waveform_is_zeros() -> None:
    np.testing.assert_array_equal(min_max(np.full((1, 5000), 3.0)), 0)
    np.testing.assert_array_equal(centred(np.zeros((1, 5000))), 0)


def test_a_batch_is_its_members(waveforms: np.ndarray) -> None:
    for view in (min_max, centred):
        one_by_one = np.concatenate([view(row[None]) for row in waveforms])
        np.testing.assert_array_equal(view(waveforms), one_by_one)
    assert centred(waveforms[:0]).shape == (0, CENTRED_BINS)


def test_the_centred_view_has_area_one_and_its_centroid_in_the_middle(waveforms: np.ndarray) -> None:
    share = centred(waveforms) / CENTRED_BINS
    middles = (np.arange(CENTRED_BINS) + 0.5 - CENTRED_BINS / 2) * CENTRED_BIN_SAMPLES
    np.testing.assert_allclose(share.sum(axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(share @ middles, 0.0, atol=0.5)


def test_the_centred_view_ignores_baseline_gain_and_place(waveforms: np.ndarray) -> None:
    seen = centred(waveforms)
    moved = np.roll(waveforms, 137, axis=1)
    np.testing.assert_allclose(centred(2.5 * moved + 40.0), seen, atol=2e-3 * seen.max())
