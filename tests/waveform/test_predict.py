"""An answer is that of the pulse alone: not of its baseline, its gain or its neighbours."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from app.errors import InvalidInput, ModelOutputInvalid
from app.waveform.detector import Detector
from app.waveform.features import SAMPLES
from app.waveform.intake import Intake
from app.waveform.models import waveform_model
from app.waveform.predict import MEANINGS, UNANSWERED, Answered, Ask, predict
from tests.waveform_fakes import DRIFT_US, recorded, width_model

MODEL = waveform_model(width_model())
ARRAYS = ("number", "p_two", "separation_us", "sigma_us", "interval68_us", "interval95_us")


def answer(waveforms: np.ndarray, **options: Any) -> Answered:
    return predict(Ask(np.atleast_2d(waveforms), **options), MODEL)


def codes(answered: Answered, row: int = 0) -> list[str]:
    return [warned.code for warned in answered.warnings[row]]


def same(one: Answered, other: Answered, tolerance: float = 1e-4) -> None:
    for name in ARRAYS:
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=tolerance, atol=tolerance)
    assert one.warnings == other.warnings


def test_two_pulses_are_two_and_their_distance_is_told() -> None:
    found = answer(recorded(4.0), with_parts=True)
    assert found.number.tolist() == [2]
    assert found.separation_us[0] == pytest.approx(4.0, abs=0.2)
    assert found.interval68_us[0, 0] < found.separation_us[0] < found.interval68_us[0, 1]
    assert found.interval95_us[0, 0] < found.interval68_us[0, 0]
    assert found.interval68_us[0, 1] < found.interval95_us[0, 1]
    assert found.parts is not None
    assert np.diff(found.parts.time_us[0]) == pytest.approx(found.separation_us)
    assert codes(found) == []


def test_one_pulse_is_one() -> None:
    found = answer(recorded(0.0))
    assert (found.number.tolist(), codes(found)) == ([1], [])
    assert found.p_two[0] < 0.5


@pytest.mark.parametrize("change", [lambda x: 1e-6 * x, lambda x: 4000.0 + x, lambda x: -3.0 * x + 700.0])
def test_gain_and_baseline_change_nothing(change: Any) -> None:
    waveforms = np.concatenate([recorded(d, n=3) for d in (0.0, 1.0, 4.0)])
    plain, changed = answer(waveforms), answer(change(waveforms))
    same(replace(changed, warnings=plain.warnings), plain)


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<i2", ">u2", "u1"])
def test_the_type_of_the_numbers_changes_nothing(dtype: str) -> None:
    digits = np.clip(np.round(recorded(3.0, n=2, photons=20_000.0)) + 20, 0, 255)
    same(answer(digits.astype(dtype)), answer(digits))


def test_a_batch_equals_its_members_in_any_order() -> None:
    rng = np.random.default_rng(2)
    waveforms = np.concatenate([recorded(d, n=70, seed=int(d)) for d in (0.0, 2.0, 5.0)])
    waveforms[5], waveforms[140] = rng.normal(0.0, 0.5, SAMPLES), np.minimum(waveforms[140], 20.0)
    drift = np.where(rng.random(210) < 0.5, np.nan, DRIFT_US)
    together = answer(waveforms, drift_time_us=drift, with_parts=True)
    order = rng.permutation(210)
    shuffled = answer(waveforms[order], drift_time_us=drift[order], with_parts=True)
    assert shuffled.warnings == tuple(together.warnings[i] for i in order)
    assert shuffled.parts is not None
    assert together.parts is not None
    for name in ARRAYS:
        np.testing.assert_allclose(getattr(shuffled, name), getattr(together, name)[order], rtol=1e-5, atol=1e-5)
    for part in fields(together.parts):
        one, other = getattr(shuffled.parts, part.name), getattr(together.parts, part.name)[order]
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-4)
    for row in (0, 5, 140, 209):
        alone = answer(waveforms[row], drift_time_us=drift[row : row + 1])
        same(alone, Answered(**{n: getattr(together, n)[row : row + 1] for n in (*ARRAYS, "warnings")}), 1e-5)


def test_a_bad_row_does_not_spoil_the_others() -> None:
    waveforms = recorded(3.0, n=3)
    waveforms[1] = 0.0
    found = answer(waveforms)
    assert found.number.tolist() == [2, 0, 2]
    assert np.isnan(found.p_two[1])
    assert [codes(found, row) for row in range(3)] == [[], ["empty"], []]


def test_what_does_not_fit_is_not_answered() -> None:
    long = recorded(samples=20_000, middle_us=30.0) + recorded(samples=20_000, middle_us=150.0)
    found = answer(long, intake=Intake(length="resample"))
    assert found.number.tolist() == [UNANSWERED]
    assert codes(found) == ["resampled", "too-long"]


def test_what_is_unlike_the_training_is_told_with_what_is_unlike() -> None:
    assert codes(answer(recorded(3.0), detector=Detector(gas_gap_us=1.1))) == []
    found = answer(recorded(3.0), detector=Detector(gas_gap_us=2.5))
    assert codes(found) == ["outside-training"]
    assert "gas_gap_us" in found.warnings[0][0].message
    assert set(MEANINGS) >= {"outside-training", "empty"}


def test_a_higher_prior_makes_two_more_probable() -> None:
    waveform = recorded(1.0)
    p = [answer(waveform, prior_two=prior).p_two[0] for prior in (0.01, 0.5, 0.99)]
    assert p == sorted(p)
    odds = p[1] / (1.0 - p[1])
    assert p[2] == pytest.approx(99.0 * odds / (1.0 + 99.0 * odds))


def test_a_known_drift_time_is_used() -> None:
    waveform = recorded(0.0)
    short, usual = (answer(waveform, drift_time_us=np.array([t])).separation_us[0] for t in (20.0, DRIFT_US))
    assert short > usual + 0.5


@pytest.mark.parametrize(
    "options",
    [
        {"drift_time_us": np.ones(2)},
        {"drift_time_us": np.ones((1, 1))},
        {"prior_two": 0.0},
        {"prior_two": 1.0},
        {"prior_two": float("nan")},
        {"waveforms": np.zeros((0, SAMPLES))},
        {"waveforms": np.zeros(SAMPLES)},
    ],
)
def test_misuse_is_an_error(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        predict(replace(Ask(recorded(1.0)), **options), MODEL)


def test_a_model_of_another_job_is_refused() -> None:
    with pytest.raises(InvalidInput, match="waveform"):
        waveform_model(width_model(family="polarization/d3-network"))


def test_a_model_that_gives_no_probability_is_an_error_of_ours() -> None:
    broken = width_model()
    object.__setattr__(broken, "run", lambda inputs: {"probability": np.full((len(inputs["shape"]), 41), np.nan)})
    with pytest.raises(ModelOutputInvalid):
        predict(Ask(recorded(1.0)), waveform_model(broken))


def test_a_sum_that_is_one_but_for_rounding_is_one() -> None:
    rounded = width_model()
    p = np.zeros((1, 41), np.float32)
    p[:, 20] = 1.0 + 2e-7
    p[:, 0] = -1e-7
    object.__setattr__(rounded, "run", lambda inputs: {"probability": np.repeat(p, len(inputs["shape"]), axis=0)})
    assert predict(Ask(recorded(1.0)), waveform_model(rounded)).p_two.tolist() == [1.0]
