"""The Bravais lattices that a measured cell has within a tolerance, each with its conventional cell.

Every lattice symmetry above the inversion is made of twofold axes: a lattice row [u] with a net (h) nearly normal to it
and |u . h| = 1 or 2 (Y. Le Page, J. Appl. Cryst. 15 (1982) 255; in a reduced cell no index exceeds 2). One axis makes a
lattice monoclinic; three at right angles orthorhombic or, with equal lengths, tetragonal or cubic; two at 120 degrees
rhombohedral or hexagonal. Which axes are at 90 or 120 degrees is decided in integers from the products of the twofold
rotations, so that errors of measurement enter in one place only: the deviation of a cell from its lattice's metric.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from types import MappingProxyType

import numpy as np
from jaxtyping import Float, Int

from app.crystallography import metric
from app.crystallography.cell import UnitCell
from app.crystallography.lattice import LATTICES
from app.crystallography.reduction import ReducedCell, reduce_cell

_OBLIQUITY_FACTOR = 5.0
"""Axes are looked for within this many tolerances (in radians) of normal; the deviation of the cell decides."""
_LEAST_OBLIQUITY = 1e-5

_IDENTITY = ((0, 1, 2),)
_CYCLIC = ((0, 1, 2), (1, 2, 0), (2, 0, 1))
_ORTHOGONAL: Mapping[str, tuple[tuple[str, tuple[tuple[int, int, int], ...]], ...]] = MappingProxyType(
    {
        "P": (("oP", _IDENTITY), ("tP", _CYCLIC), ("cP", _IDENTITY)),
        "I": (("oI", _IDENTITY), ("tI", _CYCLIC), ("cI", _IDENTITY)),
        "F": (("oF", _IDENTITY), ("cF", _IDENTITY)),
        "C": (("oC", _IDENTITY),),
    }
)
"""Lattices with three twofold axes for conventional axes, by centring, and the orders of the axes to be tried."""
_HEXAGONAL: Mapping[int, str] = MappingProxyType({1: "hP", 3: "hR"})
"""Lattices with two twofold axes at 120 degrees, by the number of lattice points in the cell."""
_MONOCLINIC: Mapping[int, str] = MappingProxyType({1: "mP", 2: "mC"})

IntBasis = Int[np.ndarray, "3 3"]


@dataclass(frozen=True)
class BravaisCandidate:
    """One Bravais lattice that a cell has within the tolerance.

    Attributes:
        bravais: Pearson symbol.
        cell: conventional cell with exactly this lattice's metric (the least-squares projection).
        deviation: the largest change of a constant by the projection: of lengths relative, of angles in radians.
        transformation: rows are the conventional axes in the axes of the cell that was asked about.
    """

    bravais: str
    cell: UnitCell
    deviation: float
    transformation: Float[np.ndarray, "3 3"]


def bravais_of(
    cell: UnitCell, centring: str = "P", *, tolerance: float = 0.001, wanted: Container[str] = LATTICES
) -> tuple[BravaisCandidate, ...]:
    """All Bravais lattices that a cell has within a tolerance, from the highest symmetry to the lowest.

    The last is triclinic, as every cell is. Pseudo-symmetry grows with the tolerance, so a caller should keep to a few
    standard deviations of the cell. Orientations of one lattice whose cells agree within the tolerance come once.

    Args:
        cell: conventional; rhombohedral lattices in hexagonal axes.
        centring: P, A, B, C, I, F or R.
        tolerance: largest `BravaisCandidate.deviation`: 0.001 is 0.1% in a length, 0.06 degrees in an angle.
        wanted: the lattices that are asked for.

    Raises:
        InvalidInput: the constants are those of no cell.
    """
    reduced = reduce_cell(cell, centring)
    axes, nets = _twofold_axes(reduced, tolerance)
    bases: dict[str, list[IntBasis]] = {}
    for possible, readings in _READINGS:
        if any(bravais in wanted for bravais in possible):
            for bravais, basis in readings(axes, nets, reduced):
                if bravais in wanted:
                    bases.setdefault(bravais, []).append(basis)
    found = [
        one for bravais, group in bases.items() for one in _candidates(bravais, np.stack(group), reduced, tolerance)
    ]
    triclinic = (BravaisCandidate("aP", reduced.cell, 0.0, reduced.basis),) if "aP" in wanted else ()
    found.sort(key=lambda one: (-LATTICES[one.bravais].laue_order, round(one.deviation, 9), one.cell.constants))
    return (*_without_repeats(found, tolerance), *triclinic)


def promote(cell: UnitCell, centring: str = "P", *, tolerance: float = 0.001) -> BravaisCandidate:
    """The Bravais lattice of highest symmetry that a cell has within a tolerance. As `bravais_of`."""
    return bravais_of(cell, centring, tolerance=tolerance)[0]


def _coprime_half() -> Int[np.ndarray, "axis 3"]:
    """Integer triples in -2..2 without a common factor, one of each pair of opposites."""
    box = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), -1).reshape(-1, 3)[63:]
    return box[np.gcd.reduce(box, axis=1) == 1]


_TRIPLES = _coprime_half()
_AXIS, _NET = np.nonzero(np.isin(np.abs(_TRIPLES @ _TRIPLES.T), (1, 2)))
_DOTS = np.sum(_TRIPLES[_AXIS] * _TRIPLES[_NET], axis=1)
_PLANE_BOX = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3, indexing="ij"), -1).reshape(-1, 3)
_PLANE_BOX = _PLANE_BOX[_PLANE_BOX.any(axis=1)]


def _twofold_axes(
    reduced: ReducedCell, tolerance: float
) -> tuple[Int[np.ndarray, "axis 3"], Int[np.ndarray, "axis 3"]]:
    """Rows [u] and their nets (h), u . h > 0, whose obliquity, the angle between u and the normal of h, is small."""
    row_square = np.einsum("vi,ij,vj->v", _TRIPLES, reduced.tensor, _TRIPLES)
    net_square = np.einsum("vi,ij,vj->v", _TRIPLES, np.linalg.inv(reduced.tensor), _TRIPLES)
    # tan^2(obliquity) = |u|^2 |h|^2/(u . h)^2 - 1
    tangent_square = row_square[_AXIS] * net_square[_NET] / _DOTS**2 - 1
    limit = max(_OBLIQUITY_FACTOR * tolerance, _LEAST_OBLIQUITY)
    found = np.flatnonzero(tangent_square <= np.tan(limit) ** 2)
    return _TRIPLES[_AXIS[found]], _TRIPLES[_NET[found]] * np.sign(_DOTS[found])[:, None]


def _product_traces(axes: Int[np.ndarray, "axis 3"], nets: Int[np.ndarray, "axis 3"]) -> Int[np.ndarray, "axis axis"]:
    """Traces of the products of two twofold rotations: -1 for axes at 90 degrees, 0 at 60 or 120.

    A twofold rotation is R = 2 u h^T/(u . h) - 1, so tr(R1 R2) = 4 (u1 . h2)(u2 . h1)/((u1 . h1)(u2 . h2)) - 1.
    """
    cross = axes @ nets.T
    own = np.diagonal(cross)
    return 4 * cross * cross.T // np.outer(own, own) - 1


def _orthogonal(
    axes: Int[np.ndarray, "axis 3"], nets: Int[np.ndarray, "axis 3"], reduced: ReducedCell
) -> Iterator[tuple[str, IntBasis]]:
    """Orthorhombic, tetragonal and cubic cells on three axes at right angles."""
    right = _product_traces(axes, nets) == -1
    for i, j, k in combinations(range(len(axes)), 3):
        if right[i, j] and right[i, k] and right[j, k]:
            centring, basis = _centring(axes[[i, j, k]])
            basis = _by_length(basis, reduced, 2 if centring == "C" else 3)
            for bravais, orders in _ORTHOGONAL.get(centring, ()):
                yield from ((bravais, _right_handed(basis[list(order)])) for order in orders)


def _by_length(basis: IntBasis, reduced: ReducedCell, count: int) -> IntBasis:
    """Sort the first ``count`` axes by ascending length."""
    square = np.einsum("vi,ij,vj->v", basis, reduced.tensor, basis)
    return basis[[*np.argsort(square[:count], kind="stable"), *range(count, 3)]]


def _centring(basis: IntBasis) -> tuple[str, IntBasis]:
    """The centring of an orthogonal basis, its axes turned so that a single centred face is C; "" for none."""
    centred = [not ((basis[i] + basis[j]) % 2).any() for i, j in ((1, 2), (2, 0), (0, 1))]
    points = abs(round(float(np.linalg.det(basis))))
    if points == 1:
        return "P", basis
    if points == 2 and any(centred):
        return "C", np.roll(basis, 2 - centred.index(True), axis=0)
    if points == 2 and not (basis.sum(axis=0) % 2).any():
        return "I", basis
    return ("F" if points == 4 and all(centred) else ""), basis


def _hexagonal(
    axes: Int[np.ndarray, "axis 3"], nets: Int[np.ndarray, "axis 3"], _: ReducedCell
) -> Iterator[tuple[str, IntBasis]]:
    """Hexagonal and rhombohedral cells on two axes at 120 degrees; the third is the row in both nets."""
    angled = _product_traces(axes, nets) == 0
    for i, j in combinations(range(len(axes)), 2):
        if not angled[i, j]:
            continue
        c = np.cross(nets[i], nets[j])
        first, second = axes[i], -axes[j] * np.sign(axes[i] @ nets[j])
        basis = _right_handed(np.stack((first, second, c // np.gcd.reduce(c))))
        bravais = _HEXAGONAL.get(round(float(np.linalg.det(basis))))
        if bravais == "hP":
            yield bravais, basis
        elif bravais == "hR":
            yield from ((bravais, setting) for setting in (basis, basis * [[-1], [-1], [1]]) if _is_obverse(setting))


def _is_obverse(basis: IntBasis) -> bool:
    """Tell whether (2/3, 1/3, 1/3) is a lattice vector."""
    return not ((np.array((2, 1, 1)) @ basis) % 3).any()


def _monoclinic(
    axes: Int[np.ndarray, "axis 3"], nets: Int[np.ndarray, "axis 3"], reduced: ReducedCell
) -> Iterator[tuple[str, IntBasis]]:
    """Monoclinic cells on one axis b: beta obtuse, a and c the shortest in the net that the centring allows."""
    for b, net in zip(axes, nets, strict=True):
        rows = _superbase(net, reduced)
        points = int(b @ net)
        if points == 2:
            rows.sort(key=lambda row: bool(((row + b) % 2).any()))  # stable: a is the one centred with b
        yield _MONOCLINIC[points], _monoclinic_basis(rows[0], b, rows[1])


def _monoclinic_basis(a: Int[np.ndarray, "3"], b: Int[np.ndarray, "3"], c: Int[np.ndarray, "3"]) -> IntBasis:
    basis = np.stack((a, b, c))
    return basis * [[1], [np.sign(round(float(np.linalg.det(basis))))], [1]]


def _superbase(net: Int[np.ndarray, "3"], reduced: ReducedCell) -> list[Int[np.ndarray, "3"]]:
    """Three rows of a net that sum to 0 with no acute angle between them, by ascending length."""
    h, k, l = (int(index) for index in net)  # noqa: E741 - the crystallographer's name
    rows = _rows_in(h, k, l)
    square = np.einsum("vi,ij,vj->v", rows, reduced.tensor, rows)
    rows = rows[np.argsort(square, kind="stable")]
    first = rows[0]
    normals = np.cross(first, rows)
    bases = (normals == net).all(axis=1) | (normals == -net).all(axis=1)
    second = rows[np.flatnonzero(bases)[0]]
    if first @ reduced.tensor @ second > 0:
        second = -second
    return [first, second, -(first + second)]


@cache
def _rows_in(h: int, k: int, l: int) -> Int[np.ndarray, "row 3"]:  # noqa: E741
    """Short rows in a net."""
    return _PLANE_BOX[_PLANE_BOX @ np.array((h, k, l)) == 0]


_READINGS = (
    (("cF", "cI", "cP", "tI", "tP", "oF", "oI", "oC", "oP"), _orthogonal),
    (("hR", "hP"), _hexagonal),
    (("mC", "mP"), _monoclinic),
)
"""Which lattices each way to read the axes can give."""


def _right_handed(basis: IntBasis) -> IntBasis:
    return basis if np.linalg.det(basis) > 0 else -basis


def _candidates(
    bravais: str, bases: Int[np.ndarray, "cell 3 3"], reduced: ReducedCell, tolerance: float
) -> list[BravaisCandidate]:
    """Project conventional bases on the metric of a lattice; keep those within the tolerance."""
    lattice = LATTICES[bravais]
    tensors = bases @ reduced.tensor @ np.swapaxes(bases, 1, 2)
    measured = metric.constants_from_tensor(tensors)
    x = metric.x_from_form(lattice, metric.form_from_tensor(np.linalg.inv(tensors)))
    ideal = metric.constants_from_x(lattice, x)
    change = np.concatenate((ideal[:, :3] / measured[:, :3] - 1, np.radians(ideal[:, 3:] - measured[:, 3:])), axis=1)
    deviations = np.abs(change).max(axis=1)
    return [
        BravaisCandidate(
            bravais,
            UnitCell(*(float(value) for value in ideal[i])),
            float(deviations[i]),
            bases[i] @ reduced.basis,
        )
        for i in np.flatnonzero(deviations <= tolerance)
    ]


def _without_repeats(candidates: list[BravaisCandidate], tolerance: float) -> list[BravaisCandidate]:
    """Keep the first of several candidates of one lattice with constants equal within the tolerance."""
    kept: list[BravaisCandidate] = []
    for one in candidates:
        same = (other for other in kept if other.bravais == one.bravais)
        limit = max(tolerance, _LEAST_OBLIQUITY)
        if not any(np.allclose(one.cell.constants, other.cell.constants, rtol=limit, atol=0) for other in same):
            kept.append(one)
    return kept
