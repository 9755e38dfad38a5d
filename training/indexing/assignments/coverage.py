"""How many unseen random patterns a prefix of a list of assignments solves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from training.indexing.assignments.equivalence import canonical_references, reference_key
from training.indexing.assignments.table import (
    PREFIXES,
    QUALITY,
    Assignments,
    find_assignments,
    generator,
    line_choices,
)
from training.indexing.data.lattice_patterns import all_references, draw_patterns

_STAGE = 2
_CHUNK = 25
_MIX = np.uint64(0x9E3779B97F4A7C15)
"""Odd (2^64 / golden ratio): spreads the lines over the key of the references."""
_NEVER = 2**62


def first_solving(
    symbol: str, table: Assignments, count: int, *, seed: int, least: float = QUALITY.solved
) -> Int[np.ndarray, "pattern"]:
    """Return for each of ``count`` random patterns the first row of the list that solves it, -1 where none does.

    Rows are compared with the patterns in the canonical setting, so that lists made in other settings are judged alike.

    Args:
        symbol: of the Bravais lattice.
        table: its list.
        count: patterns.
        seed: of the patterns; they differ from those that a list with this seed was made of.
        least: expected share of a pattern's lines that the solved cell must predict.
    """
    keys = assignment_keys(symbol, table.lines, canonical_references(symbol, table.hkl[table.refs].astype(int)))
    keys, rank = np.unique(keys, return_index=True)
    rng, choices = generator(symbol, seed, _STAGE), line_choices(symbol, int(table.lines.max()) + 1)
    best = np.full(count, _NEVER)
    for start in range(0, count, _CHUNK):
        patterns = draw_patterns(symbol, min(_CHUNK, count - start), rng)
        chunk = find_assignments(symbol, patterns, int(table.lines.max()) + 1)
        wanted = assignment_keys(symbol, choices[chunk.choice], chunk.refs)
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        hit = (keys[place] == wanted) & (chunk.quality >= least)
        np.minimum.at(best, chunk.owner[hit] + start, rank[place[hit]])
    return np.where(best == _NEVER, -1, best)


def covered(first: Int[np.ndarray, "pattern"], prefixes: Sequence[int] = PREFIXES) -> list[float]:
    """Return the share of patterns that each prefix solves."""
    return [float(np.mean((first >= 0) & (first < prefix))) for prefix in prefixes]


def assignment_keys(
    symbol: str, lines: Int[np.ndarray, "row param"], refs: Int[np.ndarray, "row param"]
) -> Int[np.ndarray, "row"]:
    """One number for each assignment: its references' key mixed with a bit mask of its lines."""
    mask = (1 << lines.astype(np.int64)).sum(axis=1).astype(np.uint64)
    n_refs = len(all_references(symbol)[0])
    base = min(n_refs, 2 ** (60 // refs.shape[1]))
    return reference_key(refs, base).astype(np.uint64) * _MIX + mask
