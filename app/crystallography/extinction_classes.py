"""Space-group settings grouped by their systematic absences, and the symbol of each group.

The settings are gemmi's. An extinction symbol has the form of International Tables for Crystallography A, chapter 1.6
and table 3.1.4.1 of the older editions: the centring, then for each symmetry direction the screw axis and the glide
plane that the absences show, or a dash: ``P 1 21/c 1``, ``P n a -``, ``F d - -``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import gemmi
import numpy as np
from jaxtyping import Bool, Int

from app.crystallography.lattice import LATTICES, BravaisLattice

Hkl = Int[np.ndarray, "ref 3"]
Row = tuple[int, int, int]

_BOX = np.stack(np.meshgrid(*[np.arange(-6, 7)] * 3, indexing="ij"), -1).reshape(-1, 3).astype(np.int32)
_BOX = _BOX[len(_BOX) // 2 + 1 :]
"""One of each Friedel pair: every condition of a space group (2n, 3n, 4n, 6n) shows up to index 6."""

_CRYSTAL_SYSTEMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "triclinic": ("triclinic",),
        "monoclinic": ("monoclinic",),
        "orthorhombic": ("orthorhombic",),
        "tetragonal": ("tetragonal",),
        "rhombohedral": ("trigonal",),
        "hexagonal": ("trigonal", "hexagonal"),
        "cubic": ("cubic",),
    }
)
"""Crystal systems of the space groups on a lattice."""
_RHOMBOHEDRAL_AXES = "R"
"""gemmi's mark of a setting in rhombohedral axes."""
_UNIQUE_AXIS = ("b", "\0")
"""Unique axis of a setting: b, or none outside the monoclinic system."""


@dataclass(frozen=True)
class Condition:
    """Reflections are present only where ``row . hkl`` is a multiple of ``modulus``.

    Attributes:
        axial: a glide along one of the two axes of its plane; where centring makes both true, both are named: ``(ab)``.
    """

    name: str
    row: Row
    modulus: int = 2
    axial: bool = False

    def holds(self, hkl: Hkl) -> Bool[np.ndarray, "ref"]:
        """Tell which reflections the condition leaves."""
        return np.asarray((hkl @ np.array(self.row)) % self.modulus == 0)


@dataclass(frozen=True)
class Direction:
    """One symmetry direction: the zone of its glide plane and the row of its screw axis, each with their conditions.

    Attributes:
        zone: the row orthogonal to the zone's reflections, e.g. (1, 0, 0) for 0kl; None where it has no plane.
        planes: possible glide planes.
        axis: direction of the row of reflections, e.g. (0, 0, 1) for 00l; None where it has no screw axis.
        screws: possible screw axes.
    """

    zone: Row | None
    planes: tuple[Condition, ...] = ()
    axis: Row | None = None
    screws: tuple[Condition, ...] = ()

    def zone_mask(self, hkl: Hkl) -> Bool[np.ndarray, "ref"]:
        return np.zeros(len(hkl), bool) if self.zone is None else np.asarray(hkl @ np.array(self.zone) == 0)

    def generic_mask(self, hkl: Hkl) -> Bool[np.ndarray, "ref"]:
        """The zone without the rows that it shares with other zones: its own glide plane alone acts there."""
        ordered = np.sort(np.abs(hkl), axis=1)
        coincident = (ordered[:, 0] == 0).astype(int) + (ordered[:, :-1] == ordered[:, 1:]).sum(axis=1)
        return np.asarray(self.zone_mask(hkl) & (coincident == 1))

    def axis_mask(self, hkl: Hkl) -> Bool[np.ndarray, "ref"]:
        return np.zeros(len(hkl), bool) if self.axis is None else np.asarray(~np.cross(hkl, self.axis).any(axis=1))


def _axial(first: tuple[str, Row], second: tuple[str, Row]) -> tuple[Condition, ...]:
    """Glide planes of a zone with two axes: along either, n and d."""
    (a, one), (b, other) = first, second
    both: Row = (one[0] + other[0], one[1] + other[1], one[2] + other[2])
    return (
        Condition(a, one, axial=True),
        Condition(b, other, axial=True),
        Condition("n", both),
        Condition("d", both, 4),
    )


_H, _K, _L = (1, 0, 0), (0, 1, 0), (0, 0, 1)
_HHL_ZONE, _HHL_DIAGONAL = (1, -1, 0), (1, 1, 1)


def _screw(axis: Row, names: Mapping[int, str]) -> tuple[Condition, ...]:
    return tuple(Condition(name, axis, modulus) for modulus, name in names.items())


def _third(name: str) -> Direction:
    """The diagonal direction of tetragonal and cubic lattices: zone hhl."""
    return Direction(_HHL_ZONE, (Condition(name, _L), Condition("d", _HHL_DIAGONAL, 4)))


_TWO = {2: "21"}
_ORTHORHOMBIC = (
    Direction(_H, _axial(("b", _K), ("c", _L)), _H, _screw(_H, _TWO)),
    Direction(_K, _axial(("a", _H), ("c", _L)), _K, _screw(_K, _TWO)),
    Direction(_L, _axial(("a", _H), ("b", _K)), _L, _screw(_L, _TWO)),
)
_TETRAGONAL_PLANES = (Condition("c", _L), Condition("b", _K), Condition("n", (0, 1, 1)))
_TETRAGONAL = (
    Direction(
        _L,
        (Condition("n", _HHL_DIAGONAL), Condition("a", _H)),
        _L,
        _screw(_L, {2: "42", 4: "41"}),
    ),
    Direction(_H, _TETRAGONAL_PLANES, _H, _screw(_H, _TWO)),
    _third("c"),
)
_HEXAGONAL = (
    Direction(None, (), _L, _screw(_L, {2: "63", 3: "62", 6: "61"})),
    Direction((1, 1, 0), (Condition("c", _L),)),
    Direction(_HHL_ZONE, (Condition("c", _L),)),
)
_CUBIC_FIRST = Direction(
    _H,
    (
        Condition("a", _K),
        Condition("n", (0, 1, 1)),
        Condition("d", (0, 1, 1), 4),
    ),
    _L,
    _screw(_L, {2: "21,42", 4: "41"}),
)
_EMPTY = Direction(None)

DIRECTIONS: Mapping[str, tuple[Direction, ...]] = MappingProxyType(
    {
        "aP": (_EMPTY,),
        **dict.fromkeys(("mP", "mC"), (Direction(_K, _ORTHORHOMBIC[1].planes, _K, _screw(_K, _TWO)),)),
        **dict.fromkeys(("oP", "oC", "oI", "oF"), _ORTHORHOMBIC),
        **dict.fromkeys(("tP", "tI"), _TETRAGONAL),
        "hP": _HEXAGONAL,
        "hR": (_EMPTY, _HEXAGONAL[1]),
        "cP": (_CUBIC_FIRST, _EMPTY, _third("n")),
        "cI": (_CUBIC_FIRST, _EMPTY, _third("n")),
        "cF": (_CUBIC_FIRST, _EMPTY, _third("c")),
    }
)
"""Symmetry directions of each Bravais lattice, in the order of the Hermann-Mauguin symbol."""
_FRAME: Mapping[str, str] = MappingProxyType({"monoclinic": "{centring} 1 {parts} 1"})
"""How the parts of a symbol stand, where not simply after the centring."""


@dataclass(frozen=True)
class ExtinctionClass:
    """Space-group settings with the same absences.

    Attributes:
        symbol: extinction symbol.
        space_groups: their Hermann-Mauguin symbols in this setting.
        operations: of one of them.
        n_extinct: reflections of a fixed box that they forbid beyond the centring: how strict the class is.
    """

    symbol: str
    space_groups: tuple[str, ...]
    operations: gemmi.GroupOps
    n_extinct: int

    def forbidden(self, hkl: Hkl) -> Bool[np.ndarray, "ref"]:
        """Tell which reflections are systematically absent, the centring included."""
        return np.asarray(self.operations.systematic_absences(np.ascontiguousarray(hkl, dtype=np.int32)))


@lru_cache(maxsize=len(LATTICES))
def extinction_classes(symbol: str) -> tuple[ExtinctionClass, ...]:
    """All extinction classes of a Bravais lattice in its conventional setting, from the least to the most strict.

    Orthorhombic settings with permuted axes and monoclinic ones with other cell choices are classes of their own,
    because the cell is given as it is.
    """
    lattice = LATTICES[symbol]
    groups: dict[bytes, list[gemmi.SpaceGroup]] = {}
    for group in gemmi.spacegroup_table():
        if _on_lattice(group, lattice):
            groups.setdefault(group.operations().systematic_absences(_BOX).tobytes(), []).append(group)
    classes = [_class(lattice, pattern, members) for pattern, members in groups.items()]
    return tuple(sorted(classes, key=lambda one: one.n_extinct))


def _on_lattice(group: gemmi.SpaceGroup, lattice: BravaisLattice) -> bool:
    return (
        group.crystal_system_str() in _CRYSTAL_SYSTEMS[lattice.system]
        and group.centring_type() == lattice.centring.symbol
        and group.ext != _RHOMBOHEDRAL_AXES
        and group.monoclinic_unique_axis() in _UNIQUE_AXIS
    )


def _class(lattice: BravaisLattice, pattern: bytes, members: list[gemmi.SpaceGroup]) -> ExtinctionClass:
    absent = np.frombuffer(pattern, dtype=bool)
    names = tuple(dict.fromkeys(group.hm for group in members))
    beyond = int((absent & lattice.allowed(_BOX)).sum())
    operations = members[0].operations()
    return ExtinctionClass(_symbol(lattice, operations, ~absent), names, operations, beyond)


def _symbol(lattice: BravaisLattice, operations: gemmi.GroupOps, present: Bool[np.ndarray, "ref"]) -> str:
    """Read glide planes zone by zone, and then screw axes that no plane and no centring explains."""
    directions = DIRECTIONS[lattice.symbol]
    planes = [_fitting(one.planes, one.generic_mask(_BOX), present, lattice.allowed(_BOX)) for one in directions]
    explained = _explained(lattice, operations, planes)
    screws = [_fitting(one.screws, one.axis_mask(_BOX), present, explained) for one in directions]
    parts = ["/".join(_name(found) for found in pair if found) or "-" for pair in zip(screws, planes, strict=True)]
    frame = _FRAME.get(lattice.system, "{centring} {parts}")
    return frame.format(centring=lattice.centring.symbol, parts=" ".join(parts))


def _name(fitting: list[Condition]) -> str:
    axial = [one.name for one in fitting if one.axial]
    return f"({''.join(axial)})" if len(axial) > 1 else fitting[0].name


def _explained(
    lattice: BravaisLattice, operations: gemmi.GroupOps, planes: list[list[Condition]]
) -> Bool[np.ndarray, "ref"]:
    """Reflections that the centring and the planes, those in equivalent directions too, leave."""
    left = lattice.allowed(_BOX)
    for operation in operations.sym_ops:
        turned = _BOX @ np.array(operation.rot) // gemmi.Op.DEN
        for direction, fitting in zip(DIRECTIONS[lattice.symbol], planes, strict=True):
            if fitting:
                left &= ~direction.zone_mask(turned) | fitting[0].holds(turned)
    return left


def _fitting(
    conditions: tuple[Condition, ...],
    where: Bool[np.ndarray, "ref"],
    present: Bool[np.ndarray, "ref"],
    explained: Bool[np.ndarray, "ref"],
) -> list[Condition]:
    """The conditions that describe what is present; none where nothing but the explained is absent."""
    seen, known = present[where], explained[where]
    if np.array_equal(seen, known):
        return []
    hkl = _BOX[where]
    return [one for one in conditions if np.array_equal(one.holds(hkl) & known, seen)]
