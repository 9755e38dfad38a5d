"""Facts of 3He spin filters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from app.polarization import decay
from app.polarization.decay import Optics

ONE_CELL = Optics(0.931)
TWO_CELLS = Optics(0.95, 0.5)
SETUPS = pytest.mark.parametrize("optics", [ONE_CELL, TWO_CELLS], ids=["crystalline", "amorphous"])
DAY_S = 86_400.0


def test_the_helium_loses_a_factor_e_in_t1() -> None:
    assert decay.he3_polarization(np.array(3600.0), 0.75, 3600.0) == pytest.approx(0.75 / np.e)


def test_the_opacity_of_a_d3_cell() -> None:
    assert decay.opacity(pressure_bar=2.3, length_cm=13.0, wavelength_ang=0.9, p_he3=0.75) == pytest.approx(
        0.0733 * 2.3 * 13.0 * 0.9 * 0.75
    )


@SETUPS
def test_an_opaque_filter_reaches_the_amplitude_and_an_empty_one_nothing(optics: Optics) -> None:
    assert decay.neutron_polarization(np.array([0.0, 50.0]), optics) == pytest.approx([0.0, optics.amplitude])


@SETUPS
@given(phi=st.floats(0.05, 3.5))
def test_the_opacity_is_recovered_from_the_polarization(optics: Optics, phi: float) -> None:
    polarization = decay.neutron_polarization(np.array(phi), optics)
    assert decay.opacity_from_polarization(polarization, optics) == pytest.approx(phi, rel=1e-9)


def test_the_two_cell_opacity_agrees_with_a_bracketing_solver() -> None:
    target = 0.62
    root = brentq(lambda x: 0.95 * np.tanh(x) * np.tanh(0.5 * x) - target, 1e-3, 10)
    assert decay.opacity_from_polarization(np.array(target), TWO_CELLS) == pytest.approx(root, rel=1e-9)


@SETUPS
@given(phi0=st.floats(0.2, 3.0), t1_h=st.floats(20, 400))
def test_two_anchors_give_back_opacity_and_t1_exactly(optics: Optics, phi0: float, t1_h: float) -> None:
    time_s = np.array([0.0, 0.3, 1.0]) * DAY_S
    truth = decay.neutron_polarization(phi0 * np.exp(-time_s / (t1_h * 3600)), optics)
    fit = decay.fit_anchors(initial_s=0.0, p_initial=truth[0], final_s=DAY_S, p_final=truth[-1], optics=optics)
    assert float(fit.t1_s) == pytest.approx(t1_h * 3600, rel=1e-6)
    assert float(np.exp(fit.log_phi_initial)) == pytest.approx(phi0, rel=1e-8)
    assert fit.polarization(time_s) == pytest.approx(truth, rel=1e-8)


@SETUPS
def test_the_sensitivity_is_the_numerical_derivative(optics: Optics) -> None:
    phi, step = np.linspace(0.1, 3, 9), 1e-6
    numerical = (
        decay.neutron_polarization(phi * np.exp(step), optics) - decay.neutron_polarization(phi * np.exp(-step), optics)
    ) / (2 * step)
    assert decay.polarization_per_log_opacity(phi, optics) == pytest.approx(numerical, rel=1e-6)


@SETUPS
def test_the_curves_sigma_is_that_of_redrawn_anchors(optics: Optics) -> None:
    rng = np.random.default_rng(5)
    s0, s1, time_s = 0.002, 0.003, np.linspace(-0.2, 1.3, 7) * DAY_S
    ends = {"initial_s": 0.0, "final_s": DAY_S, "optics": optics}
    fit = decay.fit_anchors(p_initial=0.72, p_final=0.60, **ends)
    drawn = decay.fit_anchors(
        p_initial=rng.normal(0.72, s0, (40_000, 1)), p_final=rng.normal(0.60, s1, (40_000, 1)), **ends
    ).polarization(time_s)
    assert decay.anchor_sigma(fit, fit.course(time_s), s0, s1) == pytest.approx(drawn.std(axis=0), rel=0.03)


@SETUPS
def test_sigma_is_the_anchors_own_at_the_anchors(optics: Optics) -> None:
    fit = decay.fit_anchors(initial_s=10.0, p_initial=0.7, final_s=9_000.0, p_final=0.65, optics=optics)
    assert decay.anchor_sigma(fit, fit.course(np.array([10.0, 9_000.0])), 0.002, 0.005) == pytest.approx([0.002, 0.005])


def test_the_sigma_of_t1_is_that_of_redrawn_anchors() -> None:
    rng = np.random.default_rng(6)
    ends = {"initial_s": 0.0, "final_s": DAY_S, "optics": ONE_CELL}
    fit = decay.fit_anchors(p_initial=0.80, p_final=0.60, **ends)
    drawn = decay.fit_anchors(p_initial=rng.normal(0.80, 1e-3, 40_000), p_final=rng.normal(0.60, 1e-3, 40_000), **ends)
    assert float(decay.t1_sigma_s(fit, 1e-3, 1e-3)) == pytest.approx(drawn.t1_s.std(), rel=0.03)


@SETUPS
def test_at_the_time_until_a_threshold_the_curve_is_at_the_threshold(optics: Optics) -> None:
    fit = decay.fit_anchors(initial_s=50.0, p_initial=0.7, final_s=DAY_S, p_final=0.6, optics=optics)
    assert fit.polarization(decay.time_until(fit, np.array([0.5, 0.7]))) == pytest.approx([0.5, 0.7])
    assert decay.time_until(fit, 0.7) == pytest.approx(50.0)


def test_a_threshold_that_is_never_crossed_has_no_time() -> None:
    falling = decay.fit_anchors(initial_s=0.0, p_initial=0.7, final_s=DAY_S, p_final=0.6, optics=ONE_CELL)
    rising = decay.fit_anchors(initial_s=0.0, p_initial=0.6, final_s=DAY_S, p_final=0.7, optics=ONE_CELL)
    assert np.isnan(decay.time_until(falling, np.array([0.0, -0.1, 0.931, 1.0]))).all()
    assert np.isnan(decay.time_until(rising, 0.5))


def test_anchors_without_an_answer_are_flagged_and_finite() -> None:
    p0, p1 = np.array([0.95, 0.6, 0.6, 0.7, -0.1]), np.array([0.7, 0.7, 0.6, 0.6, -0.2])
    fit = decay.fit_anchors(initial_s=0.0, p_initial=p0, final_s=DAY_S, p_final=p1, optics=ONE_CELL)
    assert fit.beyond_amplitude.tolist() == [True, False, False, False, True]
    assert fit.not_decaying.tolist() == [False, True, True, False, True]
    assert np.isnan(fit.t1_s).tolist() == fit.not_decaying.tolist()
    assert np.isfinite(fit.polarization(np.array(DAY_S / 2))).all()


def test_anchors_at_the_same_time_do_not_divide_by_zero() -> None:
    fit = decay.fit_anchors(initial_s=5.0, p_initial=0.7, final_s=5.0, p_final=0.6, optics=ONE_CELL)
    assert bool(fit.not_decaying)
    assert np.isfinite(decay.anchor_sigma(fit, fit.course(np.array([0.0, 9.0])), 0.01, 0.01)).all()


@given(p=st.floats(-0.99, 0.99))
def test_the_flipping_ratio_and_the_polarization_are_each_others_inverse(p: float) -> None:
    ratio, _ = decay.flipping_ratio(np.array(p), np.array(0.01))
    assert decay.polarization_from_flipping_ratio(ratio) == pytest.approx(p, abs=1e-12)


def test_the_sigma_of_the_flipping_ratio_is_its_derivative_times_sigma() -> None:
    p, step = np.array([0.2, 0.8]), 1e-7
    upper, _ = decay.flipping_ratio(p + step, step * np.ones(2))
    lower, _ = decay.flipping_ratio(p - step, step * np.ones(2))
    _, sigma = decay.flipping_ratio(p, np.full(2, 0.01))
    assert sigma == pytest.approx((upper - lower) / (2 * step) * 0.01, rel=1e-5)


def test_the_flipping_ratio_of_full_polarization_is_infinite_and_beyond_it_undefined() -> None:
    ratio, sigma = decay.flipping_ratio(np.array([1.0, 1.01]), np.array([0.01, 0.01]))
    assert ratio[0] == np.inf
    assert sigma[0] == np.inf
    assert np.isnan(ratio[1])


def test_the_counting_error_is_that_of_poisson_counts() -> None:
    rng = np.random.default_rng(7)
    total, p = 40_000, 0.8
    up, down = rng.poisson(total * (1 + p) / 2, 50_000), rng.poisson(total * (1 - p) / 2, 50_000)
    assert ((up - down) / (up + down)).std() == pytest.approx(
        decay.counting_sigma(np.array(p), np.array(total)), rel=0.02
    )
    assert decay.counts_from_sigma(p, decay.counting_sigma(p, total)) == pytest.approx(total)
