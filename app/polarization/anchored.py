"""The anchored decay model: physics through both calibrations, bent by what is known of cell and set-up beforehand.

The physics curve through two calibrations carries their counting errors into every hour between them. But a cell's
lifetime T1 is known from earlier fillings, and what the filling laboratory measured promises an opacity. Where the
calibrations disagree with that, the disagreement is shared out between their errors and a departure of lifetime and
opacity in proportion to the variances (the linear Bayes estimator; Casella, The American Statistician 39 (1985) 83).
Now and then a filling is far off what is usual, so both departures follow Student's t: a large one is believed. What
is attributed to the calibrations is taken back between them, never at them:

    P(v) = P_physics(v) + w(v) S (a + b v),    v = 2 (t - t_0)/(t_1 - t_0) - 1,    w(v) = 1 - v^4
    sigma(v) = [(1 - v) s_0 + (1 + v) s_1]/2 exp(w(v) g),    S^2 = s_0^2 + s_1^2

A small network, trained on simulated decays only, gives what the linear estimate leaves over of (a, b), and g.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from app.polarization import decay
from app.polarization.correction import Curve
from app.polarization.decay import HOUR_S
from app.polarization.elementary import arcsinh, exp, held, hypot, log, sqrt
from app.polarization.experiment import Calibration, Cell, Material, Query

FEATURES = (
    "discrepancy",
    "opacity_discrepancy",
    "log_lifetime_spread",
    "log_opacity_spread",
    "log_sigma_ratio",
    "log_anchor_sensitivity",
    "initial_opacity",
    "final_opacity",
    "log_lifetimes",
    "log_sigma",
)
"""Inputs of the network, in order; all without unit. See `LinearEstimate.features`."""

HEADS = ("mean_even", "mean_odd", "log_sigma")
"""Outputs of the network, in order: corrections of a and b, and g."""

_EVEN_GAIN = 9 / 8
"""Least-squares amplitude of w against 1 on -1..1: (4/5)/(32/45)."""
_ODD_GAIN = 11 / 8
"""Least-squares amplitude of w v against v on -1..1: (4/21)/(32/231)."""
_MOST_LIFETIMES = 50.0
"""Between two calibrations; nothing is left of a polarization long before, and nothing may underflow."""
FREEDOM = 3.0
"""Degrees of freedom of Student's t for ln(T1) and for ln of the opacity: the smallest with a finite variance."""
_EM_STEPS = 4
"""Steps of the iteration for the widths of the two priors."""

Heads = Callable[[Float[np.ndarray, "batch feature"]], Float[np.ndarray, "batch head"]]


@dataclass(frozen=True)
class LifetimePrior:
    """What is known of a cell's T1 before a measurement: ln(T1/h) follows Student's t with `FREEDOM`.

    Attributes:
        log_t1_h: centre of ln(T1 / 1 h).
        spread: its scale.
    """

    log_t1_h: float
    spread: float


@dataclass(frozen=True)
class AnchoredParameters:
    """All that a retraining after a reactor cycle refits; stored in the manifest.

    Attributes:
        optics: amplitude and, with two cells, opacity ratio of the set-up.
        excess_sigma: scatter of a repeated calibration beyond its counting error (polarization, 1 sigma).
        network_gain: share of the network's corrections of a and b that held-out experiments bear out, 0 to 1.
        log_sigma_shift: added to g so that the intervals cover what they say (from held-out experiments).
        log_path_ang_cm: centre of ln(L lambda / 1 A cm), path in the cell times wavelength.
        path_spread: its scale among fillings; what the laboratory's polarization promises is no better than that.
        cells: lifetime prior of each known cell.
        unknown_cell: lifetime prior of any other.
    """

    optics: decay.Optics
    excess_sigma: float
    network_gain: float
    log_sigma_shift: float
    log_path_ang_cm: float
    path_spread: float
    cells: Mapping[str, LifetimePrior]
    unknown_cell: LifetimePrior

    @property
    def material(self) -> Material:
        return "crystalline" if self.optics.analyser_ratio is None else "amorphous"

    def lifetime(self, cell_id: str) -> LifetimePrior:
        return self.cells.get(cell_id, self.unknown_cell)


class Anchors(NamedTuple):
    """The calibrations of many experiments as arrays, each of shape ``batch``; of one as plain numbers.

    Attributes:
        duration_s: time between the two calibrations [s].
        initial, final: polarization at either end.
        initial_sigma, final_sigma: their standard deviations.
        log_t1_h, spread: the cell's `LifetimePrior`.
        log_opacity, opacity_spread: ln of the polarizer's opacity at the initial calibration that the filling
            laboratory promises, and its scale.
    """

    duration_s: Float[np.ndarray, "batch"]
    initial: Float[np.ndarray, "batch"]
    final: Float[np.ndarray, "batch"]
    initial_sigma: Float[np.ndarray, "batch"]
    final_sigma: Float[np.ndarray, "batch"]
    log_t1_h: Float[np.ndarray, "batch"]
    spread: Float[np.ndarray, "batch"]
    log_opacity: Float[np.ndarray, "batch"]
    opacity_spread: Float[np.ndarray, "batch"]


class LinearEstimate(NamedTuple):
    """The linear Bayes estimate, each field as in `Anchors` (features: always batch, feature).

    Attributes:
        initial_opacity, final_opacity: of the polarizer cell at the calibrations (clipped into the physical range).
        scale: S, the joint standard deviation of the two calibrations.
        mean_even, mean_odd: a and b, in units of `scale`.
        log_t1_h: posterior mean of ln(T1/h).
        log_t1_sigma: its posterior standard deviation.
        features: inputs of the network, order of `FEATURES`.
    """

    initial_opacity: Float[np.ndarray, "batch"]
    final_opacity: Float[np.ndarray, "batch"]
    scale: Float[np.ndarray, "batch"]
    mean_even: Float[np.ndarray, "batch"]
    mean_odd: Float[np.ndarray, "batch"]
    log_t1_h: Float[np.ndarray, "batch"]
    log_t1_sigma: Float[np.ndarray, "batch"]
    features: Float[np.ndarray, "batch feature"]


class Shape(NamedTuple):
    """One experiment's curve: the physics between its calibrations and the three numbers that bend it."""

    query: Query
    physics: decay.DecayFit
    even: float
    odd: float
    log_sigma: float
    log_t1_h: float
    log_t1_sigma: float


def anchors_from_queries(queries: Sequence[Query], parameters: AnchoredParameters) -> Anchors:
    """The calibrations of the queries beside what is known of their cells."""
    return Anchors(*np.array([_anchors_row(query, parameters) for query in queries], dtype=float).T)


def _anchors_row(query: Query, parameters: AnchoredParameters) -> tuple[float, ...]:
    initial, final = query.initial, query.final
    prior = parameters.lifetime(query.polarizer.cell_id)
    return (
        final.time_s - initial.time_s,
        initial.polarization,
        final.polarization,
        initial.sigma,
        final.sigma,
        prior.log_t1_h,
        prior.spread,
        promised_log_opacity(query.polarizer, initial.time_s - query.lab_time_s, prior, parameters),
        parameters.path_spread,
    )


def linear_estimate(anchors: Anchors, parameters: AnchoredParameters) -> LinearEstimate:
    """Share the disagreement with lifetime and opacity out by variance.

    With phi_1 = phi_0 exp(-t/T1) the physics and G = dP/d ln(phi): c = dP_1/dP_0 = G_1/G_0 and J = dP_1/d ln(T1) =
    G_1 t/T1, at the measured phi_0 and the usual T1. What disagrees, to first order in the calibrations' errors e and
    the departures d of ln(phi_0) and ln(T1) from what is usual:

        D_0 = G_0 ln(phi_0/phi_promised) = e_0 + G_0 d_phi,    D_1 = P_1 - P(phi_1) = e_1 - c e_0 + J d_T

    All four have known variances; the estimate is their covariance with (D_0, D_1) times its inverse covariance.
    The widths of the departures are those of Student's t as a mixture of normal laws, found by EM (Lange, Little and
    Taylor, J. Am. Stat. Assoc. 84 (1989) 881).
    """
    optics = parameters.optics
    s0 = hypot(anchors.initial_sigma, parameters.excess_sigma)
    s1 = hypot(anchors.final_sigma, parameters.excess_sigma)
    scale = hypot(s0, s1)
    phi0 = decay.opacity_from_polarization(anchors.initial, optics)
    phi1 = decay.opacity_from_polarization(anchors.final, optics)
    lifetimes = held(anchors.duration_s / HOUR_S * exp(-anchors.log_t1_h), 0.0, _MOST_LIFETIMES)
    foretold = phi0 * exp(-lifetimes)
    gain0 = decay.polarization_per_log_opacity(phi0, optics)
    gain1 = decay.polarization_per_log_opacity(foretold, optics)
    c, slope = gain1 / gain0, gain1 * lifetimes
    d0 = gain0 * (log(phi0) - anchors.log_opacity)
    d1 = anchors.final - decay.neutron_polarization(foretold, optics)
    shared = _share(s0, s1, c, gain0, slope, d0, d1, anchors.opacity_spread, anchors.spread)
    initial_error, final_error = shared.initial_error / scale, shared.final_error / scale
    features = (
        arcsinh(d1 / sqrt(s1**2 + (c * s0) ** 2 + (slope * anchors.spread) ** 2)),
        arcsinh(d0 / hypot(s0, gain0 * anchors.opacity_spread)),
        log(anchors.spread * slope / scale),
        log(anchors.opacity_spread * gain0 / scale),
        log(s1 / s0),
        log(c),
        phi0,
        phi1,
        log(lifetimes),
        log(scale),
    )
    return LinearEstimate(
        initial_opacity=phi0,
        final_opacity=phi1,
        scale=scale,
        mean_even=-(initial_error + final_error) / 2 * _EVEN_GAIN,
        mean_odd=-(final_error - initial_error) / 2 * _ODD_GAIN,
        log_t1_h=anchors.log_t1_h + shared.departure,
        log_t1_sigma=shared.departure_sigma,
        features=np.stack(features, axis=-1) if isinstance(scale, np.ndarray) else np.array([features]),
    )


class _Shared(NamedTuple):
    initial_error: Any
    final_error: Any
    departure: Any
    departure_sigma: Any


def _share(
    s0: Any, s1: Any, c: Any, gain: Any, slope: Any, d0: Any, d1: Any, opacity_spread: Any, lifetime_spread: Any
) -> _Shared:
    """Solve the two equations of `linear_estimate` for the errors and the departure of the lifetime.

    With V the covariance of (D_0, D_1), (x_0, x_1) = V^-1 (D_0, D_1); V_00 and V_11 hold the departures' variances.
    """
    opacity2, lifetime2 = opacity_spread**2, lifetime_spread**2
    own0, own1, v01 = s0**2, s1**2 + (c * s0) ** 2, -c * s0**2
    gain2, slope2 = gain**2, slope**2
    for _ in range(_EM_STEPS):
        v00, v11 = own0 + gain2 * opacity2, own1 + slope2 * lifetime2
        determinant = v00 * v11 - v01**2
        opacity_departure = gain * opacity2 * (v11 * d0 - v01 * d1) / determinant
        lifetime_departure = slope * lifetime2 * (v00 * d1 - v01 * d0) / determinant
        opacity_left = opacity2 - gain2 * opacity2**2 * v11 / determinant
        lifetime_left = lifetime2 - slope2 * lifetime2**2 * v00 / determinant
        opacity2 = _widened(opacity_spread, opacity_departure, opacity_left)
        lifetime2 = _widened(lifetime_spread, lifetime_departure, lifetime_left)
    v00, v11 = own0 + gain2 * opacity2, own1 + slope2 * lifetime2
    determinant = v00 * v11 - v01**2
    x0, x1 = (v11 * d0 - v01 * d1) / determinant, (v00 * d1 - v01 * d0) / determinant
    lifetime_left = lifetime2 - slope2 * lifetime2**2 * v00 / determinant
    return _Shared(own0 * (x0 - c * x1), s1**2 * x1, slope * lifetime2 * x1, sqrt(lifetime_left))


def _widened(spread: Any, departure: Any, left: Any) -> Any:
    """Variance of the normal law that stands for Student's t, given a departure and the variance that is left of it."""
    return (FREEDOM * spread**2 + departure**2 + left) / (FREEDOM + 1)


def shapes(queries: Sequence[Query], parameters: AnchoredParameters, heads: Heads) -> list[Shape]:
    """The curves of many experiments, the network asked once for all of them."""
    linear = _estimates(queries, parameters)
    rest = heads(linear.features).tolist()
    columns = _OF_SHAPE(linear)
    rows: Iterable[tuple[float, ...]] = [columns]
    if isinstance(linear.scale, np.ndarray):
        rows = zip(*(column.tolist() for column in columns), strict=True)
    return [_shape(query, parameters, row, own) for query, row, own in zip(queries, rows, rest, strict=True)]


_OF_SHAPE = attrgetter("initial_opacity", "final_opacity", "scale", "mean_even", "mean_odd", "log_t1_h", "log_t1_sigma")


def _estimates(queries: Sequence[Query], parameters: AnchoredParameters) -> LinearEstimate:
    """Arrays for many, plain numbers for one: that is several times faster than arrays of one element."""
    if len(queries) == 1:
        try:
            row: Any = _anchors_row(queries[0], parameters)
            return linear_estimate(Anchors(*row), parameters)
        except (ArithmeticError, ValueError):
            pass  # calibrations beyond all measure: arrays give an infinity or NaN where plain numbers raise
    return linear_estimate(anchors_from_queries(queries, parameters), parameters)


def _shape(query: Query, parameters: AnchoredParameters, row: Sequence[float], rest: Sequence[float]) -> Shape:
    phi0, phi1, scale, mean_even, mean_odd, log_t1_h, log_t1_sigma = row
    even, odd, log_sigma = rest
    first, last, gain = query.initial, query.final, parameters.network_gain
    return Shape(
        query=query,
        physics=decay.decay_between(
            (first.time_s, first.polarization, phi0), (last.time_s, last.polarization, phi1), parameters.optics
        ),
        even=scale * (mean_even + gain * even),
        odd=scale * (mean_odd + gain * odd),
        log_sigma=log_sigma + parameters.log_sigma_shift,
        log_t1_h=log_t1_h,
        log_t1_sigma=log_t1_sigma,
    )


def curve(shape: Shape, course: decay.Course) -> Curve:
    """Mean and sigma of the polarization at the times of a course of ``shape.physics``.

    Before the first and after the last calibration the decay goes on from that calibration with the expected
    lifetime; sigma grows with the lifetime's own uncertainty.
    """
    if course.is_between:
        return _bent(shape, course.u, course.rest, course.mean)
    physics, optics = shape.physics, shape.physics.optics
    inside = np.minimum(np.maximum(course.u, 0.0), 1.0)
    beyond = (course.u - inside) * ((physics.final_s - physics.initial_s) / HOUR_S * math.exp(-shape.log_t1_h))
    log_phi = physics.log_phi_initial + inside * (physics.log_phi_final - physics.log_phi_initial) - beyond
    phi = np.exp(np.minimum(log_phi, decay.LARGEST_LOG_OPACITY))
    bent = _bent(shape, inside, 1 - inside, decay.neutron_polarization(phi, optics))
    lifetime_sigma = decay.polarization_per_log_opacity(phi, optics) * beyond * shape.log_t1_sigma
    return Curve(bent.mean, np.hypot(bent.sigma, lifetime_sigma))


def _bent(
    shape: Shape, u: Float[np.ndarray, "time"], rest: Float[np.ndarray, "time"], physics: Float[np.ndarray, "time"]
) -> Curve:
    """Mean and sigma between the calibrations, u from 0 to 1 and rest = 1 - u."""
    v, weight = u - rest, window(u)
    between = rest * shape.query.initial.sigma + u * shape.query.final.sigma
    return Curve(physics + weight * (shape.even + shape.odd * v), between * np.exp(weight * shape.log_sigma))


def window(u: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Give w = 1 - (2u - 1)^4: 0 at the calibrations, near 1 over most of what lies between."""
    v = 2 * u - 1
    return 1 - (v * v) ** 2


def log_laboratory_gas(polarizer: Cell) -> float:
    """Give ln of the opacity per A cm that the filling laboratory measured."""
    return math.log(decay.OPACITY_PER_BAR_CM_ANG * polarizer.pressure_bar * polarizer.lab_polarization)


def promised_log_opacity(
    polarizer: Cell, since_filling_s: float, prior: LifetimePrior, parameters: AnchoredParameters
) -> float:
    """Give ln of the opacity that the laboratory's 3He polarization promises so many seconds after it was measured."""
    return (
        log_laboratory_gas(polarizer)
        + parameters.log_path_ang_cm
        - since_filling_s / HOUR_S * math.exp(-prior.log_t1_h)
    )


def foretold(
    calibration: Calibration, prior: LifetimePrior, optics: decay.Optics, time_s: Float[np.ndarray, "time"]
) -> Curve:
    """Follow the decay from one calibration, forward or backward, with nothing but the cell's usual lifetime."""
    lifetimes = (np.asarray(time_s, dtype=float) - calibration.time_s) / HOUR_S * math.exp(-prior.log_t1_h)
    start = decay.opacity_from_polarization(np.asarray(calibration.polarization), optics)
    phi = np.exp(np.minimum(np.log(start) - lifetimes, decay.LARGEST_LOG_OPACITY))
    gain = decay.polarization_per_log_opacity(phi, optics)
    calibration_error = gain / decay.polarization_per_log_opacity(start, optics) * calibration.sigma
    mean = decay.neutron_polarization(phi, optics)
    return Curve(mean, np.hypot(calibration_error, gain * lifetimes * prior.spread))


def laboratory_calibration(polarizer: Cell, lab_time_s: float, parameters: AnchoredParameters) -> Calibration:
    """Give the neutron polarization that the filling laboratory's 3He polarization promises."""
    prior = parameters.lifetime(polarizer.cell_id)
    phi = np.exp(np.array(promised_log_opacity(polarizer, 0.0, prior, parameters)))
    gain = decay.polarization_per_log_opacity(phi, parameters.optics)
    promised = decay.neutron_polarization(phi, parameters.optics)
    return Calibration(lab_time_s, float(promised), float(gain * parameters.path_spread))
