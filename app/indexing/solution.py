"""From a ranked cell to the answer: conventional cell with errors, indexed lines, figures of merit, absences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from app.crystallography import metric
from app.crystallography.bragg import two_theta_from_q2
from app.crystallography.cell import UnitCell
from app.crystallography.extinction import rank_extinctions
from app.crystallography.lattice import LATTICES, BravaisLattice
from app.crystallography.merit import figures_of_merit, match_lines
from app.crystallography.reflections import Reflections, reflections_within
from app.indexing.problem import IndexedLine, Solution
from app.indexing.ranking import Found, in_convention
from app.indexing.search.hypotheses import ZERO_SIGMA_DEG
from app.indexing.search.observed import Observed

WINDOW_SIGMAS = 4.0
"""A line is indexed within this many standard deviations of a reflection."""
LEAST_WINDOW_DEG = 0.03
"""Smallest window of an indexed line."""
EXTINCTIONS = 5
"""Extinction symbols in a solution."""


@dataclass(frozen=True)
class _Fit:
    """The lines in the light of one cell.

    Attributes:
        lines: q^2 freed of the zero shift, shape (peak,).
        window: how far a line may lie from its reflection, shape (peak,).
        predicted: the cell's reflections up to the last line.
        matched: index of each line's reflection, -1 where none is in the window, shape (peak,).
    """

    lines: Float[np.ndarray, "peak"]
    window: Float[np.ndarray, "peak"]
    predicted: Reflections
    matched: Int[np.ndarray, "peak"]


def _fit(found: Found, observed: Observed) -> _Fit:
    lines = observed.q2 - found.zero_shift_deg * observed.slope
    window = max(WINDOW_SIGMAS * found.sigma_deg, LEAST_WINDOW_DEG) * observed.per_degree
    predicted = reflections_within(LATTICES[found.bravais], found.x, float(lines[-1] + window[-1]))
    return _Fit(lines, window, predicted, match_lines(lines, predicted.q2_inv_ang2, window))


def n_unindexed(found: Found, observed: Observed, *, first: int) -> int:
    """Count those of the first lines that the cell leaves unindexed."""
    return int((_fit(found, observed).matched[:first] < 0).sum())


def solutions_from(
    families: Sequence[Found],
    observed: Observed,
    wavelength_ang: float | None,
    *,
    temperature: float,
    zero_sigma_deg: float = ZERO_SIGMA_DEG,
) -> tuple[Solution, ...]:
    """Work out the answer for each family; their order is kept.

    Args:
        families: ranked, best first.
        observed: the lines they were weighed on.
        wavelength_ang: for figures in degrees; None where there is none.
        temperature: divides the log-odds before they become weights.
        zero_sigma_deg: expected size of the zero shift, degrees, with which the cells were refined.
    """
    log_odds = np.array([one.log_odds for one in families])
    weights = np.exp((log_odds - log_odds.max(initial=-np.inf)) / temperature)
    weights = weights / weights.sum()
    relatives = _relatives(families)
    return tuple(
        _solution(one, observed, wavelength_ang, zero_sigma_deg, float(weight), kin)
        for one, weight, kin in zip(families, weights, relatives, strict=True)
    )


def _solution(
    found: Found,
    observed: Observed,
    wavelength_ang: float | None,
    zero_sigma_deg: float,
    weight: float,
    relatives: tuple[int, ...],
) -> Solution:
    found = in_convention(found)
    lattice, fit = LATTICES[found.bravais], _fit(found, observed)
    merit = figures_of_merit(fit.lines, fit.predicted.q2_inv_ang2, fit.matched, wavelength_ang=wavelength_ang)
    cell = metric.cell_from_x(lattice, found.x)
    return Solution(
        bravais=found.bravais,
        cell=cell,
        cell_sigma=_cell_sigma(lattice, found, observed, fit, zero_sigma_deg),
        niggli=found.niggli,
        volume_ang3=metric.volume(cell),
        m20=merit.m,
        f20=merit.f,
        f20_mean_delta_deg=merit.mean_delta_two_theta_deg,
        f20_n_possible=merit.n_possible if merit.f is not None else None,
        log_odds=found.log_odds,
        weight=weight,
        zero_shift_deg=found.zero_shift_deg,
        n_indexed=int((fit.matched >= 0).sum()),
        n_lines=len(fit.lines),
        n_possible=found.n_possible,
        lines=_indexed_lines(observed.q2, fit, wavelength_ang),
        extinctions=rank_extinctions(found.bravais, cell, fit.lines, fit.window, count=EXTINCTIONS),
        relatives=relatives,
        found_by=found.generator,
    )


def _cell_sigma(
    lattice: BravaisLattice, found: Found, observed: Observed, fit: _Fit, zero_sigma_deg: float
) -> UnitCell:
    """Standard deviations from the least-squares covariance, the line error taken from the residuals.

    The zero shift is known beforehand to its expected size, so that one that is not looked for costs no precision.
    """
    used = fit.matched >= 0
    reflections = fit.matched[used]
    design = np.column_stack((lattice.design(fit.predicted.hkl[reflections]), observed.slope[used]))
    design = design / observed.per_degree[used, None]
    delta = (fit.lines[used] - fit.predicted.q2_inv_ang2[reflections]) / observed.per_degree[used]
    freedom = max(int(used.sum()) - design.shape[1], 1)
    variance = float(delta @ delta) / freedom
    information = design.T @ design
    information[-1, -1] += variance / zero_sigma_deg**2
    n = lattice.n_params
    return metric.cell_sigma(lattice, found.x, variance * np.linalg.pinv(information)[:n, :n])


def _indexed_lines(raw: Float[np.ndarray, "peak"], fit: _Fit, wavelength_ang: float | None) -> tuple[IndexedLine, ...]:
    lines = [IndexedLine(float(q2), None, None, None) for q2 in raw]
    used = np.flatnonzero(fit.matched >= 0)
    reflections = fit.matched[used]
    calculated = fit.predicted.q2_inv_ang2[reflections]
    delta = _angular_difference(fit.lines[used], calculated, wavelength_ang)
    for i, hkl, q2, difference in zip(used, fit.predicted.hkl[reflections], calculated, delta, strict=True):
        lines[i] = IndexedLine(float(raw[i]), _hkl(hkl), float(q2), difference)
    return tuple(lines)


def _angular_difference(
    observed: Float[np.ndarray, "peak"], calculated: Float[np.ndarray, "peak"], wavelength_ang: float | None
) -> list[float] | list[None]:
    """Observed - calculated 2theta in degrees; None each without a wavelength."""
    if wavelength_ang is None:
        return [None] * len(observed)
    highest = (2 / wavelength_ang) ** 2
    angles = (
        two_theta_from_q2(q2_inv_ang2=np.minimum(q2, highest), wavelength_ang=wavelength_ang)
        for q2 in (observed, calculated)
    )
    return [float(value) for value in np.subtract(*angles)]


def _hkl(row: Int[np.ndarray, "3"]) -> tuple[int, int, int]:
    h, k, l = (int(index) for index in row)  # noqa: E741
    return h, k, l


def _relatives(families: Sequence[Found]) -> list[tuple[int, ...]]:
    """Families whose primitive volumes are in a ratio of small integers: sub- and superlattices, and ambiguities."""
    volumes = np.array([one.volume for one in families])
    related: list[tuple[int, ...]] = []
    for i, own in enumerate(volumes):
        ratio = np.maximum(volumes / own, own / volumes)
        near = (np.abs(ratio / np.round(ratio) - 1) < 0.005) & (np.round(ratio) <= 4)
        related.append(tuple(int(j) for j in np.flatnonzero(near) if j != i))
    return related
