"""Pseudo-Voigt lines, single or as K-alpha doublets, and their fit to a stretch of a pattern.

The lines of one stretch share width and shape, as neighbours in a powder pattern do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import least_squares

from app.indexing.patterns.pattern import Doublet
from app.indexing.patterns.radiation import alpha2_from_alpha1

_LN2: Final = float(np.log(2.0))
_GAUSS: Final = 2 * float(np.sqrt(_LN2 / np.pi))
_PRIOR_LOG_FWHM: Final = 0.35
_PRIOR_POSITION: Final = 0.5
"""Of the full width: a line does not leave the place where it was found."""
_PRIOR_ETA: Final = (0.5, 0.35)

MODEL_VALUES: Final = 4_000_000
"""Points times lines that are computed at once."""


@dataclass(frozen=True)
class Lines:
    """Fitted lines in ascending order.

    Attributes:
        position: 2theta of K-alpha1, degrees, shape (peak,).
        sigma: its standard deviation, degrees.
        area: of K-alpha1, counts times degrees.
        sigma_area: its standard deviation.
        fwhm: full width at half maximum, degrees.
        eta: share of the Lorentzian, 0 to 1.
        snr: area over the standard deviation that it has at this width and shape: what speaks for the line at all.
    """

    position: Float[np.ndarray, "peak"]
    sigma: Float[np.ndarray, "peak"]
    area: Float[np.ndarray, "peak"]
    sigma_area: Float[np.ndarray, "peak"]
    fwhm: Float[np.ndarray, "peak"]
    eta: Float[np.ndarray, "peak"]
    snr: Float[np.ndarray, "peak"]

    def __len__(self) -> int:
        return len(self.position)

    def take(self, which: Bool[np.ndarray, "peak"] | slice | np.ndarray) -> Lines:
        """Some of them."""
        return Lines(*(column[which] for column in self._columns))

    @property
    def _columns(self) -> tuple[np.ndarray, ...]:
        return (self.position, self.sigma, self.area, self.sigma_area, self.fwhm, self.eta, self.snr)

    @property
    def height(self) -> Float[np.ndarray, "peak"]:
        """Counts at the maximum of K-alpha1 alone."""
        return self.area / self.fwhm * (self.eta * 2 / np.pi + (1 - self.eta) * _GAUSS)

    @staticmethod
    def joined(parts: list[Lines]) -> Lines:
        """All lines of several fits, sorted."""
        columns = [np.concatenate(column) for column in zip(*(part._columns for part in parts), strict=True)]
        order = np.argsort(columns[0])
        return Lines(*(column[order] for column in columns))

    @staticmethod
    def started(position: np.ndarray, area: np.ndarray, fwhm: np.ndarray) -> Lines:
        """Lines before any fit."""
        unknown = np.full(len(position), np.inf)
        return Lines(position, unknown, area, area * 0, fwhm, np.full(len(position), 0.5), area * 0)


def shapes(x: Float[np.ndarray, "point"], lines: Lines, doublet: Doublet | None) -> Float[np.ndarray, "peak point"]:
    """Profiles of unit K-alpha1 area."""
    first = _profile(x, lines.position, lines.fwhm, lines.eta)
    if doublet is None:
        return first
    second, _ = alpha2_from_alpha1(two_theta_deg=lines.position, doublet=doublet)
    return first + doublet.ratio * _profile(x, second, lines.fwhm, lines.eta)


def model(x: Float[np.ndarray, "point"], lines: Lines, doublet: Doublet | None) -> Float[np.ndarray, "point"]:
    """Counts of the lines without background."""
    if not len(lines):
        return np.zeros(len(x))
    size = max(1, MODEL_VALUES // len(lines))
    parts = [lines.area @ shapes(x[at : at + size], lines, doublet) for at in range(0, len(x), size)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _profile(x: np.ndarray, position: np.ndarray, fwhm: np.ndarray, eta: np.ndarray) -> np.ndarray:
    u2 = ((x - position[:, None]) / fwhm[:, None]) ** 2
    lorentz = (2 / np.pi) / (1 + 4 * u2)
    gauss = _GAUSS * np.exp(-4 * _LN2 * np.minimum(u2, 60))
    return (eta[:, None] * lorentz + (1 - eta[:, None]) * gauss) / fwhm[:, None]


def _with_derivatives(x: np.ndarray, position: np.ndarray, fwhm: float, eta: float) -> tuple[np.ndarray, ...]:
    """Profiles of unit area and their derivatives by position, log(width) and eta; each (peak, point)."""
    u = (x - position[:, None]) / fwhm
    u2 = u**2
    lorentz = (2 / np.pi) / (1 + 4 * u2) / fwhm
    gauss = _GAUSS * np.exp(-4 * _LN2 * np.minimum(u2, 60)) / fwhm
    slope_l = lorentz * 8 * u / (1 + 4 * u2)
    slope_g = gauss * 8 * _LN2 * u
    value = eta * lorentz + (1 - eta) * gauss
    by_position = (eta * slope_l + (1 - eta) * slope_g) / fwhm
    by_width = (eta * slope_l + (1 - eta) * slope_g) * u - value
    return value, by_position, by_width, lorentz - gauss


@dataclass(frozen=True)
class Stretch:
    """Part of a pattern with the lines to fit in it: x [degrees], counts, their sigma; what other lines add is off."""

    x: Float[np.ndarray, "point"]
    y: Float[np.ndarray, "point"]
    sigma: Float[np.ndarray, "point"]


class _Problem:
    """Residuals and Jacobian; parameters: background at both ends, log(width), eta, positions, areas."""

    def __init__(self, stretch: Stretch, start: Lines, doublet: Doublet | None) -> None:
        self.stretch, self.start, self.doublet = stretch, start, doublet
        self.count = len(start)
        self.log_fwhm = float(np.log(np.median(start.fwhm)))
        self.ramp = (stretch.x - stretch.x[0]) / (stretch.x[-1] - stretch.x[0])
        self.origin = start.position

    def first(self) -> np.ndarray:
        """Starting parameters: linear least squares for background and areas."""
        lines = replace(self.start, fwhm=np.full(self.count, np.exp(self.log_fwhm)))
        design = np.vstack([1 - self.ramp, self.ramp, shapes(self.stretch.x, lines, self.doublet)]) / self.stretch.sigma
        found = np.linalg.lstsq(design.T, self.stretch.y / self.stretch.sigma, rcond=None)[0]
        eta = float(np.median(self.start.eta))
        return np.concatenate([found[:2], [self.log_fwhm, eta], self.origin, found[2:]])

    def _parts(self, p: np.ndarray) -> tuple[np.ndarray, ...]:
        fwhm, eta = float(np.exp(np.clip(p[2], self.log_fwhm - 3, self.log_fwhm + 3))), float(np.clip(p[3], -0.3, 1.3))
        position = p[4 : 4 + self.count]
        value, by_position, by_width, by_eta = _with_derivatives(self.stretch.x, position, fwhm, eta)
        if self.doublet is not None:
            second, slope = alpha2_from_alpha1(two_theta_deg=position, doublet=self.doublet)
            more = _with_derivatives(self.stretch.x, second, fwhm, eta)
            ratio = self.doublet.ratio
            value, by_width, by_eta = value + ratio * more[0], by_width + ratio * more[2], by_eta + ratio * more[3]
            by_position = by_position + ratio * slope[:, None] * more[1]
        return value, by_position, by_width, by_eta

    def residuals(self, p: np.ndarray) -> np.ndarray:
        value = self._parts(p)[0]
        calculated = p[0] * (1 - self.ramp) + p[1] * self.ramp + p[4 + self.count :] @ value
        return np.concatenate([(calculated - self.stretch.y) / self.stretch.sigma, self._prior(p)])

    def _prior(self, p: np.ndarray) -> np.ndarray:
        width = _PRIOR_POSITION * np.exp(self.log_fwhm)
        return np.concatenate(
            [
                [(p[2] - self.log_fwhm) / _PRIOR_LOG_FWHM, (p[3] - _PRIOR_ETA[0]) / _PRIOR_ETA[1]],
                (p[4 : 4 + self.count] - self.origin) / width,
            ]
        )

    def jacobian(self, p: np.ndarray) -> np.ndarray:
        value, by_position, by_width, by_eta = self._parts(p)
        area = p[4 + self.count :]
        data = np.vstack([1 - self.ramp, self.ramp, area @ by_width, area @ by_eta, area[:, None] * by_position, value])
        prior = np.zeros((2 + self.count, len(p)))
        prior[0, 2], prior[1, 3] = 1 / _PRIOR_LOG_FWHM, 1 / _PRIOR_ETA[1]
        at = np.arange(self.count)
        prior[2 + at, 4 + at] = 1 / (_PRIOR_POSITION * np.exp(self.log_fwhm))
        return np.vstack([(data / self.stretch.sigma).T, prior])


@dataclass(frozen=True)
class Fit:
    """Fitted lines, chi^2 of the data, and the degrees of freedom."""

    lines: Lines
    chi2: float
    freedom: int


def fit(stretch: Stretch, start: Lines, doublet: Doublet | None) -> Fit:
    """Fit background (a straight line) and lines; least squares with weak priors on width, shape and positions.

    Errors are those of the covariance matrix, times the root of the reduced chi^2 where that is above one.
    """
    problem = _Problem(stretch, start, doublet)
    solve: Any = least_squares  # SciPy's types know no function as Jacobian
    found = solve(problem.residuals, problem.first(), problem.jacobian, method="lm", x_scale="jac", max_nfev=60)
    jacobian = problem.jacobian(found.x)
    data = problem.residuals(found.x)[: len(stretch.x)]
    freedom = max(1, len(stretch.x) - len(found.x))
    chi2 = float(data @ data)
    misfit = np.sqrt(max(1.0, chi2 / freedom))
    sigma = _sigmas(jacobian) * misfit
    n = len(start)
    fixed = np.delete(jacobian, [2, 3], axis=1)
    lines = Lines(
        position=found.x[4 : 4 + n],
        sigma=sigma[4 : 4 + n],
        area=found.x[4 + n :],
        sigma_area=sigma[4 + n :],
        fwhm=np.full(n, float(np.exp(np.clip(found.x[2], problem.log_fwhm - 3, problem.log_fwhm + 3)))),
        eta=np.full(n, float(np.clip(found.x[3], 0, 1))),
        snr=found.x[4 + n :] / (_sigmas(fixed)[2 + n :] * misfit),
    )
    order = np.argsort(lines.position)
    return Fit(lines.take(order), chi2, freedom)


def _sigmas(jacobian: np.ndarray) -> np.ndarray:
    """Standard deviations from the covariance (J^T J)^-1."""
    scale = np.linalg.norm(jacobian, axis=0)
    scale[scale == 0] = 1
    normal = (jacobian / scale).T @ (jacobian / scale)
    covariance = np.linalg.pinv(normal, rcond=1e-12, hermitian=True)
    return np.sqrt(np.maximum(np.diag(covariance), 1e-300)) / scale
