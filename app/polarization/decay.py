"""3He physics: how a spin filter's neutron polarization falls between two calibrations.

A cell's 3He polarization decays as exp(-t/T1). Its opacity phi is proportional to it, and the cell polarizes (or
analyses) neutrons with the efficiency tanh(phi). Hence ln(phi) is a straight line in time, and two measured
polarizations fix the whole curve once the amplitude A (everything that does not decay) is known:

    crystalline set-up, one cell:    P = A tanh(phi)
    amorphous set-up, two cells:     P = A tanh(phi) tanh(r phi),    r = analyser's opacity / polarizer's opacity

Source of the equations: K. P. Coulter et al., Nucl. Instrum. Methods A 270 (1988) 90; Mantid, *Polarizer efficiency*
(algorithm HeliumAnalyserEfficiency), which also gives the opacity constant.

What is made for every request is a named tuple: a frozen dataclass takes several times as long to make.
A fit that has no answer is data, not an exception: see `DecayFit.beyond_amplitude` and `DecayFit.not_decaying`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from app.polarization.elementary import Numbers, arctanh, cosh, exp, held, hypot, largest, log, smallest, sqrt, tanh

HOUR_S: Final = 3600.0

OPACITY_PER_BAR_CM_ANG: Final = 0.0733
"""Opacity of fully polarized 3He per bar, cm and angstrom (Mantid, HeliumAnalyserEfficiency)."""

SATURATION_MARGIN: Final = 5e-4
"""P/A is held below 1 - this: there tanh is flat, and counting errors say nothing about the opacity any more."""

SMALLEST_RATIO: Final = 1e-3
"""P/A is held above this: a filter that polarizes less is empty, and the logarithm of its opacity has no meaning."""

LARGEST_LOG_OPACITY: Final = 5.0
"""ln(phi) is held below this: tanh is 1 long before, and cosh^2 would overflow long after."""

_NEWTON_STEPS: Final = 40
_NEWTON_TOLERANCE: Final = 1e-13

Array = Float[np.ndarray, "..."]
"""Any shape; arguments broadcast against each other."""


@dataclass(frozen=True)
class Optics:
    """What of a set-up does not decay.

    Attributes:
        amplitude: A, the neutron polarization behind infinitely opaque cells.
        analyser_ratio: r, opacity of the analyser cell over that of the polarizer; None with one cell.
    """

    amplitude: float
    analyser_ratio: float | None = None


def he3_polarization(time_s: Array, p0: Array | float, t1_s: Array | float) -> Array:
    """Give the 3He polarization p0 exp(-t/T1)."""
    return p0 * np.exp(-np.asarray(time_s) / t1_s)


def opacity(
    *, pressure_bar: Array | float, length_cm: Array | float, wavelength_ang: Array | float, p_he3: Array | float
) -> Array:
    """Give phi = 0.0733 p L lambda P_He, dimensionless."""
    return np.asarray(OPACITY_PER_BAR_CM_ANG * pressure_bar * length_cm * wavelength_ang * p_he3)


def neutron_polarization(phi: Any, optics: Optics) -> Any:
    """Give P = A tanh(phi), times tanh(r phi) where there is an analyser cell; phi is a number or an array."""
    one_cell = optics.amplitude * tanh(phi)
    return one_cell if optics.analyser_ratio is None else one_cell * tanh(optics.analyser_ratio * phi)


def polarization_per_log_opacity(phi: Any, optics: Optics) -> Any:
    """Give dP/d ln(phi), the sensitivity by which errors travel along the curve; phi is a number or an array."""
    one_cell = phi / cosh(phi) ** 2
    if optics.analyser_ratio is None:
        return optics.amplitude * one_cell
    x = optics.analyser_ratio * phi
    return optics.amplitude * (one_cell * tanh(x) + tanh(phi) * x / cosh(x) ** 2)


def opacity_from_polarization(polarization: Any, optics: Optics) -> Any:
    """Invert `neutron_polarization`: closed form with one cell, Newton's method with two.

    P/A is first held inside [SMALLEST_RATIO, 1 - SATURATION_MARGIN].
    """
    efficiency = held(polarization / optics.amplitude, SMALLEST_RATIO, 1 - SATURATION_MARGIN)
    if optics.analyser_ratio is None:
        return arctanh(efficiency)
    return _two_cell_opacity(efficiency, optics.analyser_ratio)


def _two_cell_opacity(efficiency: Any, ratio: float) -> Any:
    """Solve ln tanh(phi) + ln tanh(r phi) = ln(efficiency) for phi.

    As a function of ln(phi) the left side rises and is concave, and tanh(x) <= x puts the start sqrt(efficiency/r) at
    or left of the root: Newton's iterates climb to the root and never pass it.
    """
    phi = sqrt(efficiency / ratio)
    for _ in range(_NEWTON_STEPS):
        first, second = tanh(phi), tanh(ratio * phi)
        slope = phi * ((1 / first - first) + ratio * (1 / second - second))
        step = log(efficiency / (first * second)) / slope
        phi = phi * exp(step)
        if largest(abs(step)) < _NEWTON_TOLERANCE:
            break
    return phi


class DecayFit(NamedTuple):
    """The decay that passes through two anchors; plain numbers for one, arrays that broadcast for many experiments.

    Attributes:
        initial_s, final_s: times of the anchors [s].
        log_phi_initial, log_phi_final: ln of the polarizer's opacity at the anchors.
        rate_per_s: 1/T1; zero or negative where the polarization does not fall.
        beyond_amplitude: an anchor has P >= A (or P <= 0): its opacity is held at a limit and the curve misses it.
        not_decaying: the final anchor is not below the initial one: T1 has no value.
        optics: the set-up's constants that the fit assumed.
    """

    initial_s: Numbers
    final_s: Numbers
    log_phi_initial: Numbers
    log_phi_final: Numbers
    rate_per_s: Numbers
    beyond_amplitude: bool | Bool[np.ndarray, "..."]
    not_decaying: bool | Bool[np.ndarray, "..."]
    optics: Optics

    @property
    def t1_s(self) -> Array:
        """T1 [s], NaN where the polarization does not fall."""
        rate = np.asarray(self.rate_per_s)
        return np.divide(1.0, rate, out=np.full_like(rate, np.nan), where=np.logical_not(self.not_decaying))

    def course(self, time_s: Array) -> Course:
        """The decay at these times, also outside the anchors. ln(phi) is linear in time, to `LARGEST_LOG_OPACITY`."""
        since_s = time_s - self.initial_s
        phi = exp(np.minimum(self.log_phi_initial - self.rate_per_s * since_s, LARGEST_LOG_OPACITY))
        mean, gain = neutron_polarization(phi, self.optics), polarization_per_log_opacity(phi, self.optics)
        u = _share(since_s, self.final_s - self.initial_s)
        is_between = bool(u.size) and smallest(u) >= 0 and largest(u) <= 1
        return Course(time_s, u, 1 - u, mean, gain, is_between)

    def polarization(self, time_s: Array) -> Array:
        """Neutron polarization at these times, also outside the anchors."""
        return self.course(np.asarray(time_s)).mean


class Course(NamedTuple):
    """One decay at some times; arrays of shape ``time``.

    Attributes:
        time_s: the times [s, on the anchors' clock].
        u: 0 at the initial anchor, 1 at the final one (0 everywhere where they coincide).
        rest: 1 - u.
        mean: neutron polarization.
        gain: dP/d ln(phi).
        is_between: whether all times are between the anchors.
    """

    time_s: Array
    u: Array
    rest: Array
    mean: Array
    gain: Array
    is_between: bool


def _share(since: Array, span: Numbers) -> Array:
    if type(span) is float and span != 0:
        return since / span
    return np.divide(since, span, out=np.zeros(np.shape(since + span)), where=span != 0)


def fit_anchors(
    *,
    initial_s: Array | float,
    p_initial: Array | float,
    final_s: Array | float,
    p_final: Array | float,
    optics: Optics,
) -> DecayFit:
    """Find the decay through two measured polarizations. No fit is involved: two unknowns, two equations.

    Args:
        initial_s, final_s: times of the anchors [s]; where they are equal the rate is 0 and `not_decaying` is set.
        p_initial, p_final: neutron polarizations there.
        optics: amplitude and, with two cells, the opacity ratio.
    """
    t0, p0, t1, p1 = np.broadcast_arrays(
        *(np.asarray(a, dtype=float) for a in (initial_s, p_initial, final_s, p_final))
    )
    polarizations = np.stack([p0, p1])
    log_phi = np.log(opacity_from_polarization(polarizations, optics))
    span = t1 - t0
    rate = np.divide(log_phi[0] - log_phi[1], span, out=np.zeros_like(span), where=span != 0)
    outside = np.any((polarizations >= optics.amplitude) | (polarizations <= 0), axis=0)
    return DecayFit(t0, t1, log_phi[0], log_phi[1], rate, np.asarray(outside), rate <= 0, optics)


def decay_between(initial: tuple[float, float, float], final: tuple[float, float, float], optics: Optics) -> DecayFit:
    """Give `fit_anchors` for one pair whose opacities are known already, some ten times faster.

    Args:
        initial, final: time [s], polarization, opacity; at different times.
        optics: the set-up's constants behind the opacities.
    """
    (t0, p0, phi0), (t1, p1, phi1) = initial, final
    log0, log1 = math.log(phi0), math.log(phi1)
    rate = (log0 - log1) / (t1 - t0)
    outside = not (0 < p0 < optics.amplitude and 0 < p1 < optics.amplitude)
    return DecayFit(t0, t1, log0, log1, rate, outside, rate <= 0, optics)


def anchor_sigma(fit: DecayFit, course: Course, sigma_initial: Numbers, sigma_final: Numbers) -> Array:
    """Propagate the anchors' errors to the curve, to first order.

    With ln(phi) linear in time and s = dP/d ln(phi): dP(t)/dP0 = (1-u) s(t)/s(t0) and dP(t)/dP1 = u s(t)/s(t1), where
    u = (t-t0)/(t1-t0). At an anchor this is the anchor's own error; outside it grows. Where an anchor is at the
    saturation of tanh its s is small and the error is large: that is so, a saturated filter tells little about T1.
    """
    initial = sigma_initial / polarization_per_log_opacity(exp(fit.log_phi_initial), fit.optics)
    final = sigma_final / polarization_per_log_opacity(exp(fit.log_phi_final), fit.optics)
    return course.gain * hypot(course.rest * initial, course.u * final)


def t1_sigma_s(fit: DecayFit, sigma_initial: Array | float, sigma_final: Array | float) -> Array:
    """Propagate the anchors' errors to T1 [s]: sigma(T1) = T1^2 sigma(rate). NaN where T1 is."""
    span = fit.final_s - fit.initial_s
    log_errors = [
        sigma / polarization_per_log_opacity(exp(log_phi), fit.optics)
        for sigma, log_phi in ((sigma_initial, fit.log_phi_initial), (sigma_final, fit.log_phi_final))
    ]
    return fit.t1_s**2 * hypot(*log_errors) / np.where(fit.not_decaying, np.nan, span)


def time_until(fit: DecayFit, threshold: Array | float) -> Array:
    """Give the time [s, on the anchors' clock] at which P falls under a threshold: T1 ln(phi0/phi_x) after the start.

    Smaller than `initial_s` where it has fallen already. NaN where it never does: no decay, or a threshold that is not
    between 0 and A.
    """
    threshold = np.asarray(threshold, dtype=float)
    asked = (threshold > 0) & (threshold < fit.optics.amplitude)
    log_phi = np.log(opacity_from_polarization(threshold, fit.optics))
    return np.where(asked, fit.initial_s + fit.t1_s * (fit.log_phi_initial - log_phi), np.nan)


def flipping_ratio(polarization: Array, sigma: Array) -> tuple[Array, Array]:
    """Give R = (1+P)/(1-P) and its sigma 2 sigma_P/(1-P)^2. Infinite at P = 1, NaN beyond."""
    p, s = np.asarray(polarization, dtype=float), np.asarray(sigma, dtype=float)
    if p.size and smallest(p) >= -1 and largest(p) < 1:
        return _ratio(p, s, 1 - p)
    with np.errstate(divide="ignore"):
        return _ratio(p, s, np.where(np.abs(p) <= 1, 1 - p, np.nan))


def _ratio(p: Array, s: Array, rest: Array) -> tuple[Array, Array]:
    return (1 + p) / rest, 2 * s / rest**2


def polarization_from_flipping_ratio(ratio: Array) -> Array:
    """Give P = (R-1)/(R+1)."""
    ratio = np.asarray(ratio, dtype=float)
    return (ratio - 1) / (ratio + 1)


def polarization_sigma_from_flipping_ratio(ratio: Array, sigma: Array) -> Array:
    """Give sigma_P = 2 sigma_R/(R+1)^2."""
    return 2 * np.asarray(sigma) / (np.asarray(ratio) + 1) ** 2


def counting_sigma(polarization: Array, counts: Array) -> Array:
    """Give sigma_P = sqrt((1-P^2)/N) for N counts in both spin states together (Poisson statistics)."""
    return np.sqrt((1 - np.asarray(polarization) ** 2) / counts)


def counts_from_sigma(polarization: Array, sigma: Array) -> Array:
    """Give the counts N that a counting error tells of: `counting_sigma` inverted."""
    return (1 - np.asarray(polarization) ** 2) / np.asarray(sigma) ** 2
