"""Bragg conversions: textbook numbers, round trips, derivatives by finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import constants

from app.crystallography import bragg
from app.errors import InvalidInput

CU_KA1_ANG = 1.5405929


def test_silicon_111_with_copper_radiation() -> None:
    two_theta = bragg.two_theta_from_q2(q2_inv_ang2=3 / 5.431179**2, wavelength_ang=CU_KA1_ANG)
    assert two_theta == pytest.approx(28.441, abs=1e-3)  # NIST SRM 640e


def test_constants_against_scipy() -> None:
    h, c, m = constants.h, constants.c, constants.m_n
    kev = 1e3 * constants.e
    assert pytest.approx(h * c / kev * 1e10, rel=1e-12) == bragg.HC_KEV_ANG
    assert pytest.approx(h**2 / (2 * m) / (kev * 1e-6) * 1e20, rel=1e-8) == bragg.NEUTRON_MEV_ANG2


def test_a_thermal_neutron() -> None:
    assert bragg.wavelength_from_neutron_energy(energy_mev=25.3) == pytest.approx(1.798, abs=1e-3)
    assert bragg.wavelength_from_energy(energy_kev=8.04778) == pytest.approx(1.5406, abs=1e-4)


@settings(deadline=None, max_examples=50)
@given(st.floats(0.01, 179.9), st.floats(0.1, 5.0))
def test_two_theta_and_back(two_theta: float, wavelength: float) -> None:
    q2 = bragg.q2_from_two_theta(two_theta_deg=two_theta, wavelength_ang=wavelength)
    assert bragg.two_theta_from_q2(q2_inv_ang2=q2, wavelength_ang=wavelength) == pytest.approx(two_theta, rel=1e-6)


@settings(deadline=None, max_examples=50)
@given(st.floats(0.1, 100))
def test_other_round_trips(value: float) -> None:
    assert bragg.d_from_q(q_inv_ang=bragg.q_from_d(d_ang=value)) == pytest.approx(value)
    assert bragg.d_from_q2(q2_inv_ang2=bragg.q2_from_d(d_ang=value)) == pytest.approx(value)
    energy = bragg.energy_from_wavelength(wavelength_ang=value)
    assert bragg.wavelength_from_energy(energy_kev=energy) == pytest.approx(value)
    energy = bragg.neutron_energy_from_wavelength(wavelength_ang=value)
    assert bragg.wavelength_from_neutron_energy(energy_mev=energy) == pytest.approx(value)


@pytest.mark.parametrize("two_theta", [5.0, 60.0, 90.0, 150.0])
def test_zero_shift_derivative_is_a_finite_difference(two_theta: float) -> None:
    def q2(angle: float) -> float:
        return float(bragg.q2_from_two_theta(two_theta_deg=angle, wavelength_ang=CU_KA1_ANG))

    numeric = (q2(two_theta + 1e-4) - q2(two_theta - 1e-4)) / 2e-4
    slope = bragg.dq2_d_two_theta(q2_inv_ang2=q2(two_theta), wavelength_ang=CU_KA1_ANG)
    assert slope == pytest.approx(numeric, rel=1e-6)


def test_sigmas_go_there_and_back() -> None:
    q2 = np.array([0.01, 0.2, 1.0])
    sigma = bragg.sigma_q2_from_sigma_two_theta(sigma_two_theta_deg=0.02, q2_inv_ang2=q2, wavelength_ang=1.54)
    back = bragg.sigma_two_theta_from_sigma_q2(sigma_q2_inv_ang2=sigma, q2_inv_ang2=q2, wavelength_ang=1.54)
    np.testing.assert_allclose(back, 0.02)
    d = bragg.d_from_q2(q2_inv_ang2=q2)
    np.testing.assert_allclose(
        bragg.sigma_q2_from_sigma_d(sigma_d_ang=d * 1e-3, d_ang=d),
        bragg.sigma_q2_from_sigma_q(sigma_q_inv_ang=1e-3 / d, q_inv_ang=1 / d),
    )


def test_backscattering_has_no_finite_angle_error() -> None:
    q2 = bragg.q2_from_two_theta(two_theta_deg=180.0, wavelength_ang=1.0)
    assert bragg.sigma_two_theta_from_sigma_q2(sigma_q2_inv_ang2=1e-3, q2_inv_ang2=q2, wavelength_ang=1.0) > 1e6


@pytest.mark.parametrize("difa", [-1.5, 0.0, 2.0])
def test_time_of_flight_solves_its_equation(difa: float) -> None:
    d = np.array([0.4, 1.0, 3.5])
    tof = -3.0 + 5000 * d + difa * d**2
    np.testing.assert_allclose(bragg.d_from_tof(tof_us=tof, difc=5000, difa=difa, zero_us=-3.0), d, rtol=1e-12)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 0.0, -1.0])
def test_values_that_are_no_positions_are_refused(bad: float) -> None:
    for call in (
        lambda: bragg.q2_from_d(d_ang=[1.0, bad]),
        lambda: bragg.d_from_q(q_inv_ang=[1.0, bad]),
        lambda: bragg.q2_from_two_theta(two_theta_deg=[1.0, bad], wavelength_ang=1.0),
        lambda: bragg.q2_from_two_theta(two_theta_deg=[1.0], wavelength_ang=bad),
        lambda: bragg.two_theta_from_q2(q2_inv_ang2=bad, wavelength_ang=1.0),
    ):
        with pytest.raises(InvalidInput):
            call()


def test_a_line_beyond_the_limiting_sphere_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"lambda q / 2 > 1"):
        bragg.two_theta_from_q2(q2_inv_ang2=2.0, wavelength_ang=1.54)
    with pytest.raises(InvalidInput):
        bragg.d_from_tof(tof_us=100.0, difc=1.0, difa=-1.0)
