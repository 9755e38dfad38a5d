"""Facts of the slope correction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidInput
from app.polarization.correction import MEANING, Anchor, Curve, slope_corrected
from app.polarization.experiment import Calibration

TIME_S = np.array([0.0, 2_000.0, 5_000.0, 10_000.0])
MODEL = Curve(np.array([0.80, 0.77, 0.74, 0.70]), np.full(4, 0.02))
INITIAL = Anchor(Calibration(0.0, 0.83, 0.003), 0.80)
FINAL = Anchor(Calibration(10_000.0, 0.69, 0.005), 0.70)

unit = st.floats(-0.9, 0.9)


@given(p0=unit, p1=unit, m0=unit, m1=unit, s0=st.floats(0, 0.1), s1=st.floats(0, 0.1))
def test_the_curve_passes_through_both_anchors_with_their_errors(
    p0: float, p1: float, m0: float, m1: float, s0: float, s1: float
) -> None:
    ends = np.array([3.0, 900.0])
    corrected = slope_corrected(
        ends,
        Curve(np.array([m0, m1]), np.array([0.4, 0.4])),
        Anchor(Calibration(3.0, p0, s0), m0),
        Anchor(Calibration(900.0, p1, s1), m1),
    )
    assert corrected.mean == pytest.approx([p0, p1], abs=1e-14)
    assert corrected.sigma == pytest.approx([s0, s1], abs=1e-14)


def test_a_straight_line_is_subtracted_and_nothing_else() -> None:
    removed = MODEL.mean - slope_corrected(TIME_S, MODEL, INITIAL, FINAL).mean
    assert np.polyval(np.polyfit(TIME_S, removed, 1), TIME_S) == pytest.approx(removed)


def test_any_line_added_to_the_model_makes_no_difference() -> None:
    line = 0.1 - 3e-6 * TIME_S
    tilted = slope_corrected(
        TIME_S,
        Curve(MODEL.mean + line, MODEL.sigma),
        Anchor(INITIAL.measured, INITIAL.predicted + 0.1),
        Anchor(FINAL.measured, FINAL.predicted + 0.1 - 0.03),
    )
    assert tilted.mean == pytest.approx(slope_corrected(TIME_S, MODEL, INITIAL, FINAL).mean)


def test_halfway_the_models_sigma_is_kept_and_the_anchors_are_averaged() -> None:
    sigma = slope_corrected(TIME_S, MODEL, INITIAL, FINAL).sigma[2]
    assert sigma**2 == pytest.approx(0.25 * 0.003**2 + 0.25 * 0.005**2 + 0.02**2)


def test_outside_the_anchors_the_physics_curve_goes_on_with_a_wider_sigma() -> None:
    time_s = np.array([-1_000.0, 5_000.0, 12_000.0])
    model = Curve(np.array([0.81, 0.74, 0.69]), np.full(3, 0.02))
    physics = Curve(np.array([0.84, 0.76, 0.66]), np.array([0.0031, 0.003, 0.006]))
    corrected = slope_corrected(time_s, model, INITIAL, FINAL, physics)
    assert corrected.mean[[0, 2]].tolist() == [0.84, 0.66]
    assert corrected.mean[1] == pytest.approx(0.75)
    assert (corrected.sigma[[0, 2]] > physics.sigma[[0, 2]]).all()
    assert corrected.flags == ("before-initial", "after-final")


def test_the_sigma_grows_away_from_the_last_anchor() -> None:
    time_s = np.linspace(10_000, 20_000, 20)
    model = Curve(np.linspace(0.7, 0.6, 20), np.full(20, 0.02))
    assert (np.diff(slope_corrected(time_s, model, INITIAL, FINAL).sigma) > 0).all()


def test_one_anchor_shifts_the_curve() -> None:
    corrected = slope_corrected(TIME_S, MODEL, INITIAL, None)
    assert corrected.mean - MODEL.mean == pytest.approx(np.full(4, 0.03))
    assert corrected.flags == ("one-anchor",)


def test_without_an_anchor_the_model_is_left_as_it_is() -> None:
    corrected = slope_corrected(TIME_S, MODEL, None, None)
    assert corrected.mean.tolist() == MODEL.mean.tolist()
    assert corrected.flags == ("no-anchor",)


@pytest.mark.parametrize(
    ("s0", "s1", "expected"), [(0.003, 0.003, 0.82), (0.0, 0.01, 0.83), (0.01, 0.0, 0.81), (0.0, 0.0, 0.82)]
)
def test_two_anchors_at_one_time_are_averaged_by_inverse_variance(s0: float, s1: float, expected: float) -> None:
    corrected = slope_corrected(
        TIME_S, MODEL, Anchor(Calibration(0.0, 0.83, s0), 0.80), Anchor(Calibration(0.0, 0.81, s1), 0.80)
    )
    assert corrected.mean[0] == pytest.approx(expected)
    assert corrected.flags == ("anchors-coincide",)


def test_a_polarization_beyond_one_is_clipped_and_flagged() -> None:
    corrected = slope_corrected(TIME_S, Curve(np.add(MODEL.mean, [0, 0.4, 0, 0]), MODEL.sigma), INITIAL, FINAL)
    assert corrected.mean.max() == 1.0
    assert "clipped" in corrected.flags


@pytest.mark.parametrize(("final", "flagged"), [(0.835, False), (0.85, True)])
def test_a_final_calibration_above_the_initial_one_is_flagged_beyond_two_sigma(final: float, flagged: bool) -> None:
    risen = Anchor(Calibration(10_000.0, final, 0.005), 0.70)
    assert ("rising-polarization" in slope_corrected(TIME_S, MODEL, INITIAL, risen).flags) is flagged


def test_anchors_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(InvalidInput, match="exchange"):
        slope_corrected(TIME_S, MODEL, FINAL, INITIAL)


def test_a_negative_or_missing_sigma_is_refused() -> None:
    for sigma in (-0.1, float("nan")):
        with pytest.raises(InvalidInput, match="sigma"):
            slope_corrected(TIME_S, MODEL, Anchor(Calibration(0.0, 0.8, sigma), 0.8), FINAL)


def test_every_flag_has_a_sentence() -> None:
    assert all(sentence[0].islower() and len(sentence) > 20 for sentence in MEANING.values())
