"""The parts of a pulse add up to it, and are where and as large as they were made."""

from __future__ import annotations

import math

import numpy as np
import pytest

from app.waveform.detector import DETECTORS
from app.waveform.features import SAMPLE_US, SAMPLES, find_pulses
from app.waveform.pulses import drawn_parts, erf, parts, pulse_shape
from tests.waveform_fakes import DRIFT_US, REFERENCE, light, recorded

TIME = (np.arange(SAMPLES) + 0.5) * SAMPLE_US
TWO = np.array([2])


def test_erf_is_the_error_function() -> None:
    x = np.linspace(-5.0, 5.0, 401)
    np.testing.assert_allclose(erf(x), [math.erf(one) for one in x], atol=2e-7)


@pytest.mark.parametrize("gap_us", [0.3, 1.1])
def test_a_shape_has_area_one_and_the_variances_of_its_parts(gap_us: float) -> None:
    shape = pulse_shape(TIME - 25.0, 0.8, gap_us)
    assert shape.sum() * SAMPLE_US == pytest.approx(1.0, abs=1e-5)
    variance = ((TIME - 25.0) ** 2 * shape).sum() * SAMPLE_US
    assert variance == pytest.approx(0.8**2 + gap_us**2 / 12.0, rel=1e-3)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("known", [True, False])
def test_two_pulses_are_found_as_they_were_made(share: float, known: bool) -> None:
    pulses = find_pulses(recorded(4.0, share=share))
    drift = np.array([DRIFT_US if known else np.nan])
    found = parts(pulses, TWO, np.array([4.0]), REFERENCE, drift)
    first = 25.0 - (1.0 - share) * 4.0
    np.testing.assert_allclose(found.time_us[0], [first, first + 4.0], atol=0.05)
    np.testing.assert_allclose(found.area[0], [600.0 * share, 600.0 * (1.0 - share)], rtol=0.06)
    assert found.sigma_us[0] == pytest.approx(float(REFERENCE.diffusion_us(DRIFT_US)), rel=0.05)


@pytest.mark.parametrize("number", [1, 2])
def test_the_parts_have_the_area_and_the_centroid_of_the_whole(number: int) -> None:
    pulses = find_pulses(recorded(1.5, share=0.4, n=3))
    found = parts(pulses, np.full(3, number), np.array([0.5, 1.5, 3.0]), REFERENCE)
    np.testing.assert_allclose(found.area.sum(axis=1), pulses.area * SAMPLE_US, rtol=1e-9)
    weighted = np.nansum(found.area * found.time_us, axis=1) / found.area.sum(axis=1)
    np.testing.assert_allclose(weighted, pulses.centroid * SAMPLE_US, atol=2e-3)


def test_what_is_drawn_is_the_waveform() -> None:
    waveform = light(3.0, share=0.35)
    pulses = find_pulses(waveform[None])
    found = parts(pulses, TWO, np.array([3.0]), REFERENCE)
    drawn = drawn_parts(found, TIME, REFERENCE)[0]
    assert drawn.shape == (2, SAMPLES)
    assert np.abs(drawn.sum(axis=0) - waveform).max() < 0.05 * waveform.max()


def test_nothing_has_no_parts_and_one_has_one() -> None:
    pulses = find_pulses(np.stack([np.zeros(SAMPLES), light()]))
    found = parts(pulses, np.array([0, 1]), np.array([np.nan, 2.0]), REFERENCE)
    assert found.area[0].tolist() == [0.0, 0.0]
    assert np.isnan(found.time_us[0]).all()
    assert np.isnan(found.time_us[1, 1])
    assert not drawn_parts(found, TIME, REFERENCE)[0].any()


def test_a_batch_equals_its_members() -> None:
    waveforms = np.concatenate([recorded(d, n=20, seed=int(d)) for d in (1.0, 3.0)])
    d, number = np.full(40, 2.0), np.arange(40) % 3
    drift = np.where(np.arange(40) % 2, DRIFT_US, np.nan)
    together = parts(find_pulses(waveforms), number, d, DETECTORS["xenonnt"], drift)
    for row in range(0, 40, 7):
        one = slice(row, row + 1)
        alone = parts(find_pulses(waveforms[one]), number[one], d[one], DETECTORS["xenonnt"], drift[one])
        np.testing.assert_allclose(alone.time_us[0], together.time_us[row], atol=1e-6)
        np.testing.assert_allclose(alone.area[0], together.area[row], atol=1e-4)
