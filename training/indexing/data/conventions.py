"""From a published setting to the conventional axes: cell, indices and space-group symbol follow.

The report that the method comes from sorts the axes of orthorhombic, monoclinic and triclinic cells by length. Sorting
alone does not say which of the many monoclinic and triclinic cells of one lattice is meant, so here the cell is chosen
first: the shortest one that the lattice's convention allows (`app.crystallography.lattice`), reduced for triclinic.
`sorted_by_length` then gives the report's order of axes, with the symbol and the indices following.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType

import gemmi
import numpy as np
from jaxtyping import Bool, Float, Int

from app.crystallography import metric
from app.crystallography.cell import UnitCell
from app.crystallography.lattice import CENTRINGS, LATTICES
from app.crystallography.reduction import niggli, reduce_cell
from app.indexing.problem import BRAVAIS
from training.indexing.data.lattices import bravais_of
from training.indexing.data.pattern_set import PatternSet
from training.indexing.data.space_groups import BOX, Setting, setting_of, setting_with_absences

Basis = Float[np.ndarray, "3 3"]
Tensor = Float[np.ndarray, "3 3"]
_STEPS = np.stack(np.meshgrid(np.arange(-4, 5), np.arange(-4, 5), indexing="ij"), -1).reshape(-1, 2)
_STEPS = _STEPS[_STEPS.any(axis=1)]
_UNIMODULAR = np.abs(np.linalg.det(np.stack(np.broadcast_arrays(_STEPS[:, None], _STEPS[None]), -2))).round() == 1
"""Which pairs of steps span the plane that (1, 0) and (0, 1) span."""
_EXACT = 1e-9
# Obverse hexagonal axes in terms of the rhombohedral ones (rows).
_HEXAGONAL = np.array([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0], [1.0, 1.0, 1.0]])


@dataclass(frozen=True)
class Conventional:
    """A lattice in its conventional axes.

    Attributes:
        bravais: Pearson symbol, of the space group.
        cell: its constants, with exactly the lattice's metric, Angstrom and degrees, shape (6,).
        niggli: of the reduced primitive cell, shape (6,).
        basis: rows are the conventional axes in the published ones; indices change by ``basis @ hkl``.
        setting: of the space group in these axes; its origin may be another one.
    """

    bravais: str
    cell: Float[np.ndarray, "6"]
    niggli: Float[np.ndarray, "6"]
    basis: Basis
    setting: Setting


def conventional(cell: gemmi.UnitCell, group: gemmi.SpaceGroup) -> Conventional | None:
    """Return the conventional cell of a published one; None for settings that the table of lattices does not hold."""
    bravais = bravais_of(group)
    if bravais not in LATTICES:
        return None
    tensor = metric.tensor_from_constants(np.array(cell.parameters))
    basis = _BASES[bravais](tensor, group)
    if basis is None:
        return None
    lattice = LATTICES[bravais]
    found = metric.constants_from_tensor(basis @ tensor @ basis.T)
    exact = metric.constants_from_x(lattice, metric.x_from_constants(lattice, found))
    setting = setting_with_absences(bravais, group.number, _absent(group.operations(), basis))
    if setting is None:
        return None
    reduced = niggli(UnitCell(*map(float, exact)), lattice.centring.symbol)
    return Conventional(bravais, exact, np.array(reduced.constants), basis, setting)


def _absent(operations: gemmi.GroupOps, basis: Basis) -> Bool[np.ndarray, "ref"]:
    """Which reflections of the box, in the new axes, the group extinguishes or the lattice does not have."""
    published = BOX @ np.linalg.inv(basis).T
    whole = np.abs(published - np.round(published)).max(axis=1) < _EXACT
    hkl = np.ascontiguousarray(np.round(published), dtype=np.int32)
    return ~whole | np.asarray(operations.systematic_absences(hkl), bool)


def _reduced(tensor: Tensor, group: gemmi.SpaceGroup) -> Basis:
    constants = metric.constants_from_tensor(tensor)
    return reduce_cell(UnitCell(*map(float, constants)), str(group.centring_type())).basis


def _as_published(tensor: Tensor, group: gemmi.SpaceGroup) -> Basis | None:
    known = LATTICES[bravais_of(group)].centring.symbol == str(group.centring_type())
    return np.eye(3) if known else None


def _hexagonal_axes(tensor: Tensor, group: gemmi.SpaceGroup) -> Basis:
    return np.eye(3) if str(group.centring_type()) == "R" else _HEXAGONAL


def _orthorhombic(tensor: Tensor, group: gemmi.SpaceGroup) -> Basis:
    """Ascending lengths; the axis across a centred face last."""
    face = "ABC".find(str(group.centring_type()))
    order = sorted(range(3), key=lambda axis: (axis == face, tensor[axis, axis]))
    return np.eye(3)[order]


def _monoclinic(tensor: Tensor, group: gemmi.SpaceGroup) -> Basis | None:
    """The shortest two axes across the unique one that span the plane (and make the lattice P or C), obtuse beta."""
    unique = "abc".index(group.monoclinic_unique_axis())
    plane = np.insert(_STEPS, unique, 0, axis=1)
    lengths = np.sqrt(np.einsum("vi,ij,vj->v", plane, tensor, plane))
    centring = CENTRINGS[str(group.centring_type())]
    if centring.multiplicity > 2:
        return None
    cost = np.where(_UNIMODULAR, lengths[:, None] + lengths[None, :], np.inf)
    if centring.multiplicity == 2:
        cost[~_centres_face(plane + np.eye(3)[unique], centring.primitive)] = np.inf
    if not np.isfinite(cost).any():
        return None
    first, third = np.unravel_index(np.argmin(np.round(cost, 9)), cost.shape)
    if centring.multiplicity == 1 and lengths[first] > lengths[third]:
        first, third = third, first
    acute = plane[first] @ tensor @ plane[third] > 0
    return np.stack((plane[first], np.eye(3)[unique], -plane[third] if acute else plane[third])).astype(float)


def _centres_face(diagonals: Float[np.ndarray, "vector 3"], primitive: Basis) -> Bool[np.ndarray, "vector"]:
    """Say which halves of these vectors are lattice vectors."""
    inside = diagonals / 2 @ np.linalg.inv(primitive)
    return np.asarray(np.abs(inside - np.round(inside)).max(axis=1) < _EXACT)


_BASES: Mapping[str, Callable[[Tensor, gemmi.SpaceGroup], Basis | None]] = MappingProxyType(
    {
        **dict.fromkeys(("cF", "cI", "cP", "tI", "tP", "hP"), _as_published),
        "hR": _hexagonal_axes,
        **dict.fromkeys(("oF", "oI", "oC", "oP"), _orthorhombic),
        **dict.fromkeys(("mC", "mP"), _monoclinic),
        "aP": _reduced,
    }
)


def is_conventional(bravais: str, cell: Float[np.ndarray, "cell 6"]) -> Bool[np.ndarray, "cell"]:
    """Say which cells keep the conventions of lengths and angles of their lattice (monoclinic ones: are reduced)."""
    return _ORDERED[bravais[0] if bravais in ("aP", "oP", "oI", "oF") else bravais](cell)


def _always(cell: np.ndarray) -> np.ndarray:
    return np.ones(len(cell), bool)


def _ascending(cell: np.ndarray) -> np.ndarray:
    return np.asarray((np.diff(cell[:, :3], axis=1) >= 0).all(axis=1))


def _shortest_in_plane(cell: np.ndarray, *, step: int) -> np.ndarray:
    """No sum of a and c (of c and ``step`` a, since a centred face allows only whole steps) is shorter; obtuse."""
    a, c, cosine = cell[:, 0], cell[:, 2], np.cos(np.radians(cell[:, 4]))
    return (cell[:, 4] >= 90.0) & (-2 * c * cosine <= a) & (-2 * a * cosine <= step * c)


_ORDERED: Mapping[str, Callable[[np.ndarray], np.ndarray]] = MappingProxyType(
    {
        **dict.fromkeys(("cF", "cI", "cP", "tI", "tP", "hP", "hR"), _always),
        "o": _ascending,
        "oC": lambda cell: cell[:, 0] <= cell[:, 1],
        "mP": lambda cell: (cell[:, 0] <= cell[:, 2]) & _shortest_in_plane(cell, step=1),
        "mC": lambda cell: _shortest_in_plane(cell, step=2),
        "a": lambda cell: _ascending(cell) & _is_niggli(cell),
    }
)


def _is_niggli(cell: Float[np.ndarray, "cell 6"]) -> Bool[np.ndarray, "cell"]:
    """The main conditions of a reduced cell: no face or body diagonal is shorter than an edge."""
    tensor = metric.tensor_from_constants(cell)
    a, b = tensor[:, 0, 0], tensor[:, 1, 1]
    bc, ac, ab = tensor[:, 1, 2], tensor[:, 0, 2], tensor[:, 0, 1]
    short = (2 * abs(bc) <= b) & (2 * abs(ac) <= a) & (2 * abs(ab) <= a)
    acute = (bc > 0) & (ac > 0) & (ab > 0)
    obtuse = (bc <= 0) & (ac <= 0) & (ab <= 0)
    return short & (acute | (obtuse & (2 * (bc + ac + ab) + a + b >= 0)))


# The report's order of axes


def length_order(bravais: str, cell: Float[np.ndarray, "cell 6"]) -> Int[np.ndarray, "cell 3"]:
    """Return the axes in ascending length, where the lattice's axes are of different kinds; as they are elsewhere."""
    if bravais[0] not in "oma":
        return np.tile(np.arange(3), (len(cell), 1))
    return np.argsort(cell[:, :3], axis=1, kind="stable")


def sorted_by_length(patterns: PatternSet) -> PatternSet:
    """Give the same patterns with a <= b <= c for orthorhombic, monoclinic and triclinic lattices.

    Indices follow, and so does the symbol: the centred face and the unique axis are where the lengths put them.
    """
    order = np.empty((len(patterns), 3), np.int64)
    for index in np.unique(patterns.bravais):
        rows = np.flatnonzero(patterns.bravais == index)
        order[rows] = length_order(BRAVAIS[index], patterns.cell[rows])
    names = {
        key: sorted_symbol(BRAVAIS[key[0]], key[1], key[2:])
        for key in set(zip(patterns.bravais.tolist(), patterns.setting.tolist(), *order.T.tolist(), strict=True))
    }
    keys = zip(patterns.bravais.tolist(), patterns.setting.tolist(), *order.T.tolist(), strict=True)
    return replace(
        patterns,
        cell=np.take_along_axis(patterns.cell, np.concatenate((order, order + 3), axis=1), axis=1),
        setting=np.array([names[key] for key in keys], dtype=patterns.setting.dtype),
        hkl_all=np.take_along_axis(patterns.hkl_all, order[:, None, :], axis=2),
        hkl=np.take_along_axis(patterns.hkl, order[:, None, :], axis=2),
    )


@cache
def sorted_symbol(bravais: str, symbol: str, order: tuple[int, int, int]) -> str:
    """Return the symbol of a setting after its axes are permuted: new axis i is the old axis ``order[i]``."""
    setting = setting_of(bravais, symbol)
    old = np.empty_like(BOX)
    old[:, list(order)] = BOX
    wanted = np.asarray(setting.operations.systematic_absences(np.ascontiguousarray(old)), bool)
    unique = setting_unique_axis(bravais, order)
    candidates = (
        group
        for group in gemmi.spacegroup_table()
        if group.number == setting.number and group.monoclinic_unique_axis() == unique
    )
    same = (one for one in candidates if np.array_equal(one.operations().systematic_absences(BOX), wanted))
    return next(same).xhm()


def setting_unique_axis(bravais: str, order: tuple[int, int, int]) -> str:
    """Return the unique axis of a monoclinic lattice after the permutation, gemmi's mark of none elsewhere."""
    return "abc"[order.index(1)] if bravais[0] == "m" else "\0"
