"""A first, coarse look at solved assignments: cheap enough for all of a list, so that few are screened with care.

A right cell puts its lowest reflections where lines are. So the q^2 axis is marked once for each pattern with the lines
that are near, and an assignment is judged by which lines a fixed set of low reflections of its cell meets, and how many
of these reflections meet none: sixty products and look-ups instead of all reflections of the cell in order.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Float, Int

from app.crystallography.reflections import reference_reflections
from app.indexing.compiled import compiled
from app.indexing.search import linear
from app.indexing.search.cells import Limits, form_from_x, possible

N_LOW = 60
"""Low reflections of a cell that are looked at. Of a long cell the first lines are not among the thirty that come first
in most cells."""
BINS = 8192
"""Into which the q^2 axis up to the last line is cut: half of the window of the first lines, or less."""
MISSED = 0.25
"""What a reflection without a line takes off, against 1 for a line that is met: many are absent or weak."""
IMPOSSIBLE = -1e9
"""Score of what is no possible cell."""


@cache
def low_reflections(bravais: str) -> Float[np.ndarray, "param low"]:
    """Give the design columns of the reflections of a lattice that usually come first."""
    return np.ascontiguousarray(reference_reflections(bravais).design[:N_LOW].T)


@compiled
def mark(
    q2: Float[np.ndarray, "peak"],
    window: Float[np.ndarray, "peak"],
    n_lines: int,
    marks: Int[np.ndarray, "bin"],
) -> float:
    """Set bit i of each bin within the window of line i, for the first lines; give q^2 at the end of the bins."""
    end = float(q2[n_lines - 1] + window[n_lines - 1])
    scale = marks.shape[0] / end
    marks[:] = 0
    for i in range(n_lines):
        first = max(int((q2[i] - window[i]) * scale), 0)
        last = min(int((q2[i] + window[i]) * scale), marks.shape[0] - 1)
        for place in range(first, last + 1):
            marks[place] |= 1 << i
    return end


@compiled
def sift(  # noqa: C901 - one compiled loop
    lines: Int[np.ndarray, "assignment param"],
    refs: Int[np.ndarray, "assignment param"],
    design: Float[np.ndarray, "ref param"],
    low: Float[np.ndarray, "param low"],
    q2: Float[np.ndarray, "peak"],
    marks: Int[np.ndarray, "bin"],
    end: float,
    terms: Float[np.ndarray, "param 6"],
    multiplicity: float,
    limits: Limits,
    score: Float[np.ndarray, "assignment"],
) -> None:
    """Solve each assignment and count the lines that low reflections of its cell meet.

    Args:
        lines, refs, design: see `Assignments`.
        low: see `low_reflections`.
        q2: all lines; assignments that name a line beyond them are no possible cells.
        marks, end: see `mark`.
        terms, multiplicity: of the lattice's `Row`.
        limits: bounds on the cell.
        score: written; `IMPOSSIBLE` where the cell is not possible.
    """
    n_params, n_low = low.shape
    matrix, right, x, form = np.empty((6, 6)), np.empty(6), np.empty(6), np.empty(6)
    predicted = np.empty(n_low)
    scale = marks.shape[0] / end
    for t in range(lines.shape[0]):
        score[t] = IMPOSSIBLE
        within = True
        for i in range(n_params):
            if lines[t, i] >= q2.shape[0]:
                within = False
                break
            right[i] = q2[lines[t, i]]
            for j in range(n_params):
                matrix[i, j] = design[refs[t, i], j]
        if not within or not linear.solve(matrix, right, n_params, x):
            continue
        form_from_x(x, terms, form)
        if not possible(form, multiplicity, limits):
            continue
        for m in range(n_low):
            predicted[m] = 0.0
        for p in range(n_params):
            for m in range(n_low):
                predicted[m] += x[p] * low[p, m]
        met, missed = 0, 0
        for m in range(n_low):
            if predicted[m] < end:
                near = marks[min(int(predicted[m] * scale), marks.shape[0] - 1)]
                met |= near
                if near == 0:
                    missed += 1
        total = -MISSED * missed
        while met:
            met &= met - 1
            total += 1.0
        score[t] = total
