"""Each lattice's metric terms as a cone, and what a line's index says about how many lines a cell predicts.

Written in the edges of its cone of reduced cells, x = y @ edges with y >= 0, a lattice has one set of parameters for
each cell, and every row of the design matrix is >= 0 in them. So a reflection whose row is nowhere larger than s times
another's has at most s times its q^2, in every cell: an observed line of known index tells how many lines lie below it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from app.crystallography.lattice import LATTICES
from app.indexing.compiled import compiled
from app.indexing.search.row import DOMAINS, row_of

LADDER = (20, 30, 40, 55, 80)
"""Numbers of reflections up to the last line for which the tables hold."""
MOST_PREDICTED = LADDER[-1]

Edges = tuple[tuple[float, ...], ...]
_FREE_2: Edges = ((1, 0), (0, 1))
_ORDERED_3: Edges = ((1, 0, 0), (1, 1, 0), (1, 1, 1))
_ORDERED_AB: Edges = ((1, 0, 0), (1, 1, 0), (0, 0, 1))

EDGES: Mapping[str, Edges] = MappingProxyType(
    {
        **dict.fromkeys(("cF", "cI", "cP"), ((1,),)),
        **dict.fromkeys(("hR", "hP", "tI", "tP"), _FREE_2),
        # A >= B >= C: the axes commute.
        **dict.fromkeys(("oF", "oI", "oP"), _ORDERED_3),
        # A >= B: only a and b commute.
        "oC": _ORDERED_AB,
        # 0 <= E <= 2A, E <= C: a* is shortest modulo c*, c* modulo 2a*, which is all that the centring allows.
        "mC": ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (1, 0, 2, 2)),
        # 0 <= E <= A <= C: the net a*, c* reduced.
        "mP": ((0, 1, 0, 0), (0, 0, 1, 0), (1, 0, 1, 0), (1, 0, 1, 1)),
    }
)
"""Rows are the edges of the cone of reduced cells, in metric terms."""


class Cone(NamedTuple):
    """The reflections of one lattice as the search for assignments reads them.

    Attributes:
        edges: x = y @ edges, shape (param, param).
        rows: q^2 = rows @ y, distinct, >= 0, shape (ref, param).
        ratio: in a cell where reflection r has q^2 = 1, more than LADDER[n] reflections have q^2 <= ratio[r, n];
            shape (ref, rung).
    """

    edges: Float[np.ndarray, "param param"]
    rows: Float[np.ndarray, "ref param"]
    ratio: Float[np.ndarray, "ref rung"]


@compiled
def _few_below(
    rows: Float[np.ndarray, "ref param"], every: Float[np.ndarray, "other param"], most: int
) -> Bool[np.ndarray, "ref"]:
    """Tell which rows have no more than ``most`` others nowhere larger."""
    few = np.ones(rows.shape[0], np.bool_)
    for r in range(rows.shape[0]):
        count = 0
        for o in range(every.shape[0]):
            below = True
            for p in range(rows.shape[1]):
                below &= every[o, p] <= rows[r, p]
            count += below
            if count > most:
                few[r] = False
                break
    return few


@compiled
def _ratios(
    rows: Float[np.ndarray, "ref param"], every: Float[np.ndarray, "other param"], rungs: Int[np.ndarray, "rung"]
) -> Float[np.ndarray, "ref rung"]:
    """Give the (rung + 1)th smallest value of max(other row / row) for each row."""
    ratio = np.full((rows.shape[0], rungs.shape[0]), np.inf)
    values = np.full(max(every.shape[0], rungs[-1] + 1), np.inf)
    for r in range(rows.shape[0]):
        for o in range(every.shape[0]):
            largest = 0.0
            for p in range(rows.shape[1]):
                if every[o, p] > 0.0:
                    largest = max(largest, every[o, p] / rows[r, p])
            values[o] = largest
        ascending = np.sort(np.partition(values, rungs[-1])[: rungs[-1] + 1])
        for n in range(rungs.shape[0]):
            ratio[r, n] = ascending[rungs[n]]
    return ratio


@cache
def cone_of(bravais: str) -> Cone:
    """Tabulate the reflections that can lie among the first `MOST_PREDICTED` of some cell."""
    edges = np.array(EDGES[bravais], dtype=np.float64)
    every = LATTICES[bravais].design(_candidates(bravais)) @ edges.T
    every = every[np.argsort(every.sum(axis=1), kind="stable")]
    # Of the first N + 1 in any cell, none has more than N others below it; a margin for those that are equal.
    every = every[_few_below(every, every, MOST_PREDICTED + 16)]
    rows = np.unique(every, axis=0)
    rows = rows[_few_below(rows, every, MOST_PREDICTED)]
    return Cone(edges, rows, _ratios(rows, every, np.array(LADDER)))


def _candidates(bravais: str) -> np.ndarray:
    """Allowed indices, one of each equivalent set, with few enough others in their box to be among the first."""
    lattice, domain = LATTICES[bravais], DOMAINS[LATTICES[bravais].system]
    most = MOST_PREDICTED * row_of(bravais).multiplicity
    bound = np.arange(int(most) + 1)
    hk = [(h, k) for h in bound for k in bound if (h + 1) * (k + 1) <= 4 * most]
    hkl = np.array([(h, k, l) for h, k in hk for l in range(int(4 * most / ((h + 1) * (k + 1))))])  # noqa: E741
    if domain.negative_l:
        twice = hkl[(hkl[:, 0] > 0) & (hkl[:, 2] > 0)]
        hkl = np.concatenate([hkl, twice * np.array([1, 1, -1])])
    h, k, l = hkl.T  # noqa: E741
    keep = hkl.any(axis=1) & lattice.allowed(hkl)
    keep &= (h >= k) | (not domain.h_from_k)
    keep &= (k >= l) | (not domain.k_from_l)
    return hkl[keep]
