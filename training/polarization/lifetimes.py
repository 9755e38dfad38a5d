"""What the measured decays tell of a set-up: its optics, the scatter beyond counting, and each cell's lifetime."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from jaxtyping import Float
from scipy.optimize import least_squares

from app.polarization import decay
from app.polarization.anchored import FREEDOM, AnchoredParameters, LifetimePrior, log_laboratory_gas
from app.polarization.decay import HOUR_S
from app.polarization.experiment import Experiment
from training.polarization.baselines import START, fit_optics

HUBER_SIGMAS: Final = 2.0
"""Residuals beyond this many standard deviations count linearly (Huber, Ann. Math. Statist. 35 (1964) 73)."""
TYPICAL_EXCESS: Final = 2e-3
"""Excess scatter assumed while the excess scatter itself is sought."""
SMALLEST_PATH_SPREAD: Final = 0.02
"""The laboratory gives its polarization to two digits."""
EXCESS_GRID: Final = np.geomspace(2e-4, 1e-2, 25)
SPREAD_GRID: Final = np.geomspace(0.01, 0.8, 32)
_CENTRE_STEPS: Final = 30
POOLED_WEIGHT: Final = 3.0
"""The usual spread within cells counts like this many fillings when the spread of one cell is estimated."""
CAUTION: Final = 1.25
"""A coming reactor cycle has other magnets and guides than those that were seen: every spread is widened by this."""
LOG_T1_BOUNDS_H: Final = (0.0, 9.0)


@dataclass(frozen=True)
class FittedDecay:
    """The best decay through all points of one experiment.

    Attributes:
        cell_id: the polarizer.
        log_phi: ln of the opacity at the first point.
        log_t1_h: ln(T1/h).
        sigma: standard deviation of `log_t1_h`.
    """

    cell_id: str
    log_phi: float
    log_t1_h: float
    sigma: float


def fit_parameters(experiments: Sequence[Experiment]) -> AnchoredParameters:
    """Fit all that the anchored model knows beforehand, without its network and before calibration."""
    optics = fit_optics(experiments, START[experiments[0].material])
    excess = fit_excess_sigma(experiments, optics)
    decays = [fit_decay(e, optics, excess) for e in experiments]
    cells, unknown = lifetime_priors(decays)
    log_path, path_spread = fit_path(experiments, decays)
    return AnchoredParameters(optics, excess, 1.0, 0.0, log_path, path_spread, cells, unknown)


def _huber(z: Float[np.ndarray, "time"]) -> Float[np.ndarray, "time"]:
    size = np.abs(z)
    return np.where(size < HUBER_SIGMAS, z**2 / 2, HUBER_SIGMAS * (size - HUBER_SIGMAS / 2))


def fit_excess_sigma(experiments: Sequence[Experiment], optics: decay.Optics) -> float:
    """Find the scatter about each filling's own best decay that counting does not explain (most likely, robustly).

    Each filling spends two degrees of freedom on its own opacity and lifetime; its residuals are widened for them.
    """
    residuals, sigmas = [], []
    for e in experiments:
        if len(e.time_s) < 5:
            continue
        best = fit_decay(e, optics, TYPICAL_EXCESS)
        phi = np.exp(best.log_phi - e.time_s / HOUR_S * np.exp(-best.log_t1_h))
        widen = np.sqrt(len(e.time_s) / (len(e.time_s) - 2))
        residuals.append((e.polarization - decay.neutron_polarization(phi, optics)) * widen)
        sigmas.append(e.sigma)
    if not residuals:
        return float(EXCESS_GRID[0])
    r, s = np.concatenate(residuals), np.concatenate(sigmas)

    def surprise(excess: float) -> float:
        width = np.hypot(s, excess)
        return float((np.log(width) + _huber(r / width)).sum())

    return float(min(EXCESS_GRID, key=surprise))


def fit_decay(e: Experiment, optics: decay.Optics, excess_sigma: float) -> FittedDecay:
    """Fit opacity and lifetime of one filling to all its points, the calibrations among them (robust least squares)."""
    time_h = e.time_s / HOUR_S
    width = np.hypot(e.sigma, excess_sigma)

    def phi(x: np.ndarray) -> np.ndarray:
        return np.exp(x[0] - time_h * np.exp(-x[1]))

    def residual(x: np.ndarray) -> np.ndarray:
        return (decay.neutron_polarization(phi(x), optics) - e.polarization) / width

    def jacobian(x: np.ndarray) -> np.ndarray:
        gain = decay.polarization_per_log_opacity(phi(x), optics) / width
        return np.stack([gain, gain * time_h * np.exp(-x[1])], axis=-1)

    start = float(np.log(decay.opacity_from_polarization(e.polarization[0], optics)))
    found = least_squares(
        residual,
        [start, np.log(90.0)],
        jac=jacobian,  # pyright: ignore[reportArgumentType]  (the stubs know names only)
        loss="soft_l1",
        bounds=([start - 2, LOG_T1_BOUNDS_H[0]], [start + 2, LOG_T1_BOUNDS_H[1]]),
    )
    covariance = np.linalg.pinv(jacobian(found.x).T @ jacobian(found.x))
    log_phi, log_t1_h = (float(x) for x in found.x)
    return FittedDecay(e.polarizer.cell_id, log_phi, log_t1_h, float(np.sqrt(covariance[1, 1])))


def fit_path(experiments: Sequence[Experiment], decays: Sequence[FittedDecay]) -> tuple[float, float]:
    """Find centre and scale of ln(L lambda / A cm) from the opacities at the start and the laboratory's values."""
    paths = []
    for e, fitted in zip(experiments, decays, strict=True):
        at_filling = fitted.log_phi - e.lab_time_s / HOUR_S * np.exp(-fitted.log_t1_h)
        paths.append(at_filling - log_laboratory_gas(e.polarizer))
    centre, spread = student_beneath_errors(np.array(paths), np.zeros(len(paths)))
    return centre, CAUTION * max(spread, SMALLEST_PATH_SPREAD)


def lifetime_priors(decays: Sequence[FittedDecay]) -> tuple[Mapping[str, LifetimePrior], LifetimePrior]:
    """Describe the lifetimes of each cell, and of a cell never seen, by Student's t of ln(T1).

    A cell's centre is drawn towards the centre of all by how well it is known (empirical Bayes; Efron and Morris, J.
    Am. Stat. Assoc. 70 (1975) 311), its spread towards the usual spread within cells by the number of its fillings.
    """
    unknown = _lifetime_law(decays)
    by_cell = defaultdict(list)
    for fitted in decays:
        by_cell[fitted.cell_id].append(fitted)
    found = {cell_id: _lifetime_law(own) for cell_id, own in sorted(by_cell.items())}
    centred = [
        replace(d, log_t1_h=d.log_t1_h - found[d.cell_id].log_t1_h) for d in decays if len(by_cell[d.cell_id]) > 1
    ]
    usual = _lifetime_law(centred).spread if centred else unknown.spread
    cells = {}
    for cell_id, own in found.items():
        n = len(by_cell[cell_id])
        spread2 = (n * own.spread**2 + POOLED_WEIGHT * usual**2) / (n + POOLED_WEIGHT)
        error2 = spread2 / n
        trust = unknown.spread**2 / (unknown.spread**2 + error2)
        centre = trust * own.log_t1_h + (1 - trust) * unknown.log_t1_h
        cells[cell_id] = LifetimePrior(float(centre), float(CAUTION * np.sqrt(spread2 + trust * error2)))
    return cells, replace(unknown, spread=CAUTION * unknown.spread)


def _lifetime_law(decays: Sequence[FittedDecay]) -> LifetimePrior:
    return LifetimePrior(
        *student_beneath_errors(np.array([d.log_t1_h for d in decays]), np.array([d.sigma for d in decays]))
    )


def student_beneath_errors(x: Float[np.ndarray, "sample"], sigma: Float[np.ndarray, "sample"]) -> tuple[float, float]:
    """Find the most likely centre and scale of Student's t for values that carry errors of their own."""

    def with_scale(scale: float) -> tuple[float, float, float]:
        width2 = sigma**2 + scale**2
        centre = float(np.median(x))
        for _ in range(_CENTRE_STEPS):
            weight = (FREEDOM + 1) / (FREEDOM * width2 + (x - centre) ** 2)
            centre = float(np.average(x, weights=weight))
        z2 = (x - centre) ** 2 / width2 / FREEDOM
        surprise = (FREEDOM + 1) / 2 * np.log1p(z2).sum() + np.log(width2).sum() / 2
        return float(surprise), centre, float(scale)

    return min(with_scale(scale) for scale in SPREAD_GRID)[1:]
