"""Space-group settings in the axes of the table of lattices, and how often each space group occurs.

Two kinds of crystals have different favourites. Minerals: the counts of `app.crystallography.space_group_counts`.
Molecular crystals: after the statistics of the Cambridge Structural Database (a third of all structures P 21/c, a
quarter P -1), of the right order only below one percent. Groups that neither list names occur, rarely.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Final

import gemmi
import numpy as np
from jaxtyping import Bool, Float, Int

from app.crystallography.lattice import LATTICES
from app.crystallography.space_group_counts import SPACE_GROUP_COUNTS
from training.indexing.data.lattices import bravais_of

_BOX = np.stack(np.meshgrid(*[np.arange(-6, 7)] * 3, indexing="ij"), -1).reshape(-1, 3).astype(np.int32)
BOX: Final = _BOX[len(_BOX) // 2 + 1 :]
"""One of each Friedel pair: every condition of a space group (2n, 3n, 4n, 6n) shows up to index 6."""

# fmt: off
MOLECULAR_PERCENT: Mapping[int, float] = MappingProxyType({
    14: 34.5, 2: 24.7, 15: 8.3, 19: 7.2, 4: 5.1, 61: 3.3, 33: 1.4, 62: 1.1, 9: 1.0, 1: 1.0, 60: 0.85, 5: 0.85,
    29: 0.7, 148: 0.6, 11: 0.5, 12: 0.5, 13: 0.6, 18: 0.45, 56: 0.35, 43: 0.35, 88: 0.35, 7: 0.4, 52: 0.2, 82: 0.2,
    86: 0.2, 114: 0.15, 76: 0.15, 92: 0.15, 96: 0.15, 146: 0.15, 167: 0.15, 147: 0.15, 205: 0.15, 20: 0.15,
    64: 0.15, 63: 0.15, 85: 0.1, 87: 0.1, 142: 0.1, 165: 0.1, 159: 0.1, 161: 0.1, 144: 0.1, 152: 0.1, 154: 0.1,
    169: 0.1, 173: 0.1, 176: 0.1, 225: 0.1, 57: 0.1, 58: 0.1, 41: 0.1, 45: 0.1, 54: 0.1, 36: 0.1, 110: 0.1,
    122: 0.1, 130: 0.1, 163: 0.1, 166: 0.1, 198: 0.1, 220: 0.1, 70: 0.1,
})
# fmt: on
"""By number in International Tables: share of structures of the Cambridge Structural Database, about."""
_RARE_MOLECULAR_PERCENT = 0.01
_RARE_MINERAL_COUNT = 0.25


@dataclass(frozen=True)
class Setting:
    """One setting of a space group.

    Attributes:
        symbol: extended Hermann-Mauguin symbol; of several origins one at an inversion centre, where there is one.
        number: in International Tables.
        operations: of the group, in this setting.
    """

    symbol: str
    number: int
    operations: gemmi.GroupOps


@cache
def settings(bravais: str) -> tuple[Setting, ...]:
    """Return the settings of a Bravais lattice in its conventional axes; one for each group and set of absences."""
    return tuple(_by_absences(bravais).values())


def setting_of(bravais: str, symbol: str) -> Setting:
    """Return the setting with this symbol. Raises `KeyError` where the lattice has none."""
    return _by_symbol(bravais)[symbol]


def setting_with_absences(bravais: str, number: int, absent: Bool[np.ndarray, "ref"]) -> Setting | None:
    """Return the setting of a group in which just these reflections of `BOX` are absent; its origin says nothing."""
    return _by_absences(bravais).get((number, absent.tobytes()))


@cache
def _by_symbol(bravais: str) -> Mapping[str, Setting]:
    return {setting.symbol: setting for setting in settings(bravais)}


@cache
def _by_absences(bravais: str) -> Mapping[tuple[int, bytes], Setting]:
    found: dict[tuple[int, bytes], Setting] = {}
    for group in gemmi.spacegroup_table():
        if _is_conventional(group, bravais):
            operations = group.operations()
            key = (group.number, np.asarray(operations.systematic_absences(BOX), bool).tobytes())
            if key not in found or _is_centred(operations) > _is_centred(found[key].operations):
                found[key] = Setting(group.xhm(), group.number, operations)
    return found


def _is_conventional(group: gemmi.SpaceGroup, bravais: str) -> bool:
    return (
        bravais_of(group) == bravais
        and str(group.centring_type()) == LATTICES[bravais].centring.symbol
        and group.monoclinic_unique_axis() in ("b", "\0")
    )


def _is_centred(operations: gemmi.GroupOps) -> bool:
    """Say whether an inversion centre is at the origin."""
    return "-x,-y,-z" in [operation.triplet() for operation in operations.sym_ops]


def mineral_weight(number: int) -> float:
    """How often a group occurs among minerals, as a share; groups never seen count a little."""
    return (SPACE_GROUP_COUNTS.get(number, 0) + _RARE_MINERAL_COUNT) / _MINERALS


def molecular_weight(number: int) -> float:
    """How often a group occurs among molecular crystals, as a share."""
    return MOLECULAR_PERCENT.get(number, _RARE_MOLECULAR_PERCENT) / _MOLECULES


_NUMBERS = range(1, 231)
_MINERALS = sum(SPACE_GROUP_COUNTS.get(number, 0) + _RARE_MINERAL_COUNT for number in _NUMBERS)
_MOLECULES = sum(MOLECULAR_PERCENT.get(number, _RARE_MOLECULAR_PERCENT) for number in _NUMBERS)


@dataclass(frozen=True)
class Operations:
    """Symmetry operations modulo the lattice and its centring: x goes to ``rotations @ x + translations``.

    Attributes:
        rotations: in the axes of the cell, int, shape (operation, 3, 3).
        translations: in fractions of the axes, shape (operation, 3).
        centrings: lattice points of the cell, shape (centring, 3); the first is the origin.
    """

    rotations: Int[np.ndarray, "operation 3 3"]
    translations: Float[np.ndarray, "operation 3"]
    centrings: Float[np.ndarray, "centring 3"]


def operations_of(group: gemmi.GroupOps) -> Operations:
    """Return the operations of a group as arrays."""
    return Operations(
        np.array([operation.rot for operation in group.sym_ops]) // gemmi.Op.DEN,
        np.array([operation.tran for operation in group.sym_ops]) / gemmi.Op.DEN,
        np.array(group.cen_ops) / gemmi.Op.DEN,
    )


def turned_operations(
    operations: Operations, basis: Float[np.ndarray, "3 3"], centrings: Float[np.ndarray, "centring 3"]
) -> Operations:
    """Return operations in axes whose rows in the old ones are ``basis``, with the lattice points of the new cell."""
    change = np.linalg.inv(basis).T
    rotations = np.round(change @ operations.rotations @ np.linalg.inv(change)).astype(int)
    return Operations(rotations, operations.translations @ change.T, centrings)
