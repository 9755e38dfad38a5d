"""What a network must beat: a line, an exponential, the physics of the cell, a Gaussian process.

All pass through both anchors. What they leave over between them is an excess error s 4u(1-u), with s fitted on the
training side by maximum likelihood, so that their sigma is as honest as they can make it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from jaxtyping import Float
from scipy.optimize import least_squares, minimize_scalar
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.preprocessing import StandardScaler

from app.polarization.correction import bump, line_sigma, position
from app.polarization.decay import Optics, anchor_sigma, fit_anchors
from app.polarization.experiment import Experiment, Query
from training.polarization.methods import Method, Prediction, Predictor, interior_bump, interior_sigma

Curve = Callable[[Query], Prediction]
"""A curve through both anchors, with the anchors' errors alone as its sigma."""

START: Final[dict[str, Optics]] = {"crystalline": Optics(0.931), "amorphous": Optics(0.95, 0.5)}
"""Where the fit of the amplitude starts: values fitted to D3's runs of 2018 to 2024."""

LARGEST_EXCESS: Final = 0.2


def line(query: Query) -> Prediction:
    """Give the straight line between the anchors."""
    u = position(query.time_s, query.initial, query.final)
    mean = (1 - u) * query.initial.polarization + u * query.final.polarization
    return Prediction(mean, line_sigma(u, query.initial.sigma, query.final.sigma))


def exponential(query: Query) -> Prediction:
    """Give P0 (P1/P0)^u, or the line where an anchor is not positive. Errors are relative ones, added in quadrature."""
    p0, p1 = query.initial.polarization, query.final.polarization
    if min(p0, p1) <= 0:
        return line(query)
    u = position(query.time_s, query.initial, query.final)
    mean = p0 * (p1 / p0) ** u
    return Prediction(mean, mean * line_sigma(u, query.initial.sigma / p0, query.final.sigma / p1))


def physics(query: Query, optics: Optics) -> Prediction:
    """Give A tanh(phi) through the anchors, or the line where an anchor is beyond what A allows."""
    initial, final = query.initial, query.final
    fit = fit_anchors(
        initial_s=initial.time_s,
        p_initial=initial.polarization,
        final_s=final.time_s,
        p_final=final.polarization,
        optics=optics,
    )
    if fit.beyond_amplitude:
        return line(query)
    course = fit.course(query.time_s)
    return Prediction(course.mean, anchor_sigma(fit, course, initial.sigma, final.sigma))


def fit_optics(experiments: Sequence[Experiment], start: Optics) -> Optics:
    """Fit the amplitude (and the opacity ratio, if the start has one) to the points between the anchors.

    Deviations count in units of `interior_sigma`, softly beyond 1 (soft_l1): single reflections are off by many sigma.
    """
    queries = [e.query() for e in experiments]
    measured = np.concatenate([e.polarization[1:-1] for e in experiments])
    sigma = np.concatenate([interior_sigma(e) for e in experiments])

    def deviations(x: Float[np.ndarray, "param"]) -> Float[np.ndarray, "time"]:
        optics = _optics(x)
        return (np.concatenate([physics(q, optics).mean for q in queries]) - measured) / sigma

    first = [start.amplitude] if start.analyser_ratio is None else [start.amplitude, start.analyser_ratio]
    bounds = ([0.7, 0.1][: len(first)], [1.0, 1.0][: len(first)])
    return _optics(least_squares(deviations, first, bounds=bounds, loss="soft_l1", diff_step=1e-3).x)


def _optics(x: Float[np.ndarray, "param"]) -> Optics:
    return Optics(float(x[0]), float(x[1]) if len(x) > 1 else None)


def fit_excess(experiments: Sequence[Experiment], curve: Curve) -> float:
    """Give the s of the excess error s 4u(1-u) that makes the points most likely."""
    deviation = np.concatenate([curve(e.query()).mean - e.polarization[1:-1] for e in experiments])
    known = np.concatenate([interior_sigma(e) for e in experiments])
    shape = np.concatenate([interior_bump(e) for e in experiments])

    def surprise(log_s: float) -> float:
        variance = known**2 + (np.exp(log_s) * shape) ** 2
        return float(np.sum(np.log(variance) + deviation**2 / variance))

    best: Any = minimize_scalar(surprise, bounds=(np.log(1e-5), np.log(LARGEST_EXCESS)))
    return float(np.exp(best.x))


def _with_excess(curve: Curve, excess: float) -> Predictor:
    def predict(query: Query) -> Prediction:
        mean, sigma = curve(query)
        return Prediction(mean, np.hypot(sigma, excess * bump(position(query.time_s, query.initial, query.final))))

    return predict


@dataclass(frozen=True)
class CurveBaseline:
    """A fixed curve through the anchors plus a fitted excess error. `name` is a key of `CURVES`."""

    name: str

    def fit(self, experiments: Sequence[Experiment], seed: int) -> Predictor:
        """Fit the excess error. Nothing is drawn: the seed makes no difference."""
        curve = CURVES[self.name]
        return _with_excess(curve, fit_excess(experiments, curve))


CURVES: Final = MappingProxyType[str, Curve]({"line": line, "exponential": exponential})


@dataclass(frozen=True)
class PhysicsBaseline:
    """P = A tanh(phi) [tanh(r phi)] through the anchors, A (and r) and the excess error fitted."""

    name: str = "physics"

    def fit(self, experiments: Sequence[Experiment], seed: int) -> Predictor:
        """Fit A, r and the excess error. Nothing is drawn: the seed makes no difference."""
        optics = fit_optics(experiments, START[experiments[0].material])
        return _with_excess(lambda query: physics(query, optics), fit_excess(experiments, lambda q: physics(q, optics)))


@dataclass(frozen=True)
class GaussianProcessBaseline:
    """A Gaussian process on what the straight line leaves over, zero at both anchors.

    The residual is divided by 4u(1-u) and so are its errors: a process on that quotient, multiplied by 4u(1-u) again,
    is a process that is pinned at the anchors.

    Attributes:
        smallest_bump: points with a smaller 4u(1-u) say nothing about the quotient and are left out.
        restarts: starts of the likelihood's maximisation besides the first.
    """

    name: str = "gaussian-process"
    smallest_bump: float = 0.1
    restarts: int = 0

    def fit(self, experiments: Sequence[Experiment], seed: int) -> Predictor:
        """Fit the kernel by maximum marginal likelihood; the seed draws the restarts."""
        rows, target, noise = (np.concatenate(parts) for parts in zip(*map(self._rows, experiments), strict=True))
        scaler = StandardScaler().fit(rows)
        scale = float(np.sqrt(np.mean(target**2)))
        make: Any = GaussianProcessRegressor  # scikit-learn's stubs want floats where arrays are documented
        widths: Any = np.full(rows.shape[1], 2.0)
        process = make(
            ConstantKernel(1.0, (1e-3, 1e2)) * RBF(widths, (0.3, 30)) + WhiteKernel(0.1, (1e-4, 10)),
            alpha=(noise / scale) ** 2,
            n_restarts_optimizer=self.restarts,
            random_state=seed,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a length scale at its bound: that input is not used
            process.fit(scaler.transform(rows), target / scale)
        return lambda query: _process_prediction(query, process, scaler, scale)

    def _rows(self, experiment: Experiment) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        shape = interior_bump(experiment)
        kept = shape >= self.smallest_bump
        residual = experiment.polarization[1:-1] - line(experiment.query()).mean
        return (
            process_features(experiment.query())[kept],
            (residual / np.where(kept, shape, 1.0))[kept],
            (interior_sigma(experiment) / np.where(kept, shape, 1.0))[kept],
        )


def process_features(query: Query) -> Float[np.ndarray, "time feature"]:
    """Give what the process sees of each point: u, both polarizations, the anchors' distance and the pressure."""
    u = position(query.time_s, query.initial, query.final)
    span_s = query.final.time_s - query.initial.time_s
    numbers = (query.initial.polarization, query.final.polarization, np.log(span_s), query.polarizer.pressure_bar)
    return np.column_stack([u, *(np.full_like(u, x) for x in numbers)])


def _process_prediction(
    query: Query, process: GaussianProcessRegressor, scaler: StandardScaler, scale: float
) -> Prediction:
    anchors = line(query)
    if not query.time_s.size:
        return anchors
    quotient, spread = process.predict(scaler.transform(process_features(query)), return_std=True)
    shape = bump(position(query.time_s, query.initial, query.final)) * scale
    return Prediction(anchors.mean + shape * quotient, np.hypot(anchors.sigma, shape * spread))


BASELINES: Final[tuple[Method, ...]] = (
    CurveBaseline("line"),
    CurveBaseline("exponential"),
    PhysicsBaseline(),
    GaussianProcessBaseline(),
)
