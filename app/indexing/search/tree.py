"""Depth-first walk over all assignments of indices to the lowest lines, in compiled code that can be interrupted.

A level of the tree gives one more line one more index. The metric terms that agree with the lines given so far are
``y = point + null @ free``, and an error of the given lines moves the point by ``spread`` at most; so whether a cell
can explain a further line is decided without ever leaving a possible cell out. A line is passed over without an index
where the indices given so far explain it, or as an impurity.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from app.indexing.compiled import compiled
from app.indexing.search.cells import MAX_REFLECTIONS, Limits, possible, reflections

INDEPENDENT = 1e-9
"""Smaller products of an index row with the free directions are zero."""
_COST_OF_A_LEVEL, _COST_OF_A_LINE, _COST_OF_A_COUNT = 20, 4, 40
"""In looks at an index."""
_COUNT_AFTER = 4
"""Lines beyond the given ones that a cell must explain before its reflections are counted."""


class Lines(NamedTuple):
    """The lines, and which reflections each can be.

    Attributes:
        q2, window: positions and half-widths, Angstrom^-2, shape (peak,).
        listed: the first so many of the rows can be this line, shape (peak,).
        most: reflections that a cell may predict up to the last line.
        max_missed: lines that may stay unexplained.
    """

    q2: Float[np.ndarray, "peak"]
    window: Float[np.ndarray, "peak"]
    listed: Int[np.ndarray, "peak"]
    most: int
    max_missed: int


class Stack(NamedTuple):
    """Where the walk stands; `level[0]` is -1 once it is through.

    Attributes:
        level: lines given an index so far, shape (1,).
        line, place, missed: of each level: the line to be given an index, the next index in its list, lines missed.
        ref: index given at each level.
        point, null, spread: cells that agree with the given lines, see the module; spread has a column for each line.
        cover: how far each reflection is above what surely lies below the last line; <= 0 where it does too.
    """

    level: Int[np.ndarray, "1"]
    line: Int[np.ndarray, "level"]
    place: Int[np.ndarray, "level"]
    missed: Int[np.ndarray, "level"]
    ref: Int[np.ndarray, "level"]
    point: Float[np.ndarray, "level param"]
    null: Float[np.ndarray, "level param param"]
    spread: Float[np.ndarray, "level param param"]
    cover: Float[np.ndarray, "level ref"]


def new_stack(n_params: int, n_refs: int) -> Stack:
    """Start at the root: no line has an index, every cell is possible."""
    n = n_params + 1
    null = np.zeros((n, n_params, n_params))
    null[0] = np.eye(n_params)
    line, place, missed, ref = (np.zeros(n, np.int64) for _ in range(4))
    spread, cover = np.zeros((n, n_params, n_params)), np.full((n, n_refs), np.inf)
    return Stack(np.zeros(1, np.int64), line, place, missed, ref, np.zeros((n, n_params)), null, spread, cover)


@compiled
def _margin(row: Float[np.ndarray, "param"], spread: Float[np.ndarray, "param param"], rank: int) -> float:
    """Largest change of ``row . y`` by errors of the given lines."""
    total = 0.0
    for j in range(rank):
        change = 0.0
        for p in range(row.shape[0]):
            change += row[p] * spread[p, j]
        total += abs(change)
    return total


@compiled
def _compatible(
    row: Float[np.ndarray, "param"],
    other: Float[np.ndarray, "param"],
    lowest: float,
    highest: float,
) -> bool:
    """Tell whether ``row . y / other . y`` can lie between two values for some y >= 0."""
    least, most = np.inf, 0.0
    for p in range(row.shape[0]):
        if other[p] > 0.0:
            ratio = row[p] / other[p]
            least, most = min(least, ratio), max(most, ratio)
        elif row[p] > 0.0:
            most = np.inf
    return least <= highest and most >= lowest


@compiled
def _cover(
    columns: Float[np.ndarray, "4 ref"], n: int, corner: Float[np.ndarray, "4"], nearest: Float[np.ndarray, "ref"]
) -> None:
    """Lower ``nearest`` to how far each row is above a corner."""
    c0, c1, c2, c3 = columns[0], columns[1], columns[2], columns[3]
    k0, k1, k2, k3 = corner[0], corner[1], corner[2], corner[3]
    for r in range(n):
        above, other = c0[r] - k0, c1[r] - k1
        above = above if above > other else other
        other = c2[r] - k2
        above = above if above > other else other
        other = c3[r] - k3
        above = above if above > other else other
        nearest[r] = above if above < nearest[r] else nearest[r]


@compiled
def _crowded(columns: Float[np.ndarray, "4 ref"], rank: int, lines: Lines, stack: Stack) -> bool:
    """Tell whether every cell with the given lines predicts too many reflections.

    A row nowhere larger than ``sum t_j row_j`` with ``sum t_j q2_j <= q2_last`` lies below the last line: tried for
    each given line alone, each two mixed by quarters, and all in equal parts. Most of it was done at the level before.
    """
    n, last = lines.listed[-1], lines.q2[-1]
    newest, cover = rank - 1, stack.cover[rank]
    corners, mixed = np.zeros((rank, 4)), np.zeros(4)
    for j in range(rank):
        given = stack.line[j]
        scale = last / (lines.q2[given] + lines.window[given])
        for p in range(4):
            corners[j, p] = scale * columns[p, stack.ref[j]]
            mixed[p] += corners[j, p] / rank
    for r in range(n):
        cover[r] = stack.cover[newest, r]
    _cover(columns, n, corners[newest], cover)
    if rank > 2:
        _cover(columns, n, mixed, cover)
    for j in range(newest):
        for share in (0.25, 0.5, 0.75):
            for p in range(4):
                mixed[p] = share * corners[j, p] + (1.0 - share) * corners[newest, p]
            _cover(columns, n, mixed, cover)
    count = 0
    for r in range(n):
        count += 1 if cover[r] <= 0.0 else 0
    return count > lines.most


@compiled
def _explained_by_given(
    rows: Float[np.ndarray, "ref param"], lines: Lines, line: int, rank: int,
    point: Float[np.ndarray, "param"], null: Float[np.ndarray, "param param"], spread: Float[np.ndarray, "param param"],
) -> bool:  # fmt: skip
    """Tell whether a reflection whose q^2 the given lines fix can be this line."""
    n_params = rows.shape[1]
    for r in range(lines.listed[line]):
        fixed, q2 = True, 0.0
        for j in range(n_params - rank):
            change = 0.0
            for p in range(n_params):
                change += rows[r, p] * null[p, j]
            if abs(change) > INDEPENDENT:
                fixed = False
                break
        if not fixed:
            continue
        for p in range(n_params):
            q2 += rows[r, p] * point[p]
        if abs(q2 - lines.q2[line]) <= lines.window[line] + _margin(rows[r], spread, rank):
            return True
    return False


@compiled
def _pivot(
    row: Float[np.ndarray, "param"], null: Float[np.ndarray, "param param"], rank: int, product: Float[np.ndarray, "4"]
) -> int:
    """Write row @ null and give the place of its largest element; -1 where the row is not independent."""
    pivot, largest = -1, INDEPENDENT
    for j in range(row.shape[0] - rank):
        product[j] = 0.0
        for p in range(row.shape[0]):
            product[j] += row[p] * null[p, j]
        if abs(product[j]) > largest:
            pivot, largest = j, abs(product[j])
    return pivot


@compiled
def _give(row: Float[np.ndarray, "param"], line: int, lines: Lines, rank: int, stack: Stack) -> bool:
    """Write the cells in which the line has this index to the next level; False where the row is not independent."""
    n_params, point, null, spread = row.shape[0], stack.point, stack.null, stack.spread
    product, moved = np.empty(4), np.zeros(4)
    pivot = _pivot(row, null[rank], rank, product)
    if pivot < 0:
        return False
    missing = lines.q2[line]
    for p in range(n_params):
        missing -= row[p] * point[rank, p]
        for j in range(rank):
            moved[j] += row[p] * spread[rank, p, j]
    for p in range(n_params):
        unit = null[rank, p, pivot] / product[pivot]
        point[rank + 1, p] = point[rank, p] + unit * missing
        for j in range(rank):
            spread[rank + 1, p, j] = spread[rank, p, j] - unit * moved[j]
        spread[rank + 1, p, rank] = unit * lines.window[line]
        # The pivot's place is taken by the last free direction.
        for j in range(n_params - rank - 1):
            source = n_params - rank - 1 if j == pivot else j
            null[rank + 1, p, j] = null[rank, p, source] - unit * product[source]
    return True


@compiled
def _explained(
    rows: Float[np.ndarray, "ref param"], columns: Float[np.ndarray, "4 ref"], lines: Lines, line: int,
    y: Float[np.ndarray, "4"], error: Float[np.ndarray, "4"], spread: Float[np.ndarray, "param param"],
    near: Int[np.ndarray, "ref"],
) -> bool:  # fmt: skip
    """Tell whether a cell, within its errors, has a reflection within the line's window."""
    bottom, top = lines.q2[line] - lines.window[line], lines.q2[line] + lines.window[line]
    c0, c1, c2, c3 = columns[0], columns[1], columns[2], columns[3]
    y0, y1, y2, y3, e0, e1, e2, e3 = y[0], y[1], y[2], y[3], error[0], error[1], error[2], error[3]
    any_near = 0
    for r in range(lines.listed[line]):
        q2 = c0[r] * y0 + c1[r] * y1 + c2[r] * y2 + c3[r] * y3
        margin = c0[r] * e0 + c1[r] * e1 + c2[r] * e2 + c3[r] * e3
        near[r] = 1 if (q2 + margin >= bottom) & (q2 - margin <= top) else 0
        any_near |= near[r]
    if any_near:
        for r in range(lines.listed[line]):
            if near[r]:
                q2 = c0[r] * y0 + c1[r] * y1 + c2[r] * y2 + c3[r] * y3
                margin = _margin(rows[r], spread, rows.shape[1])
                if q2 + margin >= bottom and q2 - margin <= top:
                    return True
    return False


@compiled
def _contradicts(rows: Float[np.ndarray, "ref param"], lines: Lines, stack: Stack, rank: int, ref: int) -> bool:
    """Tell whether no cell gives the line at hand this index and a line before it its own."""
    line = int(stack.line[rank])
    q2, window = lines.q2[line], lines.window[line]
    for j in range(rank):
        given = stack.line[j]
        lowest = (q2 - window) / (lines.q2[given] + lines.window[given])
        highest = (q2 + window) / (lines.q2[given] - lines.window[given])
        if not _compatible(rows[ref], rows[stack.ref[j]], float(lowest), float(highest)):
            return True
    return False


@compiled
def _go_on(rows: Float[np.ndarray, "ref param"], lines: Lines, stack: Stack, rank: int, line: int) -> None:
    """Turn to the next line that the given indices do not explain."""
    while line < lines.q2.shape[0] and rank > 0:
        if not _explained_by_given(rows, lines, line, rank, stack.point[rank], stack.null[rank], stack.spread[rank]):
            break
        line += 1
    stack.line[rank], stack.place[rank] = line, 0


@compiled
def _leave_line(rows: Float[np.ndarray, "ref param"], lines: Lines, stack: Stack, rank: int) -> None:
    """Leave a line whose indices are all through as an impurity, or go back."""
    if stack.line[rank] < lines.q2.shape[0] and stack.missed[rank] < lines.max_missed:
        stack.missed[rank] += 1
        _go_on(rows, lines, stack, rank, int(stack.line[rank]) + 1)
    else:
        stack.level[0] = rank - 1


@compiled
def _cell(
    stack: Stack, n_params: int, forms: Float[np.ndarray, "param 6"], multiplicity: float, limits: Limits,
    y: Float[np.ndarray, "4"], error: Float[np.ndarray, "4"], form: Float[np.ndarray, "6"],
) -> bool:  # fmt: skip
    """Write the cell that as many lines as parameters fix, and its error; False where it is not possible."""
    for p in range(n_params):
        y[p], error[p] = stack.point[n_params, p], 0.0
        for j in range(n_params):
            error[p] += abs(stack.spread[n_params, p, j])
        if y[p] < -error[p]:
            return False
        y[p] = max(y[p], 0.0)
    for j in range(6):
        form[j] = 0.0
        for p in range(n_params):
            form[j] += y[p] * forms[p, j]
    return possible(form, multiplicity, limits)


@compiled
def _surely_below(last: float, n_params: int, y: Float[np.ndarray, "4"], error: Float[np.ndarray, "4"]) -> float:
    """Give the q^2 below which this cell's reflections are below ``last`` whatever its errors."""
    least = last
    for p in range(n_params):
        if error[p] > 0.0:
            least = min(least, last * y[p] / (y[p] + error[p]))
    return least


@compiled
def walk(  # noqa: C901 - one loop; its steps are above
    rows: Float[np.ndarray, "ref param"],
    columns: Float[np.ndarray, "4 ref"],
    lines: Lines,
    stack: Stack,
    forms: Float[np.ndarray, "param 6"],
    domain: Bool[np.ndarray, "4"],
    allowed: Bool[np.ndarray, "6 6 6"],
    multiplicity: float,
    limits: Limits,
    budget: int,
    found: Float[np.ndarray, "cell param"],
    n_found: int,
) -> tuple[int, int]:
    """Go on with the walk for about ``budget`` looks at an index.

    Args:
        rows: of the lattice's `Cone`, in the order of their place in the lists.
        columns: the same transposed, with zeros below.
        lines, stack: see there; the stack is changed.
        forms: takes y to the form, shape (param, 6).
        domain, allowed, multiplicity: the lattice's `Row`.
        limits: bounds on the cell, wide enough for its errors.
        budget: when it is spent, the walk is left where it stands.
        found, n_found: y of the cells is written behind the ones there.

    Returns:
        Number of cells in ``found``, and of cells looked at; the walk pauses where ``found`` is full.
    """
    n_params, n_lines = rows.shape[1], lines.q2.shape[0]
    y, error, form, near = np.zeros(4), np.zeros(4), np.empty(6), np.zeros(rows.shape[0], np.int64)
    predicted, hkl = np.empty(MAX_REFLECTIONS), np.empty((MAX_REFLECTIONS, 3), np.int64)
    n_tried = 0
    while stack.level[0] >= 0 and budget > 0 and n_found < found.shape[0]:
        rank = int(stack.level[0])
        line, ref = int(stack.line[rank]), int(stack.place[rank])
        if line >= n_lines or ref >= lines.listed[line]:
            _leave_line(rows, lines, stack, rank)
            continue
        stack.place[rank] += 1
        budget -= 1
        if _contradicts(rows, lines, stack, rank, ref) or not _give(rows[ref], line, lines, rank, stack):
            continue
        stack.ref[rank] = ref
        if rank + 1 < n_params:
            budget -= _COST_OF_A_LEVEL
            if not _crowded(columns, rank + 1, lines, stack):
                stack.level[0] = rank + 1
                stack.missed[rank + 1] = stack.missed[rank]
                _go_on(rows, lines, stack, rank + 1, line + 1)
            continue
        n_tried += 1
        if not _cell(stack, n_params, forms, multiplicity, limits, y, error, form):
            continue
        missed = stack.missed[rank]
        for further in range(line + 1, n_lines):
            budget -= _COST_OF_A_LINE
            if not _explained(rows, columns, lines, further, y, error, stack.spread[n_params], near):
                missed += 1
            if missed > lines.max_missed:
                break
            if further == line + _COUNT_AFTER:
                budget -= _COST_OF_A_COUNT
                below = _surely_below(float(lines.q2[n_lines - 1]), n_params, y, error)
                count = reflections(form, domain, allowed, below, predicted, hkl) if below > 0.0 else 0
                if count < 0 or count > lines.most:
                    missed = n_lines
                    break
        if missed <= lines.max_missed:
            found[n_found] = y[:n_params]
            n_found += 1
    return n_found, n_tried
