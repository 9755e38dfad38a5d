"""The anchored decay model: physics through both calibrations, bent by what is known of the cell's lifetime.

The physics curve through two calibrations carries their counting errors into every hour between them. A cell's
lifetime T1 is known from earlier fillings, so the last calibration can be foretold from the first; where the two
disagree, the disagreement D is shared out between the errors of the calibrations and a departure of the lifetime in
proportion to their variances (the linear Bayes estimator; Casella, The American Statistician 39 (1985) 83). Now and
then a filling is far off its usual lifetime, so ln(T1) follows Student's t: a large departure is believed. What is
attributed to the calibrations is taken back between them, never at them:

    P(u) = P_physics(u) + 4u(1-u) S [a + b(2u-1)],    u = (t - t_0)/(t_1 - t_0),  S^2 = s_0^2 + s_1^2
    sigma(u) = [(1-u) s_0 + u s_1] exp(4u(1-u) g)

A small network, trained on simulated decays only, gives what the linear estimate leaves over of (a, b), and g.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from app.polarization import decay
from app.polarization.correction import Curve
from app.polarization.experiment import Calibration, Cell, Material, Query

FEATURES = (
    "discrepancy",
    "log_lifetime_spread",
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

_EVEN_GAIN = 5 / 4
"""Least-squares amplitude of 4u(1-u) against 1 on 0..1: (2/3)/(8/15)."""
_ODD_GAIN = 7 / 4
"""Least-squares amplitude of 4u(1-u)(2u-1) against (2u-1) on 0..1: (2/15)/(8/105)."""
_HOUR_S = 3600.0
LIFETIME_FREEDOM = 3.0
"""Degrees of freedom of Student's t for ln(T1): the smallest with a finite variance."""
_LIFETIME_STEPS = 4
"""Steps of the EM iteration for the width of the lifetime's prior."""

Batch = Float[np.ndarray, "batch"]
Heads = Callable[[Float[np.ndarray, "batch feature"]], Float[np.ndarray, "batch head"]]


@dataclass(frozen=True)
class LifetimePrior:
    """What is known of a cell's T1 before a measurement: ln(T1/h) follows Student's t with `LIFETIME_FREEDOM`.

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
        log_sigma_shift: added to g so that the intervals cover what they say (from held-out experiments).
        log_path_ang_cm: mean of ln(L lambda / 1 A cm), path in the cell times wavelength.
        path_spread: its standard deviation among fillings; the laboratory's polarization is no better than that.
        cells: lifetime prior of each known cell.
        unknown_cell: lifetime prior of any other.
    """

    optics: decay.Optics
    excess_sigma: float
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


@dataclass(frozen=True)
class Anchors:
    """The calibrations of many experiments as arrays, each of shape ``batch``.

    Attributes:
        duration_s: time between the two calibrations [s].
        initial, final: polarization at either end.
        initial_sigma, final_sigma: their standard deviations.
        log_t1_h, spread: the cell's `LifetimePrior`.
    """

    duration_s: Float[np.ndarray, "batch"]
    initial: Float[np.ndarray, "batch"]
    final: Float[np.ndarray, "batch"]
    initial_sigma: Float[np.ndarray, "batch"]
    final_sigma: Float[np.ndarray, "batch"]
    log_t1_h: Float[np.ndarray, "batch"]
    spread: Float[np.ndarray, "batch"]


@dataclass(frozen=True)
class LinearEstimate:
    """The linear Bayes estimate for a batch of experiments, each field of shape ``batch`` (features: batch, feature).

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


@dataclass(frozen=True)
class Shape:
    """One experiment's curve: the physics between its calibrations and the three numbers that bend it."""

    parameters: AnchoredParameters
    query: Query
    initial_opacity: float
    final_opacity: float
    even: float
    odd: float
    log_sigma: float
    log_t1_h: float
    log_t1_sigma: float


def anchors_from_queries(queries: Sequence[Query], parameters: AnchoredParameters) -> Anchors:
    """The calibrations of the queries beside what is known of their cells."""
    rows = [
        (
            query.final.time_s - query.initial.time_s,
            query.initial.polarization,
            query.final.polarization,
            query.initial.sigma,
            query.final.sigma,
            prior.log_t1_h,
            prior.spread,
        )
        for query in queries
        for prior in (parameters.lifetime(query.polarizer.cell_id),)
    ]
    return Anchors(*np.array(rows, dtype=float).T)


def linear_estimate(anchors: Anchors, parameters: AnchoredParameters) -> LinearEstimate:
    """Share the disagreement between both calibrations and the cell's usual lifetime out by variance.

    With phi_1 = phi_0 exp(-t/T1) the physics and G = dP/d ln(phi): c = dP_1/dP_0 = G(phi_1)/G(phi_0) and
    J = dP_1/d ln(T1) = G(phi_1) t/T1, both at the prior's centre. D = P_1 - P(phi_1) has the variance
    V = s_1^2 + c^2 s_0^2 + J^2 w^2; the expected errors are e_0 = -c s_0^2 D/V and e_1 = s_1^2 D/V, and ln(T1) departs
    from its centre by J w^2 D/V. The width w is that of Student's t as a mixture of normal laws, found by EM (Lange,
    Little and Taylor, J. Am. Stat. Assoc. 84 (1989) 881).
    """
    optics = parameters.optics
    s0 = np.hypot(anchors.initial_sigma, parameters.excess_sigma)
    s1 = np.hypot(anchors.final_sigma, parameters.excess_sigma)
    scale = np.hypot(s0, s1)
    phi0 = decay.opacity_from_polarization(anchors.initial, optics)
    lifetimes = anchors.duration_s / _HOUR_S * np.exp(-anchors.log_t1_h)
    foretold = phi0 * np.exp(-lifetimes)
    gain = decay.polarization_per_log_opacity(foretold, optics)
    c = gain / decay.polarization_per_log_opacity(phi0, optics)
    slope = gain * lifetimes
    discrepancy = anchors.final - decay.neutron_polarization(foretold, optics)
    known = s1**2 + (c * s0) ** 2
    width2 = _lifetime_variance(discrepancy, slope, known, anchors.spread)
    variance = known + slope**2 * width2
    departure = slope * width2 * discrepancy / variance
    initial_error = -c * s0**2 * discrepancy / variance / scale
    final_error = s1**2 * discrepancy / variance / scale
    phi1 = decay.opacity_from_polarization(anchors.final, optics)
    features = (
        np.arcsinh(discrepancy / np.sqrt(known + (slope * anchors.spread) ** 2)),
        np.log(anchors.spread * slope / scale),
        np.log(s1 / s0),
        np.log(c),
        phi0,
        phi1,
        np.log(lifetimes),
        np.log(scale),
    )
    return LinearEstimate(
        initial_opacity=phi0,
        final_opacity=phi1,
        scale=scale,
        mean_even=-(initial_error + final_error) / 2 * _EVEN_GAIN,
        mean_odd=-(final_error - initial_error) / 2 * _ODD_GAIN,
        log_t1_h=anchors.log_t1_h + departure,
        log_t1_sigma=np.sqrt(width2 * known / variance),
        features=np.stack(features, axis=-1),
    )


def _lifetime_variance(discrepancy: Batch, slope: Batch, known: Batch, spread: Batch) -> Batch:
    """Variance of the normal law that stands for Student's t of ln(T1), given the disagreement."""
    width2 = spread**2
    for _ in range(_LIFETIME_STEPS):
        variance = known + slope**2 * width2
        expected = (slope * width2 * discrepancy / variance) ** 2 + width2 * known / variance
        width2 = (LIFETIME_FREEDOM * spread**2 + expected) / (LIFETIME_FREEDOM + 1)
    return width2


def shapes(queries: Sequence[Query], parameters: AnchoredParameters, heads: Heads) -> list[Shape]:
    """The curves of many experiments, the network asked once for all of them."""
    linear = linear_estimate(anchors_from_queries(queries, parameters), parameters)
    rest = np.asarray(heads(linear.features), dtype=float)
    even = linear.scale * (linear.mean_even + rest[:, 0])
    odd = linear.scale * (linear.mean_odd + rest[:, 1])
    log_sigma = rest[:, 2] + parameters.log_sigma_shift
    columns = np.stack(
        [
            linear.initial_opacity,
            linear.final_opacity,
            even,
            odd,
            log_sigma,
            linear.log_t1_h,
            linear.log_t1_sigma,
        ],
        axis=-1,
    )
    return [Shape(parameters, query, *row) for query, row in zip(queries, columns.tolist(), strict=True)]


def curve(shape: Shape, time_s: Float[np.ndarray, "time"]) -> Curve:
    """Mean and sigma of the polarization at ``time_s`` (seconds, as in the query's calibrations).

    Before the first and after the last calibration the decay goes on from that calibration with the expected
    lifetime; sigma grows with the lifetime's own uncertainty.
    """
    query, optics = shape.query, shape.parameters.optics
    duration = query.final.time_s - query.initial.time_s
    u = (time_s - query.initial.time_s) / duration
    inside = np.clip(u, 0.0, 1.0)
    beyond = (u - inside) * duration / _HOUR_S * math.exp(-shape.log_t1_h)
    phi = shape.initial_opacity * (shape.final_opacity / shape.initial_opacity) ** inside * np.exp(-beyond)
    weight = 4 * inside * (1 - inside)
    mean = decay.neutron_polarization(phi, optics) + weight * (shape.even + shape.odd * (2 * inside - 1))
    sigma = ((1 - inside) * query.initial.sigma + inside * query.final.sigma) * np.exp(weight * shape.log_sigma)
    lifetime_sigma = decay.polarization_per_log_opacity(phi, optics) * beyond * shape.log_t1_sigma
    return Curve(mean, np.hypot(sigma, lifetime_sigma))


def foretold(
    calibration: Calibration, prior: LifetimePrior, optics: decay.Optics, time_s: Float[np.ndarray, "time"]
) -> Curve:
    """Follow the decay from one calibration, forward or backward, with nothing but the cell's usual lifetime."""
    lifetimes = (np.asarray(time_s, dtype=float) - calibration.time_s) / _HOUR_S * math.exp(-prior.log_t1_h)
    start = decay.opacity_from_polarization(np.asarray(calibration.polarization), optics)
    phi = start * np.exp(-lifetimes)
    gain = decay.polarization_per_log_opacity(phi, optics)
    calibration_error = gain / decay.polarization_per_log_opacity(start, optics) * calibration.sigma
    mean = decay.neutron_polarization(phi, optics)
    return Curve(mean, np.hypot(calibration_error, gain * lifetimes * prior.spread))


def laboratory_calibration(polarizer: Cell, lab_time_s: float, parameters: AnchoredParameters) -> Calibration:
    """Give the neutron polarization that the filling laboratory's 3He polarization promises."""
    path = math.exp(parameters.log_path_ang_cm)
    phi = decay.opacity(
        pressure_bar=polarizer.pressure_bar, length_cm=path, wavelength_ang=1.0, p_he3=polarizer.lab_polarization
    )
    gain = decay.polarization_per_log_opacity(phi, parameters.optics)
    promised = decay.neutron_polarization(phi, parameters.optics)
    return Calibration(lab_time_s, float(promised), float(gain * parameters.path_spread))
