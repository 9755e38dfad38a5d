"""One form for all assignments that mean the same lattice: settings of a cell differ, its lattice does not.

An assignment gives p lines p reflections. A change of axes that keeps the lattice's metric and centring changes the
reflections and the solved cell, but not the lattice. `canonical_references` chooses one setting for each assignment by
itself: where axes can be mixed (a and c in monoclinic, all in triclinic lattices), the first lines whose reflections
make a primitive basis become the axes; what freedom is left (permutations, signs) goes to the smallest key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations, permutations
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Float, Int

from app.crystallography.lattice import LATTICES
from app.crystallography.reflections import MAX_INDEX
from training.indexing.data.lattice_patterns import FOREIGN, all_references, reference_index

KEY_BITS = 60
_UNIT = np.eye(3, dtype=int)
_PERMUTED = tuple(_UNIT[list(order)] for order in permutations(range(3)))
_SIGNED = tuple(np.diag(signs) for signs in ((1, 1, 1), (1, 1, -1), (1, -1, 1), (-1, 1, 1)))

Hkl = Int[np.ndarray, "assignment param 3"]


@dataclass(frozen=True)
class Equivalence:
    """Changes of axes between settings of a lattice.

    Attributes:
        mixed: axes that any unimodular change may mix.
        variants: signed permutations that remain to be tried.
        parities: what the two basis reflections become (rows) by the parity of their first mixed index; empty where
            they become the unit vectors. A C-centred monoclinic lattice keeps the parity of h.
    """

    mixed: tuple[int, ...] = ()
    variants: tuple[Int[np.ndarray, "3 3"], ...] = (_UNIT,)
    parities: Mapping[tuple[int, ...], tuple[tuple[int, int], ...]] = field(default_factory=dict)


_ORTHORHOMBIC = Equivalence(variants=_PERMUTED)
EQUIVALENCES: Mapping[str, Equivalence] = MappingProxyType(
    {symbol: Equivalence() for symbol in LATTICES}
    | {
        "oF": _ORTHORHOMBIC,
        "oI": _ORTHORHOMBIC,
        "oP": _ORTHORHOMBIC,
        "oC": Equivalence(variants=(_UNIT, _UNIT[[1, 0, 2]])),
        "mP": Equivalence(mixed=(0, 2), variants=_SIGNED[:2]),
        "mC": Equivalence(
            mixed=(0, 2),
            variants=_SIGNED[:2],
            parities={(1, 0): ((1, 0), (0, 1)), (0, 1): ((0, 1), (1, 0)), (1, 1): ((1, 0), (1, 1))},
        ),
        "aP": Equivalence(mixed=(0, 1, 2), variants=_SIGNED),
    }
)


def canonical_references(symbol: str, hkl: Hkl) -> Int[np.ndarray, "assignment param"]:
    """Return rows of `all_references` for each assignment in its canonical setting.

    Args:
        symbol: of the Bravais lattice.
        hkl: reflections of each assignment in the order of its lines, in any setting.

    Returns:
        `FOREIGN` everywhere in an assignment without a primitive basis or with indices that grow too large.
    """
    equivalence = EQUIVALENCES[symbol]
    basis, target, ok = _basis(equivalence, hkl)
    coordinates = hkl @ np.linalg.inv(basis)
    best = np.full(hkl.shape[:2], FOREIGN, np.int64)
    best_key = np.full(len(hkl), np.iinfo(np.int64).max)
    for variant in equivalence.variants:
        refs = _look_up(symbol, np.rint(coordinates @ variant @ target).astype(int))
        key = np.where(ok & (refs >= 0).all(axis=1), reference_key(refs, _key_base(symbol)), np.iinfo(np.int64).max)
        better = key < best_key
        best[better], best_key[better] = refs[better], key[better]
    return best


def reference_key(refs: Int[np.ndarray, "assignment param"], base: int) -> Int[np.ndarray, "assignment"]:
    """Return the references of each assignment as one number."""
    return refs @ np.int64(base) ** np.arange(refs.shape[1])[::-1]


def _key_base(symbol: str) -> int:
    """As many references as p of them fit a key."""
    return min(len(all_references(symbol)[0]), int(2 ** (KEY_BITS // LATTICES[symbol].n_params)))


def _look_up(symbol: str, hkl: Hkl) -> Int[np.ndarray, "assignment param"]:
    small = np.all(np.abs(hkl) <= MAX_INDEX, axis=-1, keepdims=True)
    refs = reference_index(symbol)[tuple(np.moveaxis(np.where(small, hkl, 0) + MAX_INDEX, -1, 0))]
    return np.where(small[..., 0] & (refs < _key_base(symbol)), refs, FOREIGN)


def _basis(
    equivalence: Equivalence, hkl: Hkl
) -> tuple[Float[np.ndarray, "assignment 3 3"], Float[np.ndarray, "assignment 3 3"], Bool[np.ndarray, "assignment"]]:
    """Find for each assignment the first reflections that span the mixed axes, and what they are to become."""
    n, axes = len(equivalence.mixed), np.array(equivalence.mixed, dtype=int)
    basis, target = (np.broadcast_to(np.eye(3), (len(hkl), 3, 3)).copy() for _ in range(2))
    ok = np.full(len(hkl), n == 0)
    for rows in combinations(range(hkl.shape[1]), n) if n else ():
        open_ = np.flatnonzero(~ok)
        block = hkl[open_][:, rows, :][:, :, axes]
        primitive = np.abs(_determinant(block)) == 1
        found, block = open_[primitive], block[primitive]
        basis[np.ix_(found, axes, axes)] = block
        target[np.ix_(found, axes, axes)] = _targets(equivalence, block)
        ok[found] = True
        if ok.all():
            break
    return basis, target, ok


def _targets(equivalence: Equivalence, block: Int[np.ndarray, "assignment n n"]) -> Int[np.ndarray, "assignment n n"]:
    result = np.broadcast_to(np.eye(block.shape[1], dtype=int), block.shape).copy()
    for parity, rows in equivalence.parities.items():
        result[(block[:, :, 0] % 2 == parity).all(axis=1)] = rows
    return result


def _determinant(block: Int[np.ndarray, "assignment n n"]) -> Int[np.ndarray, "assignment"]:
    """Of 2 x 2 or 3 x 3 integer matrices, exact."""
    if block.shape[-1] == 2:
        return block[:, 0, 0] * block[:, 1, 1] - block[:, 0, 1] * block[:, 1, 0]
    return np.einsum("ni,ni->n", block[:, 0], np.cross(block[:, 1], block[:, 2]))
