"""Candidates from low-order assignments of the first lines, solved exactly.

A lattice with p free metric terms is fixed by the indices of p lines. TREOR (Werner, Eriksson & Westdahl, J. Appl.
Cryst. 18 (1985) 367) tries few lines with few low indices; ITO (Visser, J. Appl. Cryst. 2 (1969) 89) builds zones of
them. Here the assignments worth trying are listed beforehand for each lattice, best first, from synthetic patterns with
extinctions, weak and impurity lines (`training.indexing.assignments.table`), so that a few thousand solve most.
Where a network is at hand that has learnt which of them are probable for the lines of one pattern
(`app.indexing.learned.templates`), its order takes the place of the list's.
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
from app.indexing.search.cells import (
    MAX_REFLECTIONS,
    Limits,
    form_from_x,
    nearest,
    possible,
    reflections,
)
from app.indexing.search.generator import Effort, Proposal
from app.indexing.search.observed import Observed
from app.indexing.search.row import row_of
from app.indexing.search.sift import BINS, IMPOSSIBLE, low_reflections, mark, sift

TABLE = Path(__file__).parents[1] / "assignments.npz"
MISSED = 0.08
"""Assumed share of the first lines that a right cell leaves unexplained."""
REJECTED = -1e9
"""Score of a candidate that is no possible cell."""
QUICK = 6_000
"""Assignments of a lattice that the quick search of a whole batch takes."""
QUICK_SHARE, LEAST_QUICK = 0.1, 4_000
"""Assignments that a first look takes: a share of the list, or so many."""
FEW, SIFTED = 1_200, 600
"""More rows than the first are sifted until the second are left."""
SIFT_WORTH = 0.25
"""Weight of what an assignment is worth beforehand beside the lines that its cell meets."""
CHUNK = 10_000
"""Assignments between two looks at the clock."""
WINDOW_DEG = 0.05
"""A predicted line within this of an observed one explains it, while candidates are screened."""
LAST_LINE = 20
"""No assignment names a line beyond."""
HOPELESS = -50.0
"""Candidates that explain less are not worth growing."""
PLACE_OFFSET = 20.0
"""An assignment is worth about 1 / (its place in the list + this)."""
WORTH = 0.5
"""Weight of what an assignment is worth beforehand: the screening's lines are not as independent as it takes them."""


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
    matrix, right, solution, form = (
        np.empty((6, 6)),
        np.empty(6),
        np.empty(6),
        np.empty(6),
    )
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
    with np.load(TABLE) as table:
        hkl, lines, refs = (table[f"{bravais}_{name}"] for name in ("hkl", "lines", "refs"))
    design = LATTICES[bravais].design(hkl.astype(np.int64)).astype(np.float64)
    return Assignments(lines.astype(np.int64), refs.astype(np.int64), design)


class LowOrder:
    """The generator."""

    name = "low_order"
    lattices = frozenset(LATTICES)

    def propose(self, bravais: str, observed: Observed, limits: Limits, effort: Effort) -> Proposal:
        """Look at the first of the listed assignments at level 0, at all of them at a higher level."""
        every = len(assignments_of(bravais).lines)
        last = max(int(QUICK_SHARE * every), LEAST_QUICK) if effort.level == 0 else every
        return screened(bravais, observed, limits, effort, first=0, last=last, keep=effort.keep)


def screened(
    bravais: str,
    observed: Observed,
    limits: Limits,
    effort: Effort,
    *,
    first: int,
    last: int,
    keep: int,
) -> Proposal:
    """Solve and screen a part of a lattice's list; give the best of it.

    The list is in its own order, or, where the effort brings templates that know the lattice, in the pattern's. Of many
    rows those are screened that `sift` leaves. Candidates come by their screening score, a log-likelihood ratio, and
    `WORTH` times the logarithm of what their assignment was worth beforehand: of many that explain a few lines by
    chance, those from frequent assignments are the likelier.

    Args:
        bravais, observed, limits, effort: as for a generator.
        first, last: places in the order, the second exclusive; ends where the list ends.
        keep: most candidates.
    """
    part = _part(bravais, observed, effort, first, last)
    tried = len(part.worth)
    if tried > FEW:
        part, tried = _sifted(bravais, part, observed, limits, effort)
    elif effort.stop():
        return Proposal(np.empty((0, part.lines.shape[1])), 0)
    lines, refs, worth = part
    x, score = np.empty(lines.shape), np.full(len(lines), REJECTED)
    low, n_lines = _first_lines(observed, lines.shape[1])
    screen(
        lines, refs, assignments_of(bravais).design, low.q2, WINDOW_DEG * low.per_degree, n_lines,
        *row_of(bravais), limits, x, score,
    )  # fmt: skip
    fit = np.flatnonzero(score > HOPELESS)
    best = fit[np.argsort(-(score[fit] + WORTH * worth[fit]), kind="stable")[:keep]]
    return Proposal(x[best], tried)


class _Part(NamedTuple):
    """Rows of a list, best first, and the logarithm of what each is worth beforehand."""

    lines: Int[np.ndarray, "assignment param"]
    refs: Int[np.ndarray, "assignment param"]
    worth: Float[np.ndarray, "assignment"]


def _part(bravais: str, observed: Observed, effort: Effort, first: int, last: int) -> _Part:
    table, templates = assignments_of(bravais), effort.templates
    rows = slice(min(first, len(table.lines)), min(last, len(table.lines)))
    if templates is None or bravais not in templates.lattices:
        return _Part(table.lines[rows], table.refs[rows], worth_of(rows))
    chosen, worth = (values[rows] for values in templates.ranked(bravais, observed, rows.stop))
    return _Part(table.lines[chosen], table.refs[chosen], worth)


def _first_lines(observed: Observed, n_params: int) -> tuple[Observed, int]:
    """Give the lines that assignments name, and how many of the first are weighed."""
    low = observed.first(LAST_LINE)
    return low, min(len(low.q2), max(n_params + 4, 8))


def _sifted(bravais: str, part: _Part, observed: Observed, limits: Limits, effort: Effort) -> tuple[_Part, int]:
    """Keep the rows that a coarse look likes best; give them and how many were looked at."""
    lines, refs, worth = part
    row, score = row_of(bravais), np.full(len(lines), IMPOSSIBLE)
    low, n_lines = _first_lines(observed, lines.shape[1])
    marks = np.empty(BINS, np.int32)
    end = mark(low.q2, WINDOW_DEG * low.per_degree, n_lines, marks)
    seen = 0
    while seen < len(lines) and not effort.stop():
        now = slice(seen, min(seen + CHUNK, len(lines)))
        sift(
            lines[now], refs[now], assignments_of(bravais).design, low_reflections(bravais), low.q2, marks, end,
            row.terms, row.multiplicity, limits, score[now],
        )  # fmt: skip
        seen = now.stop
    total = score + SIFT_WORTH * worth
    left = np.sort(np.argpartition(-total, SIFTED)[:SIFTED])
    left = left[score[left] > IMPOSSIBLE]
    return _Part(lines[left], refs[left], worth[left]), seen


def worth_of(places: slice) -> Float[np.ndarray, "assignment"]:
    """Logarithm of what the assignments at these places of a list are worth beforehand, up to a constant."""
    return -np.log(np.arange(places.start, places.stop) + PLACE_OFFSET)
