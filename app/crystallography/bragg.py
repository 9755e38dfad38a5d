"""Bragg's law between d, q, q^2, 2theta, energy and time of flight, with the propagation of errors.

q = 1/d without 2 pi. Every function is elementwise on arrays or numbers; angles are in degrees at the boundary.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from app.errors import InvalidInput

HC_KEV_ANG = 12.398419843320026
"""h c in keV Angstrom (CODATA 2018, exact since the SI of 2019)."""
NEUTRON_MEV_ANG2 = 81.80421025
"""h^2 / (2 m_n) in meV Angstrom^2: E = 81.804.../lambda^2 (CODATA 2018)."""

Values = Float[np.ndarray, "..."]


def _positive(name: str, value: ArrayLike) -> Values:
    array = np.asarray(value, dtype=float)
    if not (np.all(np.isfinite(array)) and np.all(array > 0)):
        raise InvalidInput(f"{name} holds a value that is not a positive number; give positive, finite numbers only.")
    return array


def d_from_q(*, q_inv_ang: ArrayLike) -> Values:
    """d = 1/q, Angstrom. Raises `InvalidInput` unless every q is positive and finite."""
    return 1 / _positive("q_inv_ang", q_inv_ang)


def q_from_d(*, d_ang: ArrayLike) -> Values:
    """q = 1/d, Angstrom^-1. Raises `InvalidInput` unless every d is positive and finite."""
    return 1 / _positive("d_ang", d_ang)


def q2_from_d(*, d_ang: ArrayLike) -> Values:
    """q^2 = 1/d^2, Angstrom^-2. Raises `InvalidInput` unless every d is positive and finite."""
    return _positive("d_ang", d_ang) ** -2


def d_from_q2(*, q2_inv_ang2: ArrayLike) -> Values:
    """d = 1/sqrt(q^2), Angstrom. Raises `InvalidInput` unless every q^2 is positive and finite."""
    return _positive("q2_inv_ang2", q2_inv_ang2) ** -0.5


def q2_from_two_theta(*, two_theta_deg: ArrayLike, wavelength_ang: float) -> Values:
    """q^2 = (2 sin(theta) / lambda)^2, Angstrom^-2.

    Raises:
        InvalidInput: 2theta is not a number above 0 and at most 180 degrees, or the wavelength is not positive.
    """
    two_theta = np.asarray(two_theta_deg, dtype=float)
    if not np.all((two_theta > 0) & (two_theta <= 180)):
        raise InvalidInput("two_theta_deg holds a value outside 0 to 180 degrees; give 2theta in degrees.")
    return (2 * np.sin(np.radians(two_theta) / 2) / _positive("wavelength_ang", wavelength_ang)) ** 2


def two_theta_from_q2(*, q2_inv_ang2: ArrayLike, wavelength_ang: float) -> Values:
    """2theta = 2 asin(lambda q / 2), degrees.

    Raises:
        InvalidInput: q^2 or the wavelength is not positive, or lambda q / 2 > 1: no such line at this wavelength.
    """
    sine = _sine(q2_inv_ang2=q2_inv_ang2, wavelength_ang=wavelength_ang)
    return 2 * np.degrees(np.arcsin(sine))


def _sine(*, q2_inv_ang2: ArrayLike, wavelength_ang: float) -> Values:
    sine = _positive("wavelength_ang", wavelength_ang) * np.sqrt(_positive("q2_inv_ang2", q2_inv_ang2)) / 2
    if np.any(sine > 1):
        shortest = float(wavelength_ang) / 2
        raise InvalidInput(
            f"A line with d below {shortest:.4g} Angstrom cannot be seen at a wavelength of "
            f"{float(wavelength_ang):.4g} Angstrom (lambda q / 2 > 1); check the wavelength and the unit of the lines."
        )
    return sine


def dq2_d_two_theta(*, q2_inv_ang2: ArrayLike, wavelength_ang: float) -> Values:
    """Derivative of q^2 with respect to 2theta, Angstrom^-2 per degree: what a zero shift of one degree moves.

    q^2 = 4 sin^2(theta)/lambda^2, so dq^2/d(2theta) = 2 sin(2theta)/lambda^2 per radian.

    Raises:
        InvalidInput: as `two_theta_from_q2`.
    """
    sine = _sine(q2_inv_ang2=q2_inv_ang2, wavelength_ang=wavelength_ang)
    sine_two_theta = 2 * sine * np.sqrt(1 - sine**2)
    return np.radians(2 * sine_two_theta / float(wavelength_ang) ** 2)


def sigma_q2_from_sigma_two_theta(
    *, sigma_two_theta_deg: ArrayLike, q2_inv_ang2: ArrayLike, wavelength_ang: float
) -> Values:
    """sigma(q^2) = |dq^2/d(2theta)| sigma(2theta), Angstrom^-2. Raises as `two_theta_from_q2`."""
    slope = dq2_d_two_theta(q2_inv_ang2=q2_inv_ang2, wavelength_ang=wavelength_ang)
    return slope * np.asarray(sigma_two_theta_deg, dtype=float)


def sigma_two_theta_from_sigma_q2(
    *, sigma_q2_inv_ang2: ArrayLike, q2_inv_ang2: ArrayLike, wavelength_ang: float
) -> Values:
    """sigma(2theta) = sigma(q^2) / |dq^2/d(2theta)|, degrees; infinite at 180. Raises as `two_theta_from_q2`."""
    slope = dq2_d_two_theta(q2_inv_ang2=q2_inv_ang2, wavelength_ang=wavelength_ang)
    sigma = np.asarray(sigma_q2_inv_ang2, dtype=float)
    return np.divide(sigma, slope, out=np.full(np.broadcast(sigma, slope).shape, np.inf), where=slope > 0)


def sigma_q2_from_sigma_d(*, sigma_d_ang: ArrayLike, d_ang: ArrayLike) -> Values:
    """sigma(q^2) = 2 sigma(d) / d^3, Angstrom^-2. Raises `InvalidInput` unless every d is positive."""
    return 2 * np.asarray(sigma_d_ang, dtype=float) * _positive("d_ang", d_ang) ** -3


def sigma_q2_from_sigma_q(*, sigma_q_inv_ang: ArrayLike, q_inv_ang: ArrayLike) -> Values:
    """sigma(q^2) = 2 q sigma(q), Angstrom^-2. Raises `InvalidInput` unless every q is positive."""
    return 2 * _positive("q_inv_ang", q_inv_ang) * np.asarray(sigma_q_inv_ang, dtype=float)


def wavelength_from_energy(*, energy_kev: ArrayLike) -> Values:
    """lambda = h c / E of X-rays, Angstrom. Raises `InvalidInput` unless the energy is positive."""
    return HC_KEV_ANG / _positive("energy_kev", energy_kev)


def energy_from_wavelength(*, wavelength_ang: ArrayLike) -> Values:
    """E = h c / lambda of X-rays, keV. Raises `InvalidInput` unless the wavelength is positive."""
    return HC_KEV_ANG / _positive("wavelength_ang", wavelength_ang)


def wavelength_from_neutron_energy(*, energy_mev: ArrayLike) -> Values:
    """lambda = sqrt(h^2 / (2 m_n E)) of neutrons, Angstrom; E in meV. Raises `InvalidInput` unless it is positive."""
    return np.sqrt(NEUTRON_MEV_ANG2 / _positive("energy_mev", energy_mev))


def neutron_energy_from_wavelength(*, wavelength_ang: ArrayLike) -> Values:
    """E = h^2 / (2 m_n lambda^2) of neutrons, meV. Raises `InvalidInput` unless the wavelength is positive."""
    return NEUTRON_MEV_ANG2 / _positive("wavelength_ang", wavelength_ang) ** 2


def d_from_tof(*, tof_us: ArrayLike, difc: float, difa: float = 0.0, zero_us: float = 0.0) -> Values:
    """Solve GSAS's tof = zero + difc d + difa d^2 for d, Angstrom.

    The root that goes to (tof - zero)/difc as difa goes to 0, written without cancellation. ``difc`` in us/Angstrom,
    ``difa`` in us/Angstrom^2.

    Raises:
        InvalidInput: a time at or before ``zero_us``, ``difc`` not positive, or no d has this time of flight.
    """
    flight = _positive("tof_us - zero_us", np.asarray(tof_us, dtype=float) - zero_us)
    slope = _positive("difc", difc)
    discriminant = slope**2 + 4 * float(difa) * flight
    if not np.all(discriminant >= 0):
        raise InvalidInput("No d has one of these times of flight with the given difc and difa; check the calibration.")
    return 2 * flight / (slope + np.sqrt(discriminant))
