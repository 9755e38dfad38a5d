"""Reflections of a lattice: the reference set of an unknown cell, and all those of a known one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

from app.crystallography import metric
from app.crystallography.lattice import CONSTANTS, LATTICES, BravaisLattice
from app.errors import TooLarge

MAX_INDEX = 20
"""Reference reflections have h, k and l in -20..20."""
_KEY_BASE = 3 * MAX_INDEX**2 + 1
"""Above the span of every column of a design matrix, so that a row is one number; its sixth power fits 64 bits."""
_SHAPES = 64
"""Cells over which the spacing of a reference reflection is averaged."""
_SHAPE_SEED = 20240229
_LOG_LENGTH_SPREAD = 0.35
"""Axes of a typical cell differ by a factor exp(0.35) (standard deviation of ln a)."""
_ANGLES_DEG = (70.0, 115.0)
"""Range of a free angle in those cells."""
_MOST_REFLECTIONS = 20_000_000
"""Of the box of indices around one cell's sphere."""
_ROUNDING = 1e-9
"""Relative difference of two q^2 that are one number."""


@dataclass(frozen=True)
class References:
    """Reflections to which observed lines are assigned, sorted by descending mean spacing.

    Attributes:
        hkl: shape (ref, 3).
        design: shape (ref, param), integer values as floats: q^2 = design @ x.
    """

    hkl: Int[np.ndarray, "ref 3"]
    design: Float[np.ndarray, "ref param"]


@dataclass(frozen=True)
class Reflections:
    """Distinct lines of one cell, ascending.

    Attributes:
        hkl: one representative each, shape (ref, 3).
        q2_inv_ang2: shape (ref,).
        multiplicity: reflections that share the line, Friedel pairs included, shape (ref,).
    """

    hkl: Int[np.ndarray, "ref 3"]
    q2_inv_ang2: Float[np.ndarray, "ref"]
    multiplicity: Int[np.ndarray, "ref"]


def reference_count(lattice: BravaisLattice) -> int:
    """How many reference reflections suit a lattice: 100 where one parameter is free, 500 otherwise."""
    return 100 if lattice.n_params == 1 else 500


@lru_cache(maxsize=256)
def reference_reflections(symbol: str, count: int | None = None) -> References:
    """The reference reflections of a Bravais lattice, cached and read-only.

    All h, k, l in -20..20 that the centring allows are reduced to those with different q^2 (different rows of the
    design matrix), sorted by descending spacing averaged over cells of one volume and many shapes.

    Args:
        symbol: of `LATTICES`.
        count: reflections wanted; by default `reference_count`. Fewer come back where -20..20 holds no more.
    """
    lattice = LATTICES[symbol]
    hkl = _unique(lattice)
    design = lattice.design(hkl).astype(float)
    spacing = (design @ _typical_x(lattice).T) ** -0.5
    order = np.argsort(-spacing.mean(axis=1), kind="stable")[: count or reference_count(lattice)]
    references = References(hkl[order], design[order])
    references.hkl.setflags(write=False)
    references.design.setflags(write=False)
    return references


def _unique(lattice: BravaisLattice) -> Int[np.ndarray, "ref 3"]:
    """One reflection for each design row: the one that comes first in `_half_space`."""
    hkl = _half_space(MAX_INDEX, MAX_INDEX, MAX_INDEX)
    hkl = hkl[lattice.allowed(hkl)]
    key = lattice.design(hkl) @ _KEY_BASE ** np.arange(lattice.n_params, dtype=np.int64)
    return hkl[np.unique(key, return_index=True)[1]]


def _half_space(h_max: int, k_max: int, l_max: int) -> Int[np.ndarray, "ref 3"]:
    """One of each Friedel pair in the box without (0, 0, 0); few negative indices first, then large h, k and l."""
    shape = (h_max + 1, 2 * k_max + 1, 2 * l_max + 1)
    flat = np.arange(k_max * shape[2] + l_max + 1, shape[0] * shape[1] * shape[2])
    h, rest = np.divmod(flat, shape[1] * shape[2])
    k, l = np.divmod(rest, shape[2])  # noqa: E741
    hkl = np.stack((h, k - k_max, l - l_max), axis=-1)[::-1]
    return hkl[np.argsort((hkl < 0).sum(axis=-1), kind="stable")]


def _typical_x(lattice: BravaisLattice) -> Float[np.ndarray, "cell param"]:
    """Metric terms of cells of volume 1 with moderately different axes and angles; always the same ones."""
    generator = np.random.default_rng(_SHAPE_SEED)
    free = np.concatenate(
        (
            np.exp(_LOG_LENGTH_SPREAD * generator.standard_normal((_SHAPES, 3))),
            generator.uniform(*_ANGLES_DEG, (_SHAPES, 3)),
        ),
        axis=1,
    )
    columns = [
        free[:, CONSTANTS.index(value)] if isinstance(value, str) else np.full(_SHAPES, value)
        for value in lattice.form.setting
    ]
    x = metric.x_from_constants(lattice, np.stack(columns, axis=1))
    return x * metric.volume_from_x(lattice, x)[:, None] ** (2 / 3)


def reflections_within(
    lattice: BravaisLattice, x: Float[np.ndarray, "param"], q2_max: float, *, tolerance_inv_ang2: float = 0.0
) -> Reflections:
    """All distinct allowed lines of one cell up to and including ``q2_max``.

    The bounds are exact: |h| <= a q_max, since a is the longest projection of the sphere on a* (and so for k, l).

    Args:
        lattice: Bravais lattice.
        x: metric terms of the cell, Angstrom^-2.
        q2_max: Angstrom^-2.
        tolerance_inv_ang2: lines no further than this from the one before count as one. The default merges equal
            numbers only, whether symmetry or chance makes them equal.

    Raises:
        InvalidInput: x is no cell.
        TooLarge: the cell has tens of millions of reflections in the sphere.
    """
    hkl, q2 = sphere(lattice, np.asarray(x, dtype=float), float(q2_max))
    order = np.argsort(q2, kind="stable")
    q2 = q2[order]
    gap = np.maximum(tolerance_inv_ang2, _ROUNDING * q2[1:])
    first = np.flatnonzero(np.concatenate((np.ones(min(1, len(q2)), bool), np.diff(q2) > gap)))
    counts = np.diff(np.append(first, len(q2)))
    return Reflections(hkl[order[first]], q2[first], 2 * counts)


def sphere(
    lattice: BravaisLattice, x: Float[np.ndarray, "param"], q2_max: float
) -> tuple[Int[np.ndarray, "ref 3"], Float[np.ndarray, "ref"]]:
    """All reflections of one cell that the centring allows, one of each Friedel pair, not sorted; and their q^2.

    Arguments and errors as `reflections_within`.
    """
    cell = metric.cell_from_x(lattice, x)
    bounds = [int(axis * q2_max**0.5 * (1 + _ROUNDING)) for axis in cell.constants[:3]]
    size = (bounds[0] + 1) * (2 * bounds[1] + 1) * (2 * bounds[2] + 1)
    if size > _MOST_REFLECTIONS:
        raise TooLarge(
            f"The cell has about {size:.1e} reflections up to d = {q2_max**-0.5:.3g} Angstrom; at most 2e7 fit."
        )
    hkl = _half_space(*bounds)
    hkl = hkl[lattice.allowed(hkl)]
    q2 = lattice.design(hkl) @ x
    inside = q2 <= q2_max * (1 + _ROUNDING)
    return hkl[inside], q2[inside]
