"""Make the table of low-order assignments: which reflections the first lines of a powder pattern usually are.

An assignment for a Bravais lattice with p free metric terms gives p of the first lines one reflection each; the p x p
linear system q^2 = design @ x then has one candidate cell. TREOR tries such assignments from a short list of base lines
and small indices (P.-E. Werner, L. Eriksson & M. Westdahl, J. Appl. Cryst. 18 (1985) 367); ITO builds zones from pairs
of lines (J. W. Visser, J. Appl. Cryst. 2 (1969) 89). Here the list is learnt: assignments are counted in random
patterns and chosen greedily, so that a short prefix of the list solves most patterns.

The table is an .npz file with three arrays for each Bravais lattice, best assignments first:
``<bravais>_hkl`` int8 (ref, 3), ``<bravais>_lines`` uint8 (assignment, param), numbers of lines from 0, ascending, and
``<bravais>_refs`` uint8 (assignment, param), rows of ``<bravais>_hkl``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import erf

from app.crystallography.bragg import dq2_d_two_theta
from app.crystallography.lattice import LATTICES
from training.indexing.assignments.equivalence import canonical_references
from training.indexing.data.lattice_patterns import FOREIGN, PatternOptions, Patterns, all_references, draw_patterns

MAX_REFERENCES = 256
"""References of one lattice in the file: a row number is one byte."""
PREFIXES = (100, 300, 1000, 3000, 10_000, 30_000, 100_000)
_CHUNK = 50
_PILOT = 1000
_STEP_GROWTH = 1.12
_SMALL_STEP = 10
"""Steps grow by one up to here."""
_FULL = 255
"""Quality 1 as a byte."""


@dataclass(frozen=True)
class Plan:
    """How the list of one crystal family is made.

    Attributes:
        n_lines: observed lines that assignments are made of, from the first.
        share: of the patterns asked for, used for this family.
        rows: assignments kept at most.
        enough: assignments of one pattern after which no further lines of it are used; patterns whose first lines lie
            in one zone or row go on to later lines.
    """

    n_lines: int
    share: float
    rows: int
    enough: int = 300


PLANS: Mapping[str, Plan] = MappingProxyType(
    {
        "c": Plan(6, 0.1, 1000),
        "t": Plan(12, 0.5, 8000),
        "h": Plan(12, 0.5, 8000),
        "o": Plan(15, 0.8, 40_000, 150),
        "m": Plan(16, 1.0, 80_000, 150),
        "a": Plan(16, 1.0, 200_000, 250),
    }
)
"""By the first letter of the Bravais symbol."""


@dataclass(frozen=True)
class Quality:
    """How the worth of an assignment in a pattern is judged.

    Attributes:
        sigma_deg: standard deviation of the errors of the lines, in 2theta.
        tolerance_deg: a line is predicted where the cell puts it this near.
        least: share of lines predicted, below which an assignment is worth nothing.
        solved: share of lines predicted, from which a pattern counts as solved in the report.
        patience: expected hits after which a pattern's weight has fallen to 1/e.
        fewest: patterns in which an assignment must occur.
    """

    sigma_deg: float = 0.015
    tolerance_deg: float = 0.05
    least: float = 0.3
    solved: float = 0.7
    patience: float = 1.0
    fewest: int = 2


QUALITY = Quality()


@dataclass(frozen=True)
class Occurrences:
    """Where assignments occur in patterns, one row for each assignment in each pattern.

    Attributes:
        key: of the assignment.
        owner: the pattern.
        quality: share of the pattern's lines predicted, times 255.
        n_patterns: patterns searched.
    """

    key: Int[np.ndarray, "row"]
    owner: Int[np.ndarray, "row"]
    quality: Int[np.ndarray, "row"]
    n_patterns: int


@dataclass(frozen=True)
class Assignments:
    """The list of one Bravais lattice, best first: the three arrays of the file."""

    hkl: Int[np.ndarray, "ref 3"]
    lines: Int[np.ndarray, "assignment param"]
    refs: Int[np.ndarray, "assignment param"]


@dataclass(frozen=True)
class Coder:
    """Assignments as single numbers.

    Attributes:
        symbol: Bravais lattice.
        n_lines: lines that assignments are made of.
        references: rows of `all_references`, at most 256.
    """

    symbol: str
    n_lines: int
    references: Int[np.ndarray, "ref"]

    @property
    def combinations(self) -> Int[np.ndarray, "combination param"]:
        """Choices of p lines."""
        return line_choices(self.symbol, self.n_lines)

    def encode(
        self, choice: Int[np.ndarray, "row"], refs: Int[np.ndarray, "row param"]
    ) -> tuple[Int[np.ndarray, "row"], Bool[np.ndarray, "row"]]:
        """Return the key of each row of `line_choices` and of `all_references`, and whether it has one."""
        position = np.full(len(all_references(self.symbol)[0]) + 1, FOREIGN, np.int64)
        position[self.references] = np.arange(len(self.references))
        digits = position[refs]
        key = choice.astype(np.int64)
        for column in digits.T:
            key = key * MAX_REFERENCES + column
        return key, np.all(digits >= 0, axis=1)

    def decode(self, key: Int[np.ndarray, "assignment"]) -> Assignments:
        """Return the assignments of these keys, their references limited to those in use."""
        n_params, digits = LATTICES[self.symbol].n_params, []
        for _ in range(n_params):
            key, digit = np.divmod(key, MAX_REFERENCES)
            digits.append(digit)
        used, refs = np.unique(np.stack(digits[::-1], axis=1), return_inverse=True)
        hkl = all_references(self.symbol)[0][self.references[used]]
        lines = self.combinations[key]
        return Assignments(hkl.astype(np.int8), lines.astype(np.uint8), refs.reshape(lines.shape).astype(np.uint8))


def line_choices(symbol: str, n_lines: int) -> Int[np.ndarray, "combination param"]:
    """Return all choices of p of the first lines, lines ascending, choices by their last line."""
    choices = np.array(list(combinations(range(n_lines), LATTICES[symbol].n_params)))
    return choices[np.argsort(choices[:, -1], kind="stable")]


@dataclass(frozen=True)
class Chunk:
    """Assignments found in a few patterns: row of `line_choices`, canonical references, pattern and quality of each."""

    choice: Int[np.ndarray, "row"]
    refs: Int[np.ndarray, "row param"]
    owner: Int[np.ndarray, "row"]
    quality: Float[np.ndarray, "row"]


def find_assignments(symbol: str, patterns: Patterns, n_lines: int, enough: int | None = None) -> Chunk:
    """Return the assignments that are right in these patterns and give their cell a fair precision.

    Args:
        symbol: of the Bravais lattice.
        patterns: of that lattice.
        n_lines: lines to use, from the first.
        enough: leave the further lines of a pattern alone once it has so many assignments; None uses all.
    """
    choices = line_choices(symbol, n_lines)
    counts = np.zeros(len(patterns.ref), np.int64)
    found = []
    for last in range(choices.shape[1] - 1, n_lines):
        wanting = np.flatnonzero(counts < (np.inf if enough is None else enough))
        chunk = _with_last_line(symbol, patterns, wanting, np.flatnonzero(choices[:, -1] == last), choices)
        counts += np.bincount(chunk.owner, minlength=len(counts))
        found.append(chunk)
    return joined(found)


def _with_last_line(
    symbol: str,
    patterns: Patterns,
    wanting: Int[np.ndarray, "wanted"],
    rows: Int[np.ndarray, "tried"],
    choices: Int[np.ndarray, "combination param"],
) -> Chunk:
    """Try the given rows of ``choices`` in the given patterns."""
    hkl, design = all_references(symbol)
    refs = patterns.ref[wanting[:, None, None], choices[rows]]
    pattern, row = np.nonzero((refs >= 0).all(axis=2))
    refs, owner, choice = refs[pattern, row], wanting[pattern], rows[row]
    regular = np.abs(np.linalg.det(design[refs])) > 0.5
    owner, choice, refs = owner[regular], choice[regular], refs[regular]
    quality = predicted_share(design, patterns, owner, choices[choice])
    good = quality >= QUALITY.least
    canonical = canonical_references(symbol, hkl[refs[good]])
    known = (canonical >= 0).all(axis=1)
    return Chunk(choice[good][known], canonical[known], owner[good][known], quality[good][known])


def joined(chunks: Sequence[Chunk]) -> Chunk:
    """Return all rows of several chunks."""
    names = ("choice", "refs", "owner", "quality")
    return Chunk(*(np.concatenate([getattr(chunk, name) for chunk in chunks]) for name in names))


def predicted_share(
    design: Float[np.ndarray, "ref param"],
    patterns: Patterns,
    owner: Int[np.ndarray, "row"],
    lines: Int[np.ndarray, "row param"],
) -> Float[np.ndarray, "row"]:
    """Return the expected share of a pattern's lines that the cell solved from ``lines`` predicts.

    The cell is x = D^-1 q^2 with independent errors of the lines; line i then has the error
    sum_j (d_i D^-1)_j error_j, normal, and is predicted if that is below the tolerance.
    """
    present = patterns.ref >= 0
    slope = dq2_d_two_theta(q2_inv_ang2=np.where(present, patterns.q2_inv_ang2, 0.1), wavelength_ang=_WAVELENGTH)
    rows = np.where(present[..., None], design[patterns.ref], 0.0)
    solved = np.linalg.inv(rows[owner[:, None], lines])
    amplified = (rows[owner] @ solved) * slope[owner[:, None], lines][:, None, :]
    error = QUALITY.sigma_deg * np.sqrt((amplified**2).sum(axis=2)) / slope[owner]
    hit = np.where(present[owner], erf(QUALITY.tolerance_deg / np.sqrt(2) / np.maximum(error, 1e-9)), 0.0)
    return hit.sum(axis=1) / present.sum(axis=1)[owner]


_WAVELENGTH = PatternOptions().wavelength_ang


def _chunks(coder: Coder, count: int, rng: np.random.Generator) -> Iterator[Chunk]:
    for start in range(0, count, _CHUNK):
        patterns = draw_patterns(coder.symbol, min(_CHUNK, count - start), rng)
        chunk = find_assignments(coder.symbol, patterns, coder.n_lines, PLANS[coder.symbol[0]].enough)
        yield replace(chunk, owner=chunk.owner + start)


def frequent_references(coder: Coder, count: int, rng: np.random.Generator) -> Coder:
    """Return a coder with the reflections that occur most often in assignments, weighted by quality."""
    total = np.zeros(len(all_references(coder.symbol)[0]))
    for chunk in _chunks(coder, count, rng):
        weight = np.repeat(np.rint(_FULL * chunk.quality), chunk.refs.shape[1])
        total += np.bincount(chunk.refs.ravel(), weights=weight, minlength=len(total))
    order = np.argsort(-total, kind="stable")[:MAX_REFERENCES]
    return replace(coder, references=np.sort(order[total[order] > 0]))


def count_assignments(coder: Coder, count: int, rng: np.random.Generator) -> Occurrences:
    """Return where assignments occur in ``count`` random patterns."""
    found: list[tuple[Int[np.ndarray, "row"], Int[np.ndarray, "row"], Int[np.ndarray, "row"]]] = []
    for chunk in _chunks(coder, count, rng):
        key, ok = coder.encode(chunk.choice, chunk.refs)
        quality = np.rint(_FULL * chunk.quality[ok]).astype(np.uint8)
        found.append((key[ok], chunk.owner[ok].astype(np.int32), quality))
    key, owner, quality = (np.concatenate(column) for column in zip(*found, strict=True))
    return Occurrences(key, owner, quality, count)


def choose(occurrences: Occurrences, rows: int) -> Int[np.ndarray, "assignment"]:
    """Return up to ``rows`` keys, best first, by greedy weighted coverage.

    In each step the assignments with the largest gain, the sum over patterns of weight times quality, are taken; the
    weight of a pattern falls exponentially with the quality it has got. Steps grow by 12%: a good approximation of
    taking one by one, which guarantees 1 - 1/e of the best coverage (Nemhauser, Wolsey & Fisher, Math. Program. 14
    (1978) 265).
    """
    keys, start, owner, quality = _grouped(occurrences)
    end = np.append(start[1:], len(owner))
    got, taken, chosen, size = np.zeros(occurrences.n_patterns), np.zeros(len(keys), bool), [keys[:0]], 1.0
    left = min(rows, len(keys))
    while left:
        weight = np.exp(-got / QUALITY.patience)
        gain = np.add.reduceat(weight[owner] * quality, start)
        best = _largest(np.where(taken, -1.0, gain), min(left, int(size)))
        taken[best] = True
        chosen.append(keys[best])
        hit = np.concatenate([np.arange(*ends) for ends in zip(start[best], end[best], strict=True)])
        got += np.bincount(owner[hit], weights=quality[hit], minlength=len(got))
        left -= len(best)
        size = max(size + 1, size * _STEP_GROWTH) if size < _SMALL_STEP else size * _STEP_GROWTH
    return np.concatenate(chosen)


def _grouped(
    occurrences: Occurrences,
) -> tuple[
    Int[np.ndarray, "assignment"],
    Int[np.ndarray, "assignment"],
    Int[np.ndarray, "row"],
    Float[np.ndarray, "row"],
]:
    """Return the keys that occur often enough, the first row of each, and the sorted rows' owners and qualities."""
    order = np.argsort(occurrences.key, kind="stable")
    keys, counts = np.unique(occurrences.key, return_counts=True)
    frequent = counts >= QUALITY.fewest
    order = order[np.repeat(frequent, counts)]
    start = np.cumsum(counts[frequent]) - counts[frequent]
    return keys[frequent], start, occurrences.owner[order], occurrences.quality[order].astype(np.float32) / _FULL


def _largest(gain: Float[np.ndarray, "assignment"], count: int) -> Int[np.ndarray, "chosen"]:
    """Return the rows of the largest gains, descending; equal ones in order of their rows."""
    threshold = np.partition(gain, -count)[-count]
    rows = np.flatnonzero(gain >= threshold)
    return rows[np.argsort(-gain[rows], kind="stable")][:count]


def make_assignments(symbol: str, count: int, *, seed: int) -> Assignments:
    """Make the list of one Bravais lattice.

    Args:
        symbol: of the Bravais lattice.
        count: random patterns; the family's share of them is used.
        seed: the same list comes from the same seed.
    """
    plan = PLANS[symbol[0]]
    pilot, main = (generator(symbol, seed, stage) for stage in (0, 1))
    used = max(1, int(count * plan.share))
    coder = frequent_references(Coder(symbol, plan.n_lines, np.array([], int)), min(_PILOT, used), pilot)
    return coder.decode(choose(count_assignments(coder, used, main), plan.rows))


def generator(symbol: str, seed: int, stage: int) -> np.random.Generator:
    """Return the generator of one stage of one lattice, independent of all others."""
    return np.random.default_rng([seed, list(LATTICES).index(symbol), stage])


def write_table(path: Path, table: Mapping[str, Assignments]) -> None:
    """Write the .npz file; see the module's docstring."""
    arrays = {f"{symbol}_{name}": value for symbol, row in table.items() for name, value in vars(row).items()}
    np.savez_compressed(path, allow_pickle=False, **arrays)


def read_table(path: Path) -> dict[str, Assignments]:
    """Read the file that `write_table` made, in the order of `LATTICES`."""
    with np.load(path, allow_pickle=False) as data:
        present = [symbol for symbol in LATTICES if f"{symbol}_hkl" in data]
        return {s: Assignments(data[f"{s}_hkl"], data[f"{s}_lines"], data[f"{s}_refs"]) for s in present}
