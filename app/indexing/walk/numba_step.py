"""The refinement step as functions that Numba compiles; `kernel_numba` calls `walk`.

A cell's whole walk stays in the cache of one core. Its reflections are computed in one vector loop. Each is dropped
into its interval between the sorted lines (a table of bins gives the place, at most a step or two off), where the two
lowest and the two highest are kept; two sweeps over the lines then find the two nearest reflections of each.

All compiled code is in this file: Numba compiles anew when the file changes, and does not look at what it imports.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from app.indexing.compiled import compiled, reassociated
from app.indexing.walk.counter_random import GOLDEN, MASK, MULTIPLIERS, SHIFTS, UNIT

DRAWS_BEFORE_PEAKS = 2
"""As in `kernel_numpy`."""
N_BINS = 256
"""Of the table that finds a reflection's interval; several times the number of lines."""
WIDTH = 8
"""Of a row of the normal equations: at most six metric terms and a zero shift, padded for the vector unit."""
SAFE_LEAST, SAFE_MOST = 1e-200, 1e200
"""A product of likelihoods is taken to its logarithm before it leaves these."""
_SHIFT_0, _SHIFT_1, _SHIFT_2 = (np.uint64(shift) for shift in SHIFTS)
_TIMES_0, _TIMES_1 = (np.uint64(multiplier) for multiplier in MULTIPLIERS)
_MASK, _GOLDEN, _EIGHT = np.uint64(MASK), np.uint64(GOLDEN), np.uint64(8)


class Chains(NamedTuple):
    """The arrays of `McmcState`, changed in place."""

    x: np.ndarray
    nearest: np.ndarray
    second: np.ndarray
    score: np.ndarray
    best_x: np.ndarray
    best_score: np.ndarray
    stream: np.ndarray
    pattern: np.ndarray


class Data(NamedTuple):
    """The arrays of `Problem`, and what follows from them."""

    q2: np.ndarray
    sigma: np.ndarray
    slope: np.ndarray
    n_lines: np.ndarray
    n_keep: np.ndarray
    bins: np.ndarray
    design: np.ndarray
    columns: np.ndarray
    terms: np.ndarray
    limits: np.ndarray


class Settings(NamedTuple):
    """The numbers of `McmcOptions`, and what follows from them."""

    fit_shift: bool
    source: bool
    summed: bool
    half_power: float
    freedom: float
    constant: float
    impurity: float
    window: float
    resample: float
    temperature: float
    least_pivot: float
    ramp: float


class _Scratch(NamedTuple):
    """Room for one thread."""

    calculated: np.ndarray
    lines: np.ndarray
    low: np.ndarray
    low_index: np.ndarray
    high: np.ndarray
    high_index: np.ndarray
    nearest: np.ndarray
    second: np.ndarray
    density_sum: np.ndarray
    drawn: np.ndarray
    proposal: np.ndarray
    row: np.ndarray
    normal: np.ndarray
    right: np.ndarray


@compiled
def _mixed(key: Any) -> Any:
    key ^= key >> _SHIFT_0
    key = (key * _TIMES_0) & _MASK
    key ^= key >> _SHIFT_1
    key = (key * _TIMES_1) & _MASK
    return key ^ (key >> _SHIFT_2)


@compiled
def _uniform(stream_key: Any, draw: int) -> float:
    return float(_mixed((stream_key + np.uint64(draw) * _GOLDEN) & _MASK) >> _EIGHT) * UNIT


@compiled
def _stream_key(seed: Any, step: int, stream: Any) -> Any:
    step_key = _mixed(seed ^ ((np.uint64(step) * _GOLDEN) & _MASK))
    return _mixed(step_key ^ (np.uint64(stream) & _MASK))


@compiled
def _scratch(data: Data) -> _Scratch:
    n_ref, n_peak = data.design.shape[0], data.q2.shape[1]
    return _Scratch(
        np.empty(n_ref),
        np.empty(n_peak),
        np.empty((2, n_peak + 1)),
        np.empty((2, n_peak + 1), np.int32),
        np.empty((2, n_peak + 1)),
        np.empty((2, n_peak + 1), np.int32),
        np.empty(n_peak, np.int32),
        np.empty(n_peak, np.int32),
        np.empty(n_peak),
        np.empty(n_peak, np.int32),
        np.empty(WIDTH),
        np.zeros(WIDTH),
        np.empty((WIDTH, WIDTH)),
        np.empty(WIDTH),
    )


@compiled
def _calculate(x: np.ndarray, columns: np.ndarray, calculated: np.ndarray) -> None:
    """Compute q^2 of every reflection, one parameter after the other so that the loops vectorise."""
    n_term, n_ref = columns.shape
    for r in range(n_ref):
        calculated[r] = columns[0, r] * x[0]
    for p in range(1, n_term):
        for r in range(n_ref):
            calculated[r] += columns[p, r] * x[p]


@reassociated
def _predicted_count(calculated: np.ndarray, last: float, ramp: float) -> float:
    n = 0.0
    for r in range(calculated.shape[0]):
        n += min(max((last - calculated[r]) / ramp + 1, 0.0), 1.0)
    return max(n, 1.0)


@compiled
def _shift_lines(x: np.ndarray, pattern: int, data: Data, lines: np.ndarray) -> None:
    n_term = data.design.shape[1]
    shift = x[n_term] if x.shape[0] > n_term else 0.0
    for j in range(data.n_lines[pattern]):
        lines[j] = data.q2[pattern, j] - data.slope[pattern, j] * shift


@compiled
def _bin(q2: float, per_q2: float) -> int:
    place = q2 * per_q2
    if not place > 0:
        return 0
    return int(place) if place < N_BINS else N_BINS - 1


@compiled
def _drop_into_intervals(bins: np.ndarray, per_q2: float, n: int, work: _Scratch) -> None:
    """Keep the two lowest and the two highest reflections between each line and the next; interval j ends at line j."""
    lines, calculated = work.lines, work.calculated
    work.low[:, : n + 1] = np.inf
    work.high[:, : n + 1] = -np.inf
    for r in range(calculated.shape[0]):
        q2 = calculated[r]
        j = n
        if q2 < lines[n - 1]:
            j = bins[_bin(q2, per_q2)]
            while j < n and lines[j] <= q2:
                j += 1
            while j > 0 and lines[j - 1] > q2:
                j -= 1
        if q2 < work.low[1, j]:
            _insert(work.low, work.low_index, j, q2, r, q2 < work.low[0, j])
        if q2 > work.high[1, j]:
            _insert(work.high, work.high_index, j, q2, r, q2 > work.high[0, j])


@compiled
def _insert(values: np.ndarray, indices: np.ndarray, j: int, value: float, index: int, first: bool) -> None:
    """Put a value first or second of the two in column j."""
    if first:
        values[1, j], indices[1, j] = values[0, j], indices[0, j]
        values[0, j], indices[0, j] = value, index
    else:
        values[1, j], indices[1, j] = value, index


@compiled
def _carry_over(n: int, work: _Scratch) -> None:
    """Complete the two next below each line from the intervals further down, and the two next above from further up."""
    for j in range(1, n):
        _complete(work.high, work.high_index, j, j - 1)
    for j in range(n - 1, 0, -1):
        _complete(work.low, work.low_index, j, j + 1)


@compiled
def _complete(values: np.ndarray, indices: np.ndarray, j: int, neighbour: int) -> None:
    if math.isinf(values[0, j]):
        values[1, j], indices[1, j] = values[1, neighbour], indices[1, neighbour]
        values[0, j], indices[0, j] = values[0, neighbour], indices[0, neighbour]
    elif math.isinf(values[1, j]):
        values[1, j], indices[1, j] = values[0, neighbour], indices[0, neighbour]


@compiled
def _nearest_two(n: int, work: _Scratch) -> None:
    """Merge the two next below and the two next above each line; of equal distances the lower index is nearer."""
    low, high, low_index, high_index = work.low, work.high, work.low_index, work.high_index
    for j in range(n):
        line, k = work.lines[j], j + 1
        up, down = low[0, k] - line, line - high[0, j]
        if up < down or (up == down and low_index[0, k] < high_index[0, j]):
            further = low[1, k] - line
            work.nearest[j] = low_index[0, k]
            work.second[j] = low_index[1, k] if further < down else high_index[0, j]
        else:
            further = line - high[1, j]
            work.nearest[j] = high_index[0, j]
            work.second[j] = high_index[1, j] if further < up else low_index[0, k]


@compiled
def _assign(x: np.ndarray, pattern: int, data: Data, work: _Scratch) -> None:
    n = data.n_lines[pattern]
    _shift_lines(x, pattern, data, work.lines)
    _calculate(x, data.columns, work.calculated)
    _drop_into_intervals(data.bins[pattern], N_BINS / data.q2[pattern, n - 1], n, work)
    _carry_over(n, work)
    _nearest_two(n, work)


@compiled
def _residual(x: np.ndarray, j: int, index: int, pattern: int, data: Data) -> float:
    n_term = data.design.shape[1]
    residual = data.q2[pattern, j]
    if x.shape[0] > n_term:
        residual -= data.slope[pattern, j] * x[n_term]
    for p in range(n_term):
        residual -= data.design[index, p] * x[p]
    return residual


@compiled
def _density(residual: float, j: int, pattern: int, data: Data, settings: Settings) -> float:
    sigma = data.sigma[pattern, j]
    if settings.source:
        variance = data.q2[pattern, j] * (abs(residual) + sigma)
        return math.exp(-0.5 * residual * residual / variance) / math.sqrt(2 * math.pi * variance)
    scaled = residual / sigma
    base = 1 + scaled * scaled / settings.freedom
    if settings.half_power == 1.0:
        return settings.constant / (sigma * base)
    return settings.constant / sigma * math.exp(-settings.half_power * math.log(base))


@compiled
def _sum_densities(pattern: int, data: Data, settings: Settings, work: _Scratch) -> None:
    """Add up the densities of all reflections within each line's window."""
    n = data.n_lines[pattern]
    widest = settings.window * data.sigma[pattern, :n].max()
    per_q2 = N_BINS / data.q2[pattern, n - 1]
    work.density_sum[:n] = 0.0
    for r in range(work.calculated.shape[0]):
        q2 = work.calculated[r]
        if q2 > work.lines[n - 1] + widest:
            continue
        j = data.bins[pattern, _bin(q2 - widest, per_q2)]
        while j > 0 and work.lines[j - 1] >= q2 - widest:
            j -= 1
        while j < n and work.lines[j] <= q2 + widest:
            residual = work.lines[j] - q2
            if abs(residual) <= settings.window * data.sigma[pattern, j]:
                work.density_sum[j] += _density(residual, j, pattern, data, settings)
            j += 1


@compiled
def _match(j: int, pattern: int, data: Data, settings: Settings, work: _Scratch) -> float:
    if settings.summed and work.density_sum[j] > 0:
        return work.density_sum[j]
    return _density(work.lines[j] - work.calculated[work.nearest[j]], j, pattern, data, settings)


@compiled
def _score(pattern: int, data: Data, settings: Settings, work: _Scratch) -> float:
    n = data.n_lines[pattern]
    last = data.q2[pattern, n - 1]
    if settings.summed:
        _sum_densities(pattern, data, settings, work)
    share = (1 - settings.impurity) / _predicted_count(work.calculated, last, settings.ramp * last)
    background = settings.impurity / last
    total, product = 0.0, 1.0
    for j in range(n):
        product *= share * _match(j, pattern, data, settings, work) + background
        if not SAFE_LEAST < product < SAFE_MOST:
            total += math.log(product)
            product = 1.0
    return total + math.log(product)


@compiled
def _within_bounds(x: np.ndarray, data: Data) -> bool:
    n_term = data.design.shape[1]
    g = np.zeros(6)
    for i in range(6):
        for p in range(n_term):
            g[i] += data.terms[i, p] * x[p]
    g11, g22, g33, g23, g13, g12 = g
    m11, m22, m33 = g22 * g33 - g23 * g23, g11 * g33 - g13 * g13, g11 * g22 - g12 * g12
    det = g11 * m11 - g12 * (g12 * g33 - g23 * g13) + g13 * (g12 * g23 - g22 * g13)
    least, most, least_det, most_det, most_shift = data.limits
    if not (g11 > 0 and m33 > 0 and det > 0 and least_det <= det <= most_det):
        return False
    if min(m11, m22, m33) < least * det or max(m11, m22, m33) > most * det:
        return False
    return x.shape[0] == n_term or abs(x[n_term]) <= most_shift


@compiled
def _draw_indices(cell: int, key: Any, chains: Chains, data: Data, settings: Settings, work: _Scratch) -> None:
    """Write the index of each line that the subsample keeps, and -1 for the others."""
    pattern, x = chains.pattern[cell], chains.x[cell]
    n, needed = data.n_lines[pattern], data.n_keep[pattern]
    resample = _uniform(key, 1) < settings.resample
    for j in range(n):
        work.drawn[j] = -1
        if _uniform(key, DRAWS_BEFORE_PEAKS + 2 * j) * (n - j) >= needed:
            continue
        needed -= 1
        nearest, second = chains.nearest[cell, j], chains.second[cell, j]
        work.drawn[j] = nearest
        if resample:
            first = _density(_residual(x, j, nearest, pattern, data), j, pattern, data, settings)
            other = _density(_residual(x, j, second, pattern, data), j, pattern, data, settings)
            if _uniform(key, DRAWS_BEFORE_PEAKS + 2 * j + 1) * (first + other) < other:
                work.drawn[j] = second


@compiled
def _normal_equations(x: np.ndarray, pattern: int, data: Data, work: _Scratch) -> None:
    n_term, n_x = data.design.shape[1], x.shape[0]
    normal, right, row = work.normal, work.right, work.row
    normal[:] = 0.0
    right[:] = 0.0
    for j in range(data.n_lines[pattern]):
        index = work.drawn[j]
        if index < 0:
            continue
        residual = _residual(x, j, index, pattern, data)
        weight = 1 / (data.q2[pattern, j] * (abs(residual) + data.sigma[pattern, j]))
        for p in range(n_term):
            row[p] = data.design[index, p]
        row[n_term] = data.slope[pattern, j]
        for p in range(n_x):
            weighted = weight * row[p]
            right[p] += weighted * residual
            for q in range(WIDTH):
                normal[p, q] += weighted * row[q]


@compiled
def _solve(n: int, a: np.ndarray, b: np.ndarray, least_pivot: float) -> bool:
    """Solve in place by Cholesky's factor of the lower triangle; False where a pivot vanishes."""
    for i in range(n):
        pivot = a[i, i]
        for k in range(i):
            pivot -= a[i, k] * a[i, k]
        if not pivot > least_pivot * a[i, i]:
            return False
        root = math.sqrt(pivot)
        a[i, i] = root
        for q in range(i + 1, n):
            for k in range(i):
                a[q, i] -= a[q, k] * a[i, k]
            a[q, i] /= root
        for k in range(i):
            b[i] -= a[i, k] * b[k]
        b[i] /= root
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            b[i] -= a[k, i] * b[k]
        b[i] /= a[i, i]
    return True


@compiled
def _step(cell: int, key: Any, chains: Chains, data: Data, settings: Settings, work: _Scratch) -> None:
    pattern, x = chains.pattern[cell], chains.x[cell]
    _draw_indices(cell, key, chains, data, settings, work)
    _normal_equations(x, pattern, data, work)
    if not _solve(x.shape[0], work.normal, work.right, settings.least_pivot):
        return
    proposal = work.proposal[: x.shape[0]]
    for p in range(x.shape[0]):
        proposal[p] = x[p] + work.right[p]
    if not _within_bounds(proposal, data):
        return
    _assign(proposal, pattern, data, work)
    score = _score(pattern, data, settings, work)
    gain = (score - chains.score[cell]) / settings.temperature
    if math.exp(min(gain, 0.0)) > _uniform(key, 0):
        _move(cell, proposal, score, chains, data, work)


@compiled
def _move(cell: int, x: np.ndarray, score: float, chains: Chains, data: Data, work: _Scratch) -> None:
    n = data.n_lines[chains.pattern[cell]]
    chains.x[cell] = x
    chains.score[cell] = score
    chains.nearest[cell, :n] = work.nearest[:n]
    chains.second[cell, :n] = work.second[:n]
    if score > chains.best_score[cell]:
        chains.best_score[cell] = score
        chains.best_x[cell] = x


@compiled
def _score_as_it_is(cell: int, chains: Chains, data: Data, settings: Settings, work: _Scratch) -> None:
    x, pattern = chains.x[cell], chains.pattern[cell]
    _assign(x, pattern, data, work)
    score = _score(pattern, data, settings, work) if _within_bounds(x, data) else -math.inf
    chains.best_score[cell] = -math.inf
    _move(cell, x, score, chains, data, work)


@compiled
def walk(
    begin: int, end: int, first: int, stop: int, seed: Any, chains: Chains, data: Data, settings: Settings
) -> None:
    """Take the steps ``first`` to ``stop`` of the cells ``begin`` to ``end``; a negative ``first`` assigns and scores.

    One function for both, since each one that Python calls compiles all below it once more.
    """
    work = _scratch(data)
    for cell in range(begin, end):
        if first < 0:
            _score_as_it_is(cell, chains, data, settings, work)
        for number in range(max(first, 0), stop):
            _step(cell, _stream_key(seed, number, chains.stream[cell]), chains, data, settings, work)
