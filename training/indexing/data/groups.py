"""Groups of patterns: by lattice system, Bravais lattice and reflection conditions; and which of them are held back.

The report groups structures by hand, from a table of symbols for each lattice system. Here a rule does it, from the
symbol in the order of axes by length (so that the place of a screw axis, a centred face or the unique axis among short
and long axes counts). A class of settings is, from fine to coarse,

0. those with the same absences;
1. those with the same absences on the three axes h00, 0k0 and 00l, and the same face or unique axis;
2. those with as many restricted axes, and the same face or unique axis;
3. those with the same face or unique axis;
4. all of the Bravais lattice.

What is too small for a group of its own at one level joins the other small ones of its class at the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int

from app.crystallography.lattice import LATTICES
from training.indexing.data.conventions import length_order, sorted_symbol
from training.indexing.data.space_groups import BOX, setting_of

LEVELS: Final = 5
LEAST_IN_GROUP: Final = 100
LEAST_SHARE: Final = 0.02
"""A group has this many patterns at least, and this share of its lattice's."""
HELD_BACK: Final = 0.2
_LONGEST_SYMBOLS = 3

Member = tuple[str, str, tuple[int, int, int]]
"""Bravais lattice, symbol in the conventional axes, and order of these axes by length."""


@dataclass(frozen=True)
class Group:
    """One group of a Bravais lattice.

    Attributes:
        name: of the symbols that it holds, or of what they share.
        level: 0 for settings with the same absences up to 4 for what was too small for anything else.
        members: symbols in the order of axes by length, the most frequent first.
    """

    name: str
    level: int
    members: tuple[str, ...]


def members_of(bravais: str, symbols: Sequence[str], cells: Float[np.ndarray, "pattern 6"]) -> list[Member]:
    """Return what decides the group of each pattern of one lattice."""
    return [
        (bravais, str(symbol), (int(a), int(b), int(c)))
        for symbol, (a, b, c) in zip(symbols, length_order(bravais, cells), strict=True)
    ]


def make_groups(members: Iterable[Member]) -> tuple[list[Group], Mapping[Member, int]]:
    """Group the patterns of one Bravais lattice.

    Returns:
        The groups, the largest first, and the number of the group of each kind of member.
    """
    counts = Counter(members)
    least = max(LEAST_IN_GROUP, LEAST_SHARE * counts.total())
    left, found = dict(counts), []
    for level in range(LEVELS):
        classes: dict[tuple, list[Member]] = {}
        for member in left:
            classes.setdefault(_key(member, level), []).append(member)
        for key, group in classes.items():
            if level == LEVELS - 1 or sum(left[member] for member in group) >= least:
                found.append((level, key, group))
        left = {member: count for member, count in left.items() if not any(member in group for *_, group in found)}
    found = _with_small_rest_joined(found, counts, least)
    found.sort(key=lambda one: (-sum(counts[member] for member in one[2]), one[0], str(one[1])))
    number = {member: index for index, (_, _, group) in enumerate(found) for member in group}
    return [_named(level, group, counts) for level, _, group in found], number


def _with_small_rest_joined(found: list, counts: Mapping[Member, int], least: float) -> list:
    """Join the last rest, if it is too small, to the group with the fewest patterns."""
    rest = [one for one in found if one[0] == LEVELS - 1]
    others = [one for one in found if one[0] < LEVELS - 1]
    if not rest or not others or sum(counts[member] for member in rest[0][2]) >= least:
        return found
    smallest = min(others, key=lambda one: (sum(counts[member] for member in one[2]), str(one[1])))
    others.remove(smallest)
    return [*others, (smallest[0], smallest[1], [*smallest[2], *rest[0][2]])]


def _named(level: int, group: list[Member], counts: Mapping[Member, int]) -> Group:
    symbols = Counter()
    for member in group:
        symbols[sorted_symbol(*member)] += counts[member]
    ordered = tuple(symbol for symbol, _ in sorted(symbols.items(), key=lambda one: (-one[1], one[0])))
    more = f" and {len(ordered) - _LONGEST_SYMBOLS} more" if len(ordered) > _LONGEST_SYMBOLS else ""
    return Group(", ".join(ordered[:_LONGEST_SYMBOLS]) + more, level, ordered)


def _key(member: Member, level: int) -> tuple:
    bravais, _, order = member
    absent, axes = _absences(*member)
    where = _place(bravais, order)
    return ((absent,), (where, axes), (where, sum(restricted > 1 for restricted in axes)), (where,), ())[level]


def _place(bravais: str, order: tuple[int, int, int]) -> tuple[int, ...]:
    """Where the axis that differs in kind from the others stands by length: that across C, or the unique one b."""
    return tuple(order.index(axis) for axis in _DIFFERENT.get(bravais, ()))


_DIFFERENT: Mapping[str, tuple[int, ...]] = {"oC": (2,), "mP": (1,), "mC": (1, 2)}


@cache
def _absences(bravais: str, symbol: str, order: tuple[int, int, int]) -> tuple[bytes, tuple[int, ...]]:
    """The absences in the order of axes by length, and on each axis the least index present: 1, 2, 3, 4 or 6."""
    old = np.empty_like(BOX)
    old[:, list(order)] = BOX
    absent = np.asarray(setting_of(bravais, symbol).operations.systematic_absences(np.ascontiguousarray(old)), bool)
    centred = ~LATTICES[bravais].allowed(old)
    axes = []
    for axis in range(3):
        on_axis = np.flatnonzero((np.delete(BOX, axis, axis=1) == 0).all(axis=1))
        steps = np.abs(BOX[on_axis, axis])
        present = steps[~absent[on_axis]]
        free = steps[~centred[on_axis]]
        axes.append(int(present.min(initial=99) // max(1, free.min(initial=99))))
    return absent.tobytes(), tuple(axes)


def choose_sides(
    group: Int[np.ndarray, "pattern"],
    cluster: Int[np.ndarray, "pattern"],
    fixed: Int[np.ndarray, "pattern"],
    rng: np.random.Generator,
    *,
    share: float = HELD_BACK,
) -> Bool[np.ndarray, "pattern"]:
    """Hold back a share of each group, whole clusters of near-duplicates together.

    Args:
        group: of each pattern, over all lattices.
        cluster: number of the near-duplicates that each belongs to.
        fixed: 1 held back already, 0 learnt from already, -1 free; all of a cluster that are not free agree.
        rng: of the order in which clusters are looked at.
        share: to be held back.

    Returns:
        Which patterns are held back.
    """
    names, group = np.unique(group, return_inverse=True)
    held, room = np.zeros(len(group), bool), share * np.bincount(group, minlength=len(names))
    order = np.argsort(cluster, kind="stable")
    rows = np.split(order, np.flatnonzero(np.diff(cluster[order])) + 1)
    room += rng.uniform(-0.5, 0.5, len(room))
    for one in [rows[index] for index in rng.permutation(len(rows))] if len(group) else []:
        settled = fixed[one].max()
        counts = np.bincount(group[one], minlength=len(names))
        if settled == 1 or (settled < 0 and (counts <= room + 0.5)[counts > 0].all()):
            held[one] = True
            room -= counts
    return held
