"""Niggli reduction, equality of lattices, and the lattices that are a small whole number finer or coarser."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import gemmi
import numpy as np
from jaxtyping import Float, Int

from app.crystallography import metric
from app.crystallography.cell import UnitCell
from app.crystallography.lattice import CENTRINGS

_RELATIVE_EPSILON = 1e-7
"""Of gemmi's comparisons of scalar products, relative to V^(2/3): below what any cell is known to, above rounding."""
_OP_DENOMINATOR = gemmi.Op.DEN
_VECTORS = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), -1).reshape(-1, 3)
_VECTORS = _VECTORS[_VECTORS.any(axis=1)]
"""Axes of one reduced cell in those of another, nearly equal one."""
_MAX_VOLUME_RATIO = 1.25
"""Beyond it no two cells agree within any tolerance that a caller would ask for."""
_REMEMBERED = 4096
"""Reduced cells that are kept: a ranking compares the same few again and again."""
_SAME_CONSTANTS = 1e-5
"""Relative difference of two Niggli cells that are one."""

Basis = Float[np.ndarray, "3 3"]


@dataclass(frozen=True)
class ReducedCell:
    """A Niggli-reduced primitive cell.

    Attributes:
        cell: its constants.
        basis: rows are its axes in the axes of the cell that was reduced.
        tensor: its direct metric tensor, Angstrom^2.
    """

    cell: UnitCell
    basis: Basis
    tensor: Float[np.ndarray, "3 3"]


def niggli(cell: UnitCell, centring: str = "P") -> UnitCell:
    """The Niggli-reduced cell of a lattice (Krivy & Gruber 1976, by gemmi).

    Args:
        cell: conventional; rhombohedral lattices in hexagonal axes.
        centring: P, A, B, C, I, F or R.

    Raises:
        InvalidInput: the constants are those of no cell.
    """
    return reduce_cell(cell, centring).cell


@lru_cache(_REMEMBERED)
def reduce_cell(cell: UnitCell, centring: str = "P") -> ReducedCell:
    """The Niggli-reduced cell with its axes, which are read-only. Arguments and errors as `niggli`."""
    direct = np.linalg.inv(metric.tensor_from_form(metric.form_from_cell(cell)))
    reduced = _reduce(direct, CENTRINGS[centring].primitive)
    for shared in (reduced.basis, reduced.tensor):
        shared.flags.writeable = False
    return reduced


def _reduce(direct: Float[np.ndarray, "3 3"], primitive: Basis) -> ReducedCell:
    """Reduce the lattice that the rows of ``primitive`` span in axes with the metric tensor ``direct``."""
    start = metric.constants_from_tensor(primitive @ direct @ primitive.T)
    gruber = gemmi.GruberVector(gemmi.UnitCell(*start), "P", True)
    gruber.niggli_reduce(epsilon=_RELATIVE_EPSILON * abs(np.linalg.det(primitive @ direct @ primitive.T)) ** (1 / 3))
    # gemmi's operator has the new axes in its columns.
    basis = np.array(gruber.change_of_basis.rot).T / _OP_DENOMINATOR @ primitive
    tensor = basis @ direct @ basis.T
    return ReducedCell(UnitCell(*(float(v) for v in metric.constants_from_tensor(tensor))), basis, tensor)


def same_lattice(
    first: UnitCell, second: UnitCell, *, length_tolerance: float = 0.015, angle_tolerance_deg: float = 1.5
) -> bool:
    """Tell whether two primitive cells span the same lattice within tolerances.

    True if the second lattice has a primitive cell whose constants agree with the Niggli-reduced constants of the
    first. All cells with axes of small indices are tried, so that it does not matter on which side of a boundary
    between Niggli forms (an angle near 90, two lengths nearly equal) measurement errors have put the one or the other.

    Args:
        first: primitive, any setting.
        second: primitive, any setting.
        length_tolerance: largest relative difference of two lengths.
        angle_tolerance_deg: largest difference of two angles.
    """
    one, other = reduce_cell(first), reduce_cell(second)
    ratio = np.linalg.det(other.tensor) / np.linalg.det(one.tensor)
    if not _MAX_VOLUME_RATIO**-2 < ratio < _MAX_VOLUME_RATIO**2:
        return False
    target = np.array(one.cell.constants)
    lengths = np.sqrt(np.einsum("vi,ij,vj->v", _VECTORS, other.tensor, _VECTORS))
    choices = [_VECTORS[np.abs(lengths / length - 1) <= length_tolerance] for length in target[:3]]
    a, b, c = np.meshgrid(*(np.arange(len(choice)) for choice in choices), indexing="ij")
    bases = np.stack((choices[0][a.ravel()], choices[1][b.ravel()], choices[2][c.ravel()]), axis=1)
    bases = bases[np.abs(np.abs(np.linalg.det(bases)) - 1) < 0.5]
    angles = metric.constants_from_tensor(bases @ other.tensor @ np.swapaxes(bases, 1, 2))[:, 3:]
    return bool((np.abs(angles - target[3:]) <= angle_tolerance_deg).all(axis=1).any())


@dataclass(frozen=True)
class DerivativeLattice:
    """A lattice that contains a given one, or that it contains, with a small index.

    Attributes:
        volume_ratio: its primitive volume over that of the given lattice: 2, 3, 4, 1/2, 1/3 or 1/4.
        niggli: its Niggli-reduced cell.
        basis: rows are the axes of that cell in the axes of the given cell.
    """

    volume_ratio: float
    niggli: UnitCell
    basis: Basis


def hermite_normal_forms(index: int) -> Int[np.ndarray, "lattice 3 3"]:
    """Bases of all sublattices of an index, in the axes of the lattice: 7 for 2, 13 for 3, 35 for 4.

    Upper triangular integer matrices of determinant ``index``, each entry above the diagonal at least 0 and less than
    the diagonal entry below it (e.g. A. Santoro & A. D. Mighell, Acta Cryst. A28 (1972) 284).
    """
    forms = [
        ((p, u, v), (0, q, w), (0, 0, index // (p * q)))
        for p in range(1, index + 1)
        for q in range(1, index // p + 1)
        if index % (p * q) == 0
        for u in range(q)
        for v in range(index // (p * q))
        for w in range(index // (p * q))
    ]
    return np.array(forms)


def derivative_lattices(
    cell: UnitCell, centring: str = "P", *, indices: tuple[int, ...] = (2, 3, 4)
) -> tuple[DerivativeLattice, ...]:
    """All sublattices (larger cells) and superlattices (smaller cells) of the given indices.

    Those that the symmetry of the lattice makes equal, with the same Niggli constants, come once. The conventional
    cell of each: `app.crystallography.lattice_symmetry.bravais_of` of its Niggli cell.

    Args:
        cell: conventional.
        centring: of it.
        indices: each up to 4 or so; their number grows as the square.

    Raises:
        InvalidInput: the constants are those of no cell.
    """
    start = reduce_cell(cell, centring)
    direct = np.linalg.inv(metric.tensor_from_form(metric.form_from_cell(cell)))
    found: list[DerivativeLattice] = []
    for index in indices:
        for form in hermite_normal_forms(index):
            # A superlattice is the reciprocal of a sublattice of the reciprocal lattice.
            for ratio, rows in ((float(index), form), (1 / index, np.linalg.inv(form).T)):
                reduced = _reduce(direct, rows @ start.basis)
                found.append(DerivativeLattice(ratio, reduced.cell, reduced.basis))
    return _distinct(found)


def _distinct(lattices: list[DerivativeLattice]) -> tuple[DerivativeLattice, ...]:
    constants = np.array([lattice.niggli.constants for lattice in lattices]).reshape(-1, 6)
    kept: list[int] = []
    for i, row in enumerate(constants):
        if not (np.abs(constants[kept] - row) <= _SAME_CONSTANTS * row).all(axis=1).any():
            kept.append(i)
    return tuple(lattices[i] for i in kept)
