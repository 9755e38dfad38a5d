"""Random patterns with the rows of the table of low-order assignments that are right for them.

The patterns are those of `training.indexing.data.lattice_patterns`, half of them with more foreign lines than the
table was made for. A row is right where its lines have its reflections, in some setting of the lattice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from app.crystallography.bragg import dq2_d_two_theta, q2_from_two_theta, two_theta_from_q2
from app.indexing.search.low_order import TABLE, assignments_of
from training.indexing.assignments.coverage import assignment_keys
from training.indexing.assignments.equivalence import canonical_references
from training.indexing.assignments.table import PLANS, find_assignments, generator, line_choices, read_table
from training.indexing.data.lattice_patterns import PatternOptions, Patterns, draw_patterns

N_RIGHT = 48
"""Right rows of a pattern that are kept, the most precise first."""
_CHUNK = 50
_STAGE = 3
"""Of the generator: the table was made of stages 0 and 1, and is judged on stage 2."""
_WAVELENGTH = PatternOptions().wavelength_ang
_KINDS = (PatternOptions(), PatternOptions(foreign=2.5))
_LEAST_DEG, _BEYOND_DEG = 0.1, 179.0
_LOWEST = 0.3
"""A foreign line before the first lies between this share of it and it."""


@dataclass(frozen=True)
class TemplateSet:
    """Patterns of one Bravais lattice.

    Attributes:
        q2: of the lines without errors, Angstrom^-2, NaN where a pattern has fewer, shape (pattern, peak).
        right: rows of the table that are right, -1 where there are fewer, shape (pattern, row).
        quality: share of the pattern's lines that the cell of each such row is expected to predict; 0 where none.
    """

    q2: Float[np.ndarray, "pattern peak"]
    right: Int[np.ndarray, "pattern row"]
    quality: Float[np.ndarray, "pattern row"]

    def __len__(self) -> int:
        return len(self.q2)

    def part(self, rows: slice | Int[np.ndarray, "some"]) -> TemplateSet:
        """Give some of the patterns."""
        return TemplateSet(self.q2[rows], self.right[rows], self.quality[rows])


@cache
def _table_keys(symbol: str) -> tuple[Int[np.ndarray, "row"], Int[np.ndarray, "row"]]:
    """The table's keys, ascending, and the row of each."""
    row = read_table(TABLE)[symbol]
    keys = assignment_keys(symbol, row.lines, canonical_references(symbol, row.hkl[row.refs].astype(int)))
    order = np.argsort(keys, kind="stable")
    return keys[order], order


def draw_templates(symbol: str, count: int, *, seed: int) -> TemplateSet:
    """Draw patterns of a Bravais lattice; those for which no row of the table is right are among them."""
    rng = generator(symbol, seed, _STAGE)
    parts = list(_chunks(symbol, count, rng))
    return TemplateSet(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("q2", "right", "quality"))
    )


def cached_set(folder: Path, symbol: str, count: int, *, seed: int) -> TemplateSet:
    """Draw patterns, or read those drawn before with the same count and seed."""
    path = folder / f"{symbol}-{count}-{seed}.npz"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        found = draw_templates(symbol, count, seed=seed)
        part = path.with_suffix(".part.npz")
        np.savez_compressed(part, **vars(found))
        part.rename(path)
    with np.load(path) as data:
        return TemplateSet(data["q2"], data["right"], data["quality"])


def _chunks(symbol: str, count: int, rng: np.random.Generator) -> Iterator[TemplateSet]:
    for start in range(0, count, _CHUNK):
        options = _KINDS[start // _CHUNK % len(_KINDS)]
        patterns = draw_patterns(symbol, min(_CHUNK, count - start), rng, options)
        right, quality = right_rows(symbol, patterns)
        yield TemplateSet(with_foreign(patterns, rng).astype(np.float32), right, quality)


def right_rows(
    symbol: str, patterns: Patterns
) -> tuple[Int[np.ndarray, "pattern row"], Float[np.ndarray, "pattern row"]]:
    """Give the rows of the table that are right for each pattern, and their quality, see `TemplateSet`."""
    n_lines = int(assignments_of(symbol).lines.max()) + 1
    found = find_assignments(symbol, patterns, n_lines, PLANS[symbol[0]].enough)
    wanted = assignment_keys(symbol, line_choices(symbol, n_lines)[found.choice], found.refs)
    keys, order = _table_keys(symbol)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    hit = keys[place] == wanted
    owner, row, quality = found.owner[hit], order[place[hit]], found.quality[hit]
    best = np.lexsort((-quality, owner))
    owner, row, quality = owner[best], row[best], quality[best]
    number = np.arange(len(owner)) - np.searchsorted(owner, owner)
    kept = number < N_RIGHT
    right = np.full((len(patterns.ref), N_RIGHT), -1, np.int32)
    worth = np.zeros(right.shape, np.float32)
    right[owner[kept], number[kept]], worth[owner[kept], number[kept]] = row[kept], quality[kept]
    return right, worth


def with_foreign(patterns: Patterns, rng: np.random.Generator) -> Float[np.ndarray, "pattern peak"]:
    """Give foreign lines a place between their neighbours; after the last reflection there is no line."""
    return np.stack([_filled(q2, rng) for q2 in patterns.q2_inv_ang2])


def _filled(q2: Float[np.ndarray, "peak"], rng: np.random.Generator) -> Float[np.ndarray, "peak"]:
    known = np.flatnonzero(np.isfinite(q2))
    filled, before = q2.copy(), -1
    for place in known:
        low = q2[before] if before >= 0 else _LOWEST * q2[place]
        gap = slice(before + 1, place)
        filled[gap] = np.sort(rng.uniform(low, q2[place], place - before - 1))
        before = place
    return filled


def measured(
    q2: Float[np.ndarray, "pattern peak"],
    rng: np.random.Generator,
    *,
    sigma_deg: tuple[float, float] = (0.005, 0.03),
    zero_sigma_deg: float = 0.03,
) -> tuple[Float[np.ndarray, "pattern peak"], Float[np.ndarray, "pattern peak"]]:
    """Give positions errors: normal ones of each line, and a zero shift of each pattern.

    Returns:
        q^2 and what a degree is worth at each line, both NaN where there is none, as `template_features` takes them.
    """
    absent = np.isnan(q2)
    two_theta = two_theta_from_q2(q2_inv_ang2=np.where(absent, 0.1, q2).astype(float), wavelength_ang=_WAVELENGTH)
    sigma = rng.uniform(*sigma_deg, (len(q2), 1))
    shift = zero_sigma_deg * rng.standard_normal((len(q2), 1))
    two_theta = np.maximum(two_theta + sigma * rng.standard_normal(q2.shape) + shift, _LEAST_DEG)
    two_theta = np.sort(np.where(absent, _BEYOND_DEG, two_theta), axis=1)
    noisy = q2_from_two_theta(two_theta_deg=two_theta, wavelength_ang=_WAVELENGTH)
    slope = dq2_d_two_theta(q2_inv_ang2=noisy, wavelength_ang=_WAVELENGTH)
    there = two_theta < _BEYOND_DEG
    return np.where(there, noisy, np.nan), np.where(there, slope, np.nan)
