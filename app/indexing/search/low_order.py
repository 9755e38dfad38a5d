"""Candidates from low-order assignments of the first lines, solved exactly.

A lattice with p free metric terms is fixed by the indices of p lines. TREOR (Werner, Eriksson & Westdahl, J. Appl.
Cryst. 18 (1985) 367) tries few lines with few low indices; ITO (Visser, J. Appl. Cryst. 2 (1969) 89) builds zones of
them. Here the assignments worth trying are listed beforehand for each lattice, best first, from synthetic patterns with
extinctions, weak and impurity lines (`training.indexing.assignments`), so that a few thousand solve most patterns.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from app.crystallography.lattice import LATTICES
from app.indexing.compiled import compiled
from app.indexing.search import linear
from app.indexing.search.cells import MAX_REFLECTIONS, Limits, form_from_x, nearest, possible, reflections
from app.indexing.search.generator import Effort, Proposal
from app.indexing.search.observed import Observed
from app.indexing.search.row import row_of

_TABLE = Path(__file__).parents[1] / "assignments.npz"
MISSED = 0.08
"""Assumed share of the first lines that a right cell leaves unexplained."""
REJECTED = -1e9
"""Score of a candidate that is no possible cell."""
QUICK = 6_000
"""Assignments of a lattice that a first look takes."""
CHUNK = 10_000
"""Assignments between two looks at the clock."""
WINDOW_DEG = 0.05
"""A predicted line within this of an observed one explains it, while candidates are screened."""
LAST_LINE = 20
"""No assignment names a line beyond."""
HOPELESS = -50.0
"""Candidates that explain less are not worth growing."""


class Assignments(NamedTuple):
    """The assignments of one lattice, best first.

    Attributes:
        lines: 0-based numbers of the lines, shape (assignment, param).
        refs: numbers of the reflections, shape (assignment, param).
        design: design rows of the reflections.
    """

    lines: Int[np.ndarray, "assignment param"]
    refs: Int[np.ndarray, "assignment param"]
    design: Float[np.ndarray, "ref param"]


@compiled
def screen(  # noqa: C901 - one compiled loop
    lines: Int[np.ndarray, "assignment param"],
    refs: Int[np.ndarray, "assignment param"],
    design: Float[np.ndarray, "ref param"],
    q2: Float[np.ndarray, "peak"],
    window: Float[np.ndarray, "peak"],
    n_lines: int,
    terms: Float[np.ndarray, "param 6"],
    domain: Bool[np.ndarray, "4"],
    allowed: Bool[np.ndarray, "6 6 6"],
    multiplicity: float,
    limits: Limits,
    x: Float[np.ndarray, "assignment param"],
    score: Float[np.ndarray, "assignment"],
) -> None:
    """Solve each assignment and weigh how many of the first lines the cell explains against chance.

    The score is a log-likelihood ratio: an explained line counts -log of the probability that one of as many
    reflections falls into its window by chance, a missed one counts against the cell.

    Args:
        lines, refs, design: see `Assignments`.
        q2: all lines; assignments that name a line beyond them are rejected.
        window: half-width of each line's window in q^2.
        n_lines: number of first lines to weigh.
        terms, domain, allowed, multiplicity: the lattice's `Row`.
        limits: bounds on the cell.
        x, score: written; `REJECTED` where the cell is not possible.
    """
    n_params = terms.shape[0]
    matrix, right, solution, form = np.empty((6, 6)), np.empty(6), np.empty(6), np.empty(6)
    delta, index = np.empty(n_lines), np.zeros(n_lines, np.int64)
    predicted, hkl = np.empty(MAX_REFLECTIONS), np.empty((MAX_REFLECTIONS, 3), np.int64)
    q2_max = q2[n_lines - 1] + window[n_lines - 1]
    for t in range(lines.shape[0]):
        score[t] = REJECTED
        within = True
        for i in range(n_params):
            if lines[t, i] >= q2.shape[0]:
                within = False
                break
            right[i] = q2[lines[t, i]]
            for j in range(n_params):
                matrix[i, j] = design[refs[t, i], j]
        if not within or not linear.solve(matrix, right, n_params, solution):
            continue
        form_from_x(solution, terms, form)
        if not possible(form, multiplicity, limits):
            continue
        count = reflections(form, domain, allowed, q2_max, predicted, hkl)
        if count < 0:
            continue
        nearest(predicted, count, q2, n_lines, delta, index)
        # The number of reflections grows as q^3: their density in q^2 as q.
        density = 1.5 * count / q2_max
        total = 0.0
        for i in range(n_lines):
            chance = 1.0 - math.exp(-2.0 * window[i] * density * math.sqrt(q2[i] / q2_max))
            if abs(delta[i]) < window[i]:
                total -= math.log(chance + 1e-3)
            else:
                total += math.log(MISSED / (1.0 - chance + 1e-3))
        score[t] = total
        for p in range(n_params):
            x[t, p] = solution[p]


@cache
def assignments_of(bravais: str) -> Assignments:
    """Read the assignments of a lattice."""
    with np.load(_TABLE) as table:
        hkl, lines, refs = (table[f"{bravais}_{name}"] for name in ("hkl", "lines", "refs"))
    design = LATTICES[bravais].design(hkl.astype(np.int64)).astype(np.float64)
    return Assignments(lines.astype(np.int64), refs.astype(np.int64), design)


class LowOrder:
    """The generator."""

    name = "low_order"
    lattices = frozenset(LATTICES)

    def propose(self, bravais: str, observed: Observed, limits: Limits, effort: Effort) -> Proposal:
        """Screen the listed assignments: the first of them at level 0, all at a higher level."""
        table = assignments_of(bravais)
        count = min(len(table.lines), QUICK) if effort.level == 0 else len(table.lines)
        n_params = table.lines.shape[1]
        x, score = np.empty((count, n_params)), np.full(count, REJECTED)
        first = observed.first(LAST_LINE)
        window = WINDOW_DEG * first.per_degree
        n_lines = min(len(first.q2), max(n_params + 4, 8))
        tried = 0
        while tried < count and not effort.stop():
            part = slice(tried, min(tried + CHUNK, count))
            screen(
                table.lines[part], table.refs[part], table.design, first.q2, window, n_lines,
                *row_of(bravais), limits, x[part], score[part],
            )  # fmt: skip
            tried = part.stop
        return Proposal(_best(x, score, effort.keep), tried)


def _best(
    x: Float[np.ndarray, "cell param"], score: Float[np.ndarray, "cell"], keep: int
) -> Float[np.ndarray, "cell param"]:
    kept = np.argpartition(-score, keep)[:keep] if len(score) > keep else np.arange(len(score))
    kept = kept[score[kept] > HOPELESS]
    return x[kept[np.argsort(-score[kept], kind="stable")]]
