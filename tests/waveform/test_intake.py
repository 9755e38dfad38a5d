"""Each flag has a waveform that raises it and one that does not; other lengths and periods keep the pulse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from app.errors import InvalidInput
from app.waveform.features import SAMPLES, find_pulses
from app.waveform.intake import MEANINGS, Intake, flags, resampled, take
from tests.waveform_fakes import light, recorded

RESAMPLE = Intake(length="resample")


def flagged(waveform: np.ndarray, **options: Any) -> set[str]:
    taken = take(np.atleast_2d(waveform), Intake(**options))
    return {name for name, rows in flags(taken, find_pulses(taken.samples)).items() if rows.all()}


def noise(seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 0.5, SAMPLES)


PULSE = recorded(3.0)[0]
DRIFT = np.linspace(0.0, 5.0, SAMPLES)

CASES: list[tuple[str, np.ndarray, np.ndarray, dict[str, Any]]] = [
    ("empty", noise(), PULSE, {}),
    ("empty", np.full(SAMPLES, 7), np.round(PULSE), {}),
    ("empty", -PULSE, PULSE, {"polarity": "positive"}),
    ("clipped", np.minimum(PULSE, 60.0), PULSE, {}),
    ("clipped", np.minimum(np.round(PULSE), 60), np.round(PULSE), {}),
    ("clipped", np.minimum(light(2.0), 100.0), light(2.0), {}),
    ("clipped", -np.minimum(PULSE, 60.0), -PULSE, {}),
    ("clipped", np.round(np.minimum(light(photons=2e5), 500.0)), np.round(light(photons=2e5)), {}),
    ("truncated", recorded(middle_us=2.0)[0], recorded(middle_us=6.0)[0], {}),
    ("truncated", recorded(middle_us=49.0)[0], recorded(middle_us=44.0)[0], {}),
    ("truncated", recorded(middle_us=0.0)[0], PULSE, {}),
    ("truncated", recorded(middle_us=1.0, samples=1500)[0], recorded(middle_us=7.0, samples=1500)[0],
     {"length": "resample"}),
    ("baseline-drift", PULSE + DRIFT, PULSE + 5.0, {}),
    ("baseline-drift", light() + DRIFT, light(), {}),
    ("negative", -PULSE, PULSE, {}),
    ("negative", 300.0 - PULSE, noise(), {}),
    ("negative", -PULSE, -noise(), {"polarity": "negative"}),
    ("too-long", recorded(samples=20_000, middle_us=30.0)[0] + recorded(samples=20_000, middle_us=150.0)[0],
     recorded(samples=20_000, middle_us=30.0)[0], {"length": "resample"}),
]  # fmt: skip


@pytest.mark.parametrize(("flag", "odd", "usual", "options"), CASES)
def test_a_flag_is_raised_by_what_it_means_alone(
    flag: str, odd: np.ndarray, usual: np.ndarray, options: dict[str, Any]
) -> None:
    assert flag in flagged(odd, **options)
    assert flag not in flagged(usual, **options)


def test_a_usual_waveform_has_no_flag() -> None:
    for separation in (0.0, 1.0, 3.0, 8.0):
        taken = take(recorded(separation, n=20, seed=5), Intake())
        found = flags(taken, find_pulses(taken.samples))
        assert list(found) == list(MEANINGS)
        assert not any(rows.any() for rows in found.values())


@pytest.mark.parametrize("samples", [1200, 4999, 5001, 8000])
@pytest.mark.parametrize("offset", [0.0, 2000.0])
def test_other_lengths_keep_the_pulse(samples: int, offset: float) -> None:
    whole = recorded(1.0, samples=samples, middle_us=samples * 0.005) + offset
    assert flagged(whole[0], length="resample") == {"resampled"}
    found = find_pulses(take(whole, RESAMPLE).samples)
    assert found.area[0] == pytest.approx(60_000.0, rel=0.02)


@pytest.mark.parametrize("period_ns", [2.5, 4.0, 8.0, 20.0, 100.0 / 3.0])
def test_another_period_keeps_area_centroid_and_width(period_ns: float) -> None:
    samples = round(50_000 / period_ns)
    waveform = light(2.0, samples=samples, period_ns=period_ns)[None]
    time_us = (np.arange(SAMPLES) + 0.5) * 0.01
    again = resampled(waveform, period_ns)[0] * 10.0 / period_ns
    assert again.shape == (SAMPLES,)
    expected = light(2.0)
    assert again.sum() == pytest.approx(expected.sum(), rel=1e-3)
    moments = [np.average((time_us - 25.0) ** k, weights=again) for k in (1, 2)]
    wanted = [np.average((time_us - 25.0) ** k, weights=expected) for k in (1, 2)]
    # Bins of `period_ns` add the variance of their own width.
    assert moments == pytest.approx(wanted, abs=1e-3 * period_ns)


@pytest.mark.parametrize("factor", [2, 5])
def test_a_finer_record_is_averaged(factor: int) -> None:
    fine = np.random.default_rng(1).normal(size=(2, factor * 1000))
    np.testing.assert_allclose(resampled(fine, 10.0 / factor), fine.reshape(2, 1000, factor).mean(axis=2), atol=1e-9)


def test_a_padded_record_goes_on_with_its_noise() -> None:
    taken = take(recorded(samples=2000, middle_us=10.0) + 100.0, RESAMPLE)
    padding = np.concatenate([taken.samples[0, :1400], taken.samples[0, -1400:]])
    assert padding.mean() == pytest.approx(100.0, abs=0.3)
    assert padding.std() == pytest.approx(0.5, rel=0.2)


@pytest.mark.parametrize(
    ("samples", "intake", "message"),
    [
        (4999, Intake(), "resample"),
        (5000, Intake(sample_period_ns=4.0), "resample"),
        (100, RESAMPLE, "too short"),
        (1, RESAMPLE, "too short"),
    ],
)
def test_another_length_is_refused_with_the_way_out(samples: int, intake: Intake, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        take(np.zeros((1, samples)), intake)


def test_huge_numbers_do_not_overflow() -> None:
    taken = take(1e300 * light()[None], Intake())
    assert find_pulses(taken.samples).found.all()
