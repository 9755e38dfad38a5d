"""Which extinction symbols an indexed powder pattern allows, the most probable first.

The likelihood is that of A. J. Markvardsen et al., Acta Cryst. A57 (2001) 47, reduced to positions: every line that the
lattice predicts is seen or not. A line that a symbol allows is missing with the probability with which lines that no
symbol forbids are missing in this pattern; a line that it forbids is missing for certain, and one that is seen there
must be an impurity's. A predicted line hidden under another one says nothing. The prior is uniform.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from app.crystallography import metric
from app.crystallography.cell import UnitCell
from app.crystallography.extinction_classes import ExtinctionClass, extinction_classes
from app.crystallography.extinction_symbol import Extinction
from app.crystallography.lattice import LATTICES
from app.crystallography.reflections import sphere
from app.errors import InvalidInput

_IMPURITY = 0.002
"""Probability that a line on a forbidden position is an impurity's: 2% of lines are, and a tenth of them hit one."""
_WEAK_IMPURITY = 0.02
_WEAK = 0.02
"""The same for a line weaker than this share of the strongest."""
_LEAST_MISSING = 0.05
"""Share of lines that may always be missing, however complete the rest is."""
_MISSING_PRIOR = (1.0, 3.0)
"""Missing and seen lines that are added to those counted: the beta prior of the share of missing lines."""
_SAME_LINE = 1e-7
"""Relative difference of two q^2 of one predicted line."""
_CREDIBLE = 20.0
"""Symbols less probable than the first by a factor exp(-20), about three forbidden lines, are left out."""


@dataclass(frozen=True)
class _Coverage:
    """Which predicted reflections lie in the window of which observed lines.

    Attributes:
        hkl: one of each Friedel pair up to the last line, ascending in q^2, shape (ref, 3).
        first, last: the reflections in each line's window are ``first:last``, shape (peak,).
        starts: index of the first reflection of each distinct predicted line, shape (line,).
        missing: predicted lines in no observed line's window, shape (line,).
    """

    hkl: Int[np.ndarray, "ref 3"]
    first: Int[np.ndarray, "peak"]
    last: Int[np.ndarray, "peak"]
    starts: Int[np.ndarray, "line"]
    missing: Bool[np.ndarray, "line"]


def rank_extinctions(
    bravais: str,
    cell: UnitCell,
    q2_observed_inv_ang2: Float[np.ndarray, "peak"],
    window_inv_ang2: Float[np.ndarray, "peak"] | float,
    *,
    intensity: Float[np.ndarray, "peak"] | None = None,
    q2_max_inv_ang2: float | None = None,
    count: int = 10,
) -> tuple[Extinction, ...]:
    """Rank the extinction symbols of a Bravais lattice by how well they go with a pattern.

    A line is forbidden by a symbol only if the lattice predicts a reflection in its window and the symbol allows none
    of all those in it, so that overlaps count in favour. Lines with no predicted reflection say nothing.

    Args:
        bravais: Pearson symbol.
        cell: conventional; its axes decide the setting of orthorhombic and monoclinic symbols.
        q2_observed_inv_ang2: all observed lines, freed of the zero shift, in any order.
        window_inv_ang2: half-width in which a predicted line counts as observed, for all lines or each.
        intensity: of each line; a weak line may be an impurity's more easily.
        q2_max_inv_ang2: predicted lines above it say nothing; by default the last observed line.
        count: symbols wanted.

    Returns:
        At most ``count`` symbols, the best first; of equally good ones the least strict first.

    Raises:
        InvalidInput: no lines, or the constants are those of no cell.
    """
    if not len(q2_observed_inv_ang2):
        raise InvalidInput("Without observed lines no extinction symbol can be ranked; give the lines of the pattern.")
    q2 = np.asarray(q2_observed_inv_ang2, dtype=float)
    window = np.broadcast_to(np.asarray(window_inv_ang2, dtype=float), q2.shape)
    q2_max = float(q2.max()) if q2_max_inv_ang2 is None else float(q2_max_inv_ang2)
    coverage = _cover(bravais, cell, q2, window, q2_max)
    classes = extinction_classes(bravais)
    forbidden = np.stack([one.forbidden(coverage.hkl) for one in classes])
    seen = _seen_forbidden(coverage, forbidden)
    lines = np.logical_and.reduceat(forbidden, coverage.starts, axis=1) if len(coverage.hkl) else forbidden
    share = _missing_share(coverage.missing, lines)
    score = seen @ np.log(_impurity(q2, intensity)) + (coverage.missing & ~lines).sum(axis=1) * np.log(share)
    return _ranked(classes, score, seen.sum(axis=1), (coverage.missing & lines).sum(axis=1), count)


def _seen_forbidden(coverage: _Coverage, forbidden: Bool[np.ndarray, "symbol ref"]) -> Bool[np.ndarray, "symbol peak"]:
    """Observed lines in whose window the lattice predicts reflections and the symbol forbids them all."""
    allowed = np.cumsum(np.pad(~forbidden, ((0, 0), (1, 0))), axis=1)
    none_left = allowed[:, coverage.last] == allowed[:, coverage.first]
    return np.asarray(none_left & (coverage.last > coverage.first))


def _missing_share(missing: Bool[np.ndarray, "line"], lines: Bool[np.ndarray, "symbol line"]) -> float:
    """The share of missing ones among the predicted lines that no symbol forbids."""
    general = missing[~lines.any(axis=0)]
    absent, seen = _MISSING_PRIOR
    return max(_LEAST_MISSING, float((general.sum() + absent) / (len(general) + absent + seen)))


def _impurity(q2: Float[np.ndarray, "peak"], intensity: Float[np.ndarray, "peak"] | None) -> Float[np.ndarray, "peak"]:
    """Probability that a line on a forbidden position is an impurity's."""
    if intensity is None:
        return np.full(len(q2), _IMPURITY)
    strength = np.asarray(intensity, dtype=float)
    return np.where(strength < _WEAK * strength.max(), _WEAK_IMPURITY, _IMPURITY)


def _ranked(
    classes: tuple[ExtinctionClass, ...],
    score: Float[np.ndarray, "symbol"],
    n_forbidden: Int[np.ndarray, "symbol"],
    n_absent: Int[np.ndarray, "symbol"],
    count: int,
) -> tuple[Extinction, ...]:
    order = np.argsort(-np.round(score, 9), kind="stable")[:count]
    return tuple(
        Extinction(classes[i].symbol, classes[i].space_groups, int(n_forbidden[i]), int(n_absent[i]))
        for i in order
        if score[i] >= score[order[0]] - _CREDIBLE
    )


def _cover(
    bravais: str, cell: UnitCell, q2: Float[np.ndarray, "peak"], window: Float[np.ndarray, "peak"], q2_max: float
) -> _Coverage:
    lattice = LATTICES[bravais]
    hkl, predicted = sphere(lattice, metric.x_from_cell(lattice, cell), q2_max)
    order = np.argsort(predicted, kind="stable")
    hkl, predicted = hkl[order], predicted[order]
    first = np.searchsorted(predicted, q2 - window, side="left")
    last = np.searchsorted(predicted, q2 + window, side="right")
    starts = np.flatnonzero(np.diff(predicted, prepend=-1.0) > _SAME_LINE * predicted)
    cover = np.bincount(first, minlength=len(hkl) + 1) - np.bincount(last, minlength=len(hkl) + 1)
    missing = np.cumsum(cover)[starts] == 0
    return _Coverage(hkl, first, last, starts, missing)
