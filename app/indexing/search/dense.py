"""The search's tables as an accelerator reads them: arrays of fixed shapes, computed once for each lattice.

The cell of an assignment is ``inverse @ q2[lines]``, and the inverse does not depend on the pattern. Reflections come
from one list for all cells of a lattice, longest mean spacing first, instead of each cell's own limiting sphere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int

from app.crystallography.lattice import LATTICES
from app.crystallography.reflections import MAX_INDEX, reference_reflections
from app.indexing.search.cells import Limits
from app.indexing.search.low_order import assignments_of
from app.indexing.search.observed import Observed
from app.indexing.search.row import DOMAINS

REGULAR = 0.5
"""Determinants of integer matrices below this are zero."""


@dataclass(frozen=True)
class Task:
    """One pattern.

    Attributes:
        observed: its lines.
        limits: bounds on its cells.
        zero_sigma_deg: expected size of its zero shift.
    """

    observed: Observed
    limits: Limits
    zero_sigma_deg: float


@dataclass(frozen=True)
class DenseLattice:
    """One Bravais lattice.

    Attributes:
        lines: 0-based numbers of the lines of each assignment, shape (assignment, param).
        inverse: inverse of its design rows, shape (assignment, param, param); NaN where they do not fix the cell.
        design: design rows of the reference reflections, shape (ref, param).
        copies: reflections that `app.indexing.search.cells.reflections` counts for each of them, shape (ref,).
        terms: ``form = x @ terms``, shape (param, 6).
        multiplicity: lattice points in the conventional cell.
        share: of all reflections in a sphere, those that stand for the others by symmetry.
    """

    lines: Int[np.ndarray, "assignment param"]
    inverse: Float[np.ndarray, "assignment param param"]
    design: Float[np.ndarray, "ref param"]
    copies: Float[np.ndarray, "ref"]
    terms: Float[np.ndarray, "param 6"]
    multiplicity: float
    share: float

    def x(self, chosen: Int[np.ndarray, "cell"], q2: Float[np.ndarray, "peak"]) -> Float[np.ndarray, "cell param"]:
        """Solve some of the assignments in full precision.

        Args:
            chosen: their numbers.
            q2: all lines of the pattern, Angstrom^-2.
        """
        return np.einsum("cij,cj->ci", self.inverse[chosen], q2[self.lines[chosen]])


@lru_cache(maxsize=32)
def dense_lattice(bravais: str, n_assignments: int, n_refs: int) -> DenseLattice:
    """Give the tables of a lattice.

    Args:
        bravais: of `LATTICES`.
        n_assignments: the first so many of the listed ones.
        n_refs: reference reflections; fewer where the lattice has no more of indices up to `MAX_INDEX`.
    """
    lattice, table = LATTICES[bravais], assignments_of(bravais)
    matrices = table.design[table.refs[:n_assignments]]
    references = reference_reflections(bravais, n_refs)
    return DenseLattice(
        lines=table.lines[:n_assignments],
        inverse=_inverse(matrices),
        design=references.design,
        copies=_copies(bravais, references.design),
        terms=lattice.terms.astype(np.float64),
        multiplicity=float(lattice.centring.multiplicity),
        share=1.0 / lattice.laue_order,
    )


def _inverse(matrices: Float[np.ndarray, "assignment param param"]) -> Float[np.ndarray, "assignment param param"]:
    regular = np.abs(np.linalg.det(matrices)) > REGULAR
    inverse = np.full_like(matrices, np.nan)
    inverse[regular] = np.linalg.inv(matrices[regular])
    return inverse


def _copies(bravais: str, design: Float[np.ndarray, "ref param"]) -> Float[np.ndarray, "ref"]:
    """How many representatives by symmetry share each design row, and so one q^2."""
    lattice = LATTICES[bravais]
    hkl = _representatives(bravais)
    base = (3 * MAX_INDEX**2 + 1) ** np.arange(lattice.n_params, dtype=np.int64)
    keys, counts = np.unique(lattice.design(hkl) @ base, return_counts=True)
    wanted = design.astype(np.int64) @ base
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, counts[place], 0).astype(np.float64)


def _representatives(bravais: str) -> Int[np.ndarray, "ref 3"]:
    domain, lattice = DOMAINS[LATTICES[bravais].system], LATTICES[bravais]
    span = np.arange(-MAX_INDEX, MAX_INDEX + 1)
    h, k, l = (part.ravel() for part in np.meshgrid(span[MAX_INDEX:], span, span, indexing="ij"))  # noqa: E741
    negative_k, negative_l = domain.negative_k & (h > 0), domain.negative_l & ((h > 0) | (domain.negative_k & (k > 0)))
    kept: Bool[np.ndarray, "ref"] = (negative_k | (k >= 0)) & (negative_l | (l >= 0))
    kept &= (not domain.h_from_k) | (k <= h)
    kept &= (not domain.k_from_l) | (l <= k)
    kept &= (h > 0) | (k != 0) | (l > 0)
    hkl = np.stack((h, k, l), axis=-1)[kept]
    return hkl[lattice.allowed(hkl)]


@lru_cache(maxsize=1)
def log_factorials(n: int) -> Float[np.ndarray, "n"]:
    """log(0!), log(1!), ... log((n - 1)!)."""
    return np.array([math.lgamma(i + 1.0) for i in range(n)])
