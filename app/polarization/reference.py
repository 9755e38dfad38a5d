"""Is a series of polarizations the decay of a cell? Rows that cannot be, a robust decay curve, and the verdict.

The curve is P = tanh(phi0 exp(-t/T)), a straight line in ln(atanh P): the shape of one cell (opacity phi), close enough
to that of two cells within a run. It only tells outliers and sample reflections from a calibration; its tolerances are
wide on purpose, noisy rows stay.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from app.polarization.fli import Row

MIN_ROWS = 3
"""Two anchors and one row between them."""
MAX_SIGMA = 0.1
"""A row with a larger error says nothing on a polarization between 0 and 1 (for example 1.24 +- 1.54)."""
MAX_MEDIAN_SIGMA = 0.06
"""A series with a larger median error is too weak for a calibration."""
MAX_MODULUS = 1.0
OUTLIER_SIGMAS = 5.0
MAX_RELATIVE_SIGMA = 10.0
"""A row whose error is so many times the median of its series was cut short; as a calibration it would be worthless."""
ERROR_FLOOR = 0.006
"""Added in quadrature to the counting error: the curve's own error, and crystal alignment (chi2 of 3-19 without it)."""
MAX_OUTLIER_SHARE = 0.4
"""Rows with the wrong sign do not count: the flipper explains them."""
SCATTER_SIGMAS, SCATTER_MIN = 4.0, 0.012
"""A kept row so far from the curve, in counting errors and in P, scatters; a series mostly of such rows is a test."""
MIN_LEVEL = 0.2
"""A series below it is a reflection that magnetic scattering depolarizes or turns."""
MIN_LAST_LEVEL = 0.1
"""No cell is used until it is spent: a series that ends below it follows the sample."""
MIN_SPAN_H = 0.5
"""Rows within a shorter time repeat one measurement; they show no decay."""
MIN_LIFETIME_H = 10.0
"""Cells live 50-340 h; a much faster fall is a temperature or field scan of the sample."""
MAX_LIFETIME_H = 2000.0
MIN_RISE = 0.01
WRONG_SIGN = "the wrong sign"
_MAX_HYPOTHESES_FROM = 80
_SMALLEST, _LARGEST = 0.02, 0.995

Mask = Bool[np.ndarray, "time"]
Series = Float[np.ndarray, "time"]


@dataclass(frozen=True)
class DecayCurve:
    """P(t) = tanh(exp(log_phi - rate t)), t in hours since the series' first row."""

    log_phi: float
    rate_inv_h: float
    rate_sigma_inv_h: float

    def at(self, time_h: Series) -> Series:
        """Polarization at times [h]."""
        return np.tanh(np.exp(np.clip(self.log_phi - self.rate_inv_h * time_h, -50.0, 50.0)))


@dataclass(frozen=True)
class Verdict:
    """What a series of rows is.

    Attributes:
        kept: rows of the decay, ascending in time.
        excluded: the other rows, each with its reason.
        curve: the decay through the kept rows, None where there are too few.
        reason: why the series is no calibration, empty if it is one.
    """

    kept: tuple[Row, ...]
    excluded: tuple[tuple[Row, str], ...]
    curve: DecayCurve | None
    reason: str


def row_problem(row: Row) -> str:
    """Why a row alone can be no polarization measurement, empty if it can."""
    value, sigma = row.polarization, row.sigma
    problems = (
        (row.remark.startswith("*"), f"marked in the file: {row.remark.strip('* ')[:60]}"),
        (not (math.isfinite(value) and math.isfinite(sigma)), "P or its error is not a finite number"),
        (not sigma > 0.0, f"the error is {sigma:g}, expected above 0"),
        (sigma > MAX_SIGMA, f"{value:.3f} +- {sigma:.3f}: the error is above {MAX_SIGMA:g}"),
        (abs(value) > MAX_MODULUS, f"|P| = {abs(value):.3f} is above 1"),
    )
    return next((reason for failed, reason in problems if failed), "")


def judge(rows: tuple[Row, ...]) -> Verdict:
    """Sort a series' rows into kept and excluded, and say whether it is a calibration."""
    usable, excluded = _usable(rows)
    if len(usable) < MIN_ROWS:
        return Verdict(usable, excluded, None, _too_few(len(usable)))
    time_h, polarization, sigma = arrays(usable)
    robust = _robust_curve(time_h, polarization, sigma)
    if robust is None:
        return Verdict(usable, excluded, None, "fewer than two rows have a positive polarization")
    inside = np.abs(polarization - robust.at(time_h)) <= _tolerance(sigma)
    outliers = tuple(
        (row, _outlier_reason(row, float(expected)))
        for row, expected, good in zip(usable, robust.at(time_h), inside, strict=True)
        if not good
    )
    kept = tuple(row for row, good in zip(usable, inside, strict=True) if good)
    unexplained = sum(WRONG_SIGN not in reason for _, reason in outliers)
    if unexplained > MAX_OUTLIER_SHARE * (len(kept) + unexplained):
        reason = f"no smooth decay: {len(outliers)} of {len(usable)} rows lie off the best curve"
        return Verdict(usable, excluded, None, reason)
    excluded = (*excluded, *outliers)
    if len(kept) < MIN_ROWS:
        return Verdict(kept, excluded, None, _too_few(len(kept)))
    curve = _refined(kept)
    return Verdict(kept, excluded, curve, _curve_problem(kept, curve))


def arrays(rows: tuple[Row, ...]) -> tuple[Series, Series, Series]:
    """Hours since the first row, polarization, counting error."""
    time_h = np.array([(row.time - rows[0].time).total_seconds() / 3600.0 for row in rows])
    return time_h, np.array([row.polarization for row in rows]), np.array([row.sigma for row in rows])


def scatters(polarization: Series, expected: Series, sigma: Series) -> Mask:
    """Which rows lie so far from the expected polarization that their counting error does not explain it."""
    return np.abs(polarization - expected) > np.maximum(SCATTER_SIGMAS * sigma, SCATTER_MIN)


def _too_few(number: int) -> str:
    return f"{number} usable rows, a decay needs {MIN_ROWS}: two anchors and one between"


def _usable(rows: tuple[Row, ...]) -> tuple[tuple[Row, ...], tuple[tuple[Row, str], ...]]:
    usable: list[Row] = []
    excluded: list[tuple[Row, str]] = []
    for row in sorted(rows, key=lambda row: (row.time, row.number)):
        problem = row_problem(row)
        if not problem and usable and row.time <= usable[-1].time:
            problem = f"same time as row {usable[-1].number}"
        if problem:
            excluded.append((row, problem))
        else:
            usable.append(row)
    longest = MAX_RELATIVE_SIGMA * float(np.median([row.sigma for row in usable])) if usable else 0.0
    cut_short = [
        (row, f"the error {row.sigma:.3f} is over {MAX_RELATIVE_SIGMA:g} times the usual one: cut short")
        for row in usable
        if row.sigma > longest
    ]
    return tuple(row for row in usable if row.sigma <= longest), (*excluded, *cut_short)


def _tolerance(sigma: Series) -> Series:
    return OUTLIER_SIGMAS * np.hypot(sigma, ERROR_FLOOR)


def _outlier_reason(row: Row, expected: float) -> str:
    if abs(-row.polarization - expected) <= float(_tolerance(np.array([row.sigma]))[0]):
        return f"P = {row.polarization:.3f} has {WRONG_SIGN}: the flipper was in the other state"
    return f"P = {row.polarization:.3f} is off the decay of the other rows, {expected:.3f}"


def _log_phi(polarization: Series) -> Series:
    return np.log(np.arctanh(np.clip(polarization, _SMALLEST, _LARGEST)))


def _robust_curve(time_h: Series, polarization: Series, sigma: Series) -> DecayCurve | None:
    """The curve through two of the rows that leaves the smallest capped chi2 over all of them."""
    positive = np.flatnonzero(polarization > _SMALLEST)
    if positive.size < 2:
        return None
    sample = positive[np.unique(np.linspace(0, positive.size - 1, _MAX_HYPOTHESES_FROM).round().astype(int))]
    first, second = (sample[index] for index in np.triu_indices(sample.size, k=1))
    log_phi = _log_phi(polarization)
    rate = (log_phi[first] - log_phi[second]) / (time_h[second] - time_h[first])
    offset = log_phi[first] + rate * time_h[first]
    seen = np.unique(np.linspace(0, time_h.size - 1, 4 * _MAX_HYPOTHESES_FROM).round().astype(int))
    exponent = np.clip(offset[:, None] - rate[:, None] * time_h[seen], -50.0, 50.0)
    deviation = (polarization[seen] - np.tanh(np.exp(exponent))) / np.hypot(sigma[seen], ERROR_FLOOR)
    best = int(np.argmin(np.minimum(deviation**2, OUTLIER_SIGMAS**2).sum(axis=1)))
    return DecayCurve(float(offset[best]), float(rate[best]), math.nan)


def _refined(rows: tuple[Row, ...]) -> DecayCurve:
    """Weighted least squares of ln(atanh P) on t; errors: counting and floor, propagated."""
    time_h, polarization, sigma = arrays(rows)
    clipped = np.clip(polarization, _SMALLEST, _LARGEST)
    slope = 1.0 / ((1.0 - clipped**2) * np.arctanh(clipped))
    weight = 1.0 / (slope * np.hypot(sigma, ERROR_FLOOR / 2.0)) ** 2
    centre = float(np.average(time_h, weights=weight))
    spread = float(np.sum(weight * (time_h - centre) ** 2))
    y = _log_phi(polarization)
    rate = -float(np.sum(weight * (time_h - centre) * y)) / spread
    return DecayCurve(float(np.average(y, weights=weight)) + rate * centre, rate, 1.0 / math.sqrt(spread))


def _curve_problem(rows: tuple[Row, ...], curve: DecayCurve) -> str:
    time_h, polarization, sigma = arrays(rows)
    fitted = curve.at(time_h)
    scattered = scatters(polarization, fitted, sigma)
    rate, error = curve.rate_inv_h, curve.rate_sigma_inv_h
    level, rise = float(np.median(fitted)), float(fitted[-1] - fitted[0])
    problems = (
        (time_h[-1] < MIN_SPAN_H, f"{len(rows)} rows in {60.0 * time_h[-1]:.0f} minutes: no decay to be seen"),
        (
            np.median(sigma) > MAX_MEDIAN_SIGMA,
            f"median error {np.median(sigma):.3f}, above {MAX_MEDIAN_SIGMA:g}: too weak",
        ),
        (
            np.mean(scattered) > MAX_OUTLIER_SHARE,
            f"{np.sum(scattered)} of {len(rows)} rows scatter by more than {SCATTER_SIGMAS:g} counting errors",
        ),
        (level < MIN_LEVEL, f"polarizes to {level:.2f} only: a sample reflection"),
        (fitted[-1] < MIN_LAST_LEVEL, f"falls to {fitted[-1]:.2f}: a sample reflection"),
        (
            rate < -2.0 * error and rise > MIN_RISE,
            f"rises by {rise:.3f}: a sample reflection, no cell gains polarization",
        ),
        (rate + 2.0 * error < 1.0 / MAX_LIFETIME_H, "does not fall: not the polarization of a cell"),
        (rate - 2.0 * error > 1.0 / MIN_LIFETIME_H, f"falls in {1.0 / max(rate, 1e-9):.1f} h: a scan of the sample"),
    )
    return next((reason for failed, reason in problems if failed), "")
