"""From a ranked cell to the answer: conventional cell with errors, indexed lines, figures of merit, absences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from app.crystallography import metric
from app.crystallography.bragg import two_theta_from_q2
from app.crystallography.cell import UnitCell
from app.crystallography.extinction import rank_extinctions
from app.crystallography.lattice import LATTICES, BravaisLattice
from app.crystallography.merit import figures_of_merit, match_lines
from app.crystallography.reflections import Reflections, reflections_within
from app.indexing.problem import Extinction, IndexedLine, Solution
from app.indexing.ranking import Found, in_convention
from app.indexing.search.observed import Observed

WINDOW_SIGMAS = 4.0
"""A line is indexed within this many standard deviations of a reflection."""
LEAST_WINDOW_DEG = 0.03
"""Smallest window of an indexed line."""
EXTINCTIONS = 5
"""Extinction symbols in a solution."""


def solutions_from(
    families: Sequence[Found], observed: Observed, wavelength_ang: float | None, *, temperature: float
) -> tuple[Solution, ...]:
    """Work out the answer for each family; their order is kept.

    Args:
        families: ranked, best first.
        observed: the lines they were weighed on.
        wavelength_ang: for figures in degrees; None where there is none.
        temperature: divides the log-odds before they become weights.
    """
    log_odds = np.array([one.log_odds for one in families])
    weights = np.exp((log_odds - log_odds.max(initial=0.0)) / temperature) if len(families) else log_odds
    weights = weights / weights.sum() if len(families) else weights
    relatives = _relatives(families)
    return tuple(
        _solution(one, observed, wavelength_ang, float(weight), kin)
        for one, weight, kin in zip(families, weights, relatives, strict=True)
    )


def _solution(
    found: Found, observed: Observed, wavelength_ang: float | None, weight: float, relatives: tuple[int, ...]
) -> Solution:
    found = in_convention(found)
    lattice = LATTICES[found.bravais]
    lines = observed.q2 - found.zero_shift_deg * observed.slope
    window = max(WINDOW_SIGMAS * found.sigma_deg, LEAST_WINDOW_DEG) * observed.per_degree
    predicted = reflections_within(lattice, found.x, float(lines[-1] + window[-1]))
    matched = match_lines(lines, predicted.q2_inv_ang2, window)
    merit = figures_of_merit(lines, predicted.q2_inv_ang2, matched, wavelength_ang=wavelength_ang)
    cell = metric.cell_from_x(lattice, found.x)
    return Solution(
        bravais=found.bravais,
        cell=cell,
        cell_sigma=_cell_sigma(lattice, found, observed, predicted, matched),
        niggli=found.niggli,
        volume_ang3=metric.volume(cell),
        m20=merit.m,
        f20=merit.f,
        f20_mean_delta_deg=merit.mean_delta_two_theta_deg,
        f20_n_possible=merit.n_possible if merit.f is not None else None,
        log_odds=found.log_odds,
        weight=weight,
        zero_shift_deg=found.zero_shift_deg,
        n_indexed=int((matched >= 0).sum()),
        n_lines=len(lines),
        n_possible=found.n_possible,
        lines=_indexed_lines(observed.q2, lines, predicted, matched, wavelength_ang),
        extinctions=_extinctions(found.bravais, cell, lines, window),
        relatives=relatives,
        found_by=found.generator,
    )


def _cell_sigma(
    lattice: BravaisLattice,
    found: Found,
    observed: Observed,
    predicted: Reflections,
    matched: Int[np.ndarray, "peak"],
) -> UnitCell:
    """Standard deviations from the least-squares covariance, the line error taken from the residuals."""
    used = matched >= 0
    design = np.column_stack((lattice.design(predicted.hkl[matched[used]]), observed.slope[used]))
    design = design / observed.per_degree[used, None]
    delta = (observed.q2[used] - predicted.q2_inv_ang2[matched[used]]) / observed.per_degree[used]
    delta = delta - found.zero_shift_deg * observed.slope[used] / observed.per_degree[used]
    freedom = max(int(used.sum()) - design.shape[1], 1)
    covariance = np.linalg.pinv(design.T @ design) * float(delta @ delta) / freedom
    n = lattice.n_params
    return metric.cell_sigma(lattice, found.x, covariance[:n, :n])


def _indexed_lines(
    raw: Float[np.ndarray, "peak"],
    lines: Float[np.ndarray, "peak"],
    predicted: Reflections,
    matched: Int[np.ndarray, "peak"],
    wavelength_ang: float | None,
) -> tuple[IndexedLine, ...]:
    calculated = predicted.q2_inv_ang2[matched]
    delta = [None] * len(raw)
    if wavelength_ang is not None:
        angles = (two_theta_from_q2(q2_inv_ang2=q2, wavelength_ang=wavelength_ang) for q2 in (lines, calculated))
        delta = [float(value) for value in np.subtract(*angles)]
    return tuple(
        IndexedLine(float(raw[i]), None, None, None)
        if matched[i] < 0
        else IndexedLine(float(raw[i]), _hkl(predicted.hkl[matched[i]]), float(calculated[i]), delta[i])
        for i in range(len(raw))
    )


def _hkl(row: Int[np.ndarray, "3"]) -> tuple[int, int, int]:
    h, k, l = (int(index) for index in row)  # noqa: E741
    return h, k, l


def _extinctions(
    bravais: str, cell: UnitCell, lines: Float[np.ndarray, "peak"], window: Float[np.ndarray, "peak"]
) -> tuple[Extinction, ...]:
    ranked = rank_extinctions(bravais, cell, lines, window, count=EXTINCTIONS)
    return tuple(Extinction(one.symbol, one.space_groups, one.n_forbidden, one.n_absent) for one in ranked)


def _relatives(families: Sequence[Found]) -> list[tuple[int, ...]]:
    """Families whose primitive volumes are in a ratio of small integers: sub- and superlattices, and ambiguities."""
    volumes = np.array([one.volume for one in families])
    related: list[tuple[int, ...]] = []
    for i, own in enumerate(volumes):
        ratio = np.maximum(volumes / own, own / volumes)
        near = (np.abs(ratio / np.round(ratio) - 1) < 0.005) & (np.round(ratio) <= 4)
        related.append(tuple(int(j) for j in np.flatnonzero(near) if j != i))
    return related
