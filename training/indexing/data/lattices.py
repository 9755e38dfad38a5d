"""The Bravais lattice of a space group, its conventional cell and its Niggli cell, from published settings."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import gemmi
import numpy as np
from jaxtyping import Bool, Float

_FAMILY = {
    "triclinic": "a",
    "monoclinic": "m",
    "orthorhombic": "o",
    "tetragonal": "t",
    "trigonal": "h",
    "hexagonal": "h",
    "cubic": "c",
}
_SIDE_FACES = {"A": "C", "B": "C"}
# Obverse hexagonal axes in terms of the rhombohedral ones (rows).
_HEXAGONAL = np.array([[1, -1, 0], [0, 1, -1], [1, 1, 1]], dtype=float)


@dataclass(frozen=True)
class Lattice:
    """A lattice as the cases state it.

    Attributes:
        bravais: of the space group, one of the 14; a cell that happens to look more symmetric does not change it.
        cell: conventional cell (a, b, c in Angstrom; alpha, beta, gamma in degrees); hexagonal axes for hR, C for oC
            and mC, unique axis b and obtuse beta for monoclinic, ascending lengths where the choice is free.
        niggli: Niggli-reduced primitive cell.
        volume_primitive_ang3: of the primitive cell.
    """

    bravais: str
    cell: tuple[float, ...]
    niggli: tuple[float, ...]
    volume_primitive_ang3: float


def lattice_of(cell: gemmi.UnitCell, group: gemmi.SpaceGroup) -> Lattice | None:
    """Return the lattice of ``group`` in ``cell``; None for settings without a conventional cell in the table."""
    bravais = bravais_of(group)
    basis = np.array(cell.orth.mat.tolist()).T  # rows are the axes
    conventional = _CONVENTIONAL[bravais[0] + ("R" if bravais == "hR" else "")](basis, group)
    if conventional is None:
        return None
    niggli = niggli_cell(cell, str(group.centring_type()))
    return Lattice(bravais, conventional, niggli, cell.volume / len(group.operations().cen_ops))


def niggli_cell(cell: gemmi.UnitCell, centring: str) -> tuple[float, ...]:
    """Return the Niggli-reduced cell of the primitive lattice (Krivy & Gruber, 1976), as gemmi computes it."""
    vector = gemmi.GruberVector(cell, centring)
    vector.niggli_reduce()
    return tuple(vector.cell_parameters())


def bravais_of(group: gemmi.SpaceGroup) -> str:
    """Return the Bravais lattice of a space group, e.g. `oC` for one that is centred on any one face."""
    family = _FAMILY[group.crystal_system_str()]
    centring = "R" if group.hm.startswith("R") else str(group.centring_type())
    if family == "a":
        return "aP"
    if family == "m":
        return "mP" if centring == "P" else "mC"
    return family + _SIDE_FACES.get(centring, centring)


def _triclinic(basis: Float[np.ndarray, "axis 3"], group: gemmi.SpaceGroup) -> tuple[float, ...]:
    return niggli_cell(gemmi.UnitCell(*_constants(basis)), str(group.centring_type()))


def _monoclinic(basis: Float[np.ndarray, "axis 3"], group: gemmi.SpaceGroup) -> tuple[float, ...]:
    """Take the shortest two axes across the unique one that span the plane (and make the lattice P or C)."""
    unique = "abc".index(group.monoclinic_unique_axis())
    centred = len(group.operations().cen_ops) == 2
    steps = np.array(list(product(range(-4, 5), repeat=2)))
    plane = steps @ np.delete(basis, unique, axis=0)
    lengths = np.linalg.norm(plane, axis=1)
    determinant = steps[:, None, 0] * steps[None, :, 1] - steps[:, None, 1] * steps[None, :, 0]
    cost = np.where(np.abs(determinant) == 1, lengths[:, None] + lengths[None, :], np.inf)
    if centred:
        cost[~_c_centring(plane, basis[unique], basis, group)] = np.inf
    first, third = np.unravel_index(np.argmin(np.round(cost, 9)), cost.shape)
    return _obtuse(plane[first], basis[unique], plane[third], free=not centred)


def _obtuse(
    a: Float[np.ndarray, "3"], b: Float[np.ndarray, "3"], c: Float[np.ndarray, "3"], *, free: bool
) -> tuple[float, ...]:
    """Turn c so that beta is obtuse; where the choice is free, put the shorter of a and c first."""
    if free and np.linalg.norm(a) > np.linalg.norm(c):
        a, c = c, a
    constants = _constants(np.array([a, b, c if a @ c <= 0 else -c]))
    return (*constants[:3], 90.0, constants[4], 90.0)


def _c_centring(
    plane: Float[np.ndarray, "vector 3"],
    b: Float[np.ndarray, "3"],
    basis: Float[np.ndarray, "axis 3"],
    group: gemmi.SpaceGroup,
) -> Bool[np.ndarray, "vector"]:
    """Say for each vector a of the plane whether (a + b) / 2 is a lattice vector."""
    half = (plane + b) / 2.0 @ np.linalg.inv(basis)
    offsets = half[:, None, :] - np.array(group.operations().cen_ops) / gemmi.Op.DEN
    return np.any(np.all(np.abs(offsets - np.round(offsets)) < 1e-6, axis=2), axis=1)


def _orthorhombic(basis: Float[np.ndarray, "axis 3"], group: gemmi.SpaceGroup) -> tuple[float, ...]:
    lengths = [float(value) for value in np.linalg.norm(basis, axis=1)]
    face = "ABC".find(str(group.centring_type()))
    if face < 0:
        return (*sorted(lengths), 90.0, 90.0, 90.0)
    third = lengths.pop(face)
    return (*sorted(lengths), third, 90.0, 90.0, 90.0)


def _as_published(basis: Float[np.ndarray, "axis 3"], group: gemmi.SpaceGroup) -> tuple[float, ...] | None:
    known = str(group.centring_type()) in ("P", "I", "F", "R")
    return _constants(basis) if known else None


def _rhombohedral(basis: Float[np.ndarray, "axis 3"], group: gemmi.SpaceGroup) -> tuple[float, ...]:
    return _constants(_HEXAGONAL @ basis if str(group.centring_type()) == "P" else basis)


def _constants(basis: Float[np.ndarray, "axis 3"]) -> tuple[float, ...]:
    lengths = np.linalg.norm(basis, axis=1)
    cosines = (basis @ basis.T) / np.outer(lengths, lengths)
    angles = np.degrees(np.arccos(np.clip([cosines[1, 2], cosines[0, 2], cosines[0, 1]], -1.0, 1.0)))
    return (*(float(value) for value in lengths), *(float(value) for value in angles))


_CONVENTIONAL = {
    "a": _triclinic,
    "m": _monoclinic,
    "o": _orthorhombic,
    "t": _as_published,
    "h": _as_published,
    "hR": _rhombohedral,
    "c": _as_published,
}
