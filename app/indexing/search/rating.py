"""Quick rating of candidate cells by their lines against chance, to rank what a generator proposes."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float, Int

from app.indexing.compiled import compiled
from app.indexing.search.cells import MAX_REFLECTIONS, Limits, form_from_x, nearest, possible, reflections
from app.indexing.search.growth import grow
from app.indexing.search.observed import Observed
from app.indexing.search.row import row_of

MISSED = 0.08
"""Assumed share of lines that a right cell leaves unexplained."""
REJECTED = -1e9
"""Rating of what is no possible cell."""
_SIGMAS = 3.5
"""A line's window is this many times its expected error."""


@compiled
def rate(
    x: Float[np.ndarray, "cell param"],
    q2: Float[np.ndarray, "peak"],
    window: Float[np.ndarray, "peak"],
    terms: Float[np.ndarray, "param 6"],
    domain: Bool[np.ndarray, "4"],
    allowed: Bool[np.ndarray, "6 6 6"],
    multiplicity: float,
    limits: Limits,
    rating: Float[np.ndarray, "cell"],
    explained: Int[np.ndarray, "cell"],
    predicted: Int[np.ndarray, "cell"],
) -> None:
    """Write each cell's logarithm of likelihood over that of chance.

    A line with a reflection in its window counts by how improbable it is that one of as many reflections lies as near,
    a line without one counts against the cell.

    Args:
        x: metric terms.
        q2, window: the lines and the half-widths of their windows.
        terms, domain, allowed, multiplicity: the lattice's `Row`.
        limits: bounds on the cell.
        rating: written; `REJECTED` where the cell is not possible.
        explained, predicted: written: lines with a reflection in their window, reflections up to the last line.
    """
    n = q2.shape[0]
    form, delta, index = np.empty(6), np.empty(n), np.zeros(n, np.int64)
    values, hkl = np.empty(MAX_REFLECTIONS), np.empty((MAX_REFLECTIONS, 3), np.int64)
    for cell in range(x.shape[0]):
        rating[cell], explained[cell], predicted[cell] = REJECTED, 0, 0
        form_from_x(x[cell], terms, form)
        if not possible(form, multiplicity, limits):
            continue
        count = reflections(form, domain, allowed, float(q2[n - 1] + window[n - 1]), values, hkl)
        if count <= 0:
            continue
        nearest(values, count, q2, n, delta, index)
        density = 1.5 * count / q2[n - 1]
        total = 0.0
        for i in range(n):
            rate_here = 2.0 * density * math.sqrt(q2[i] / q2[n - 1])
            if abs(delta[i]) < window[i]:
                distance = max(abs(delta[i]), 0.2 * window[i])
                total -= math.log(1.0 - math.exp(-rate_here * distance) + 1e-3)
                explained[cell] += 1
            else:
                total += math.log(MISSED) + rate_here * window[i]
        rating[cell], predicted[cell] = total, count


def grown(
    bravais: str, x: Float[np.ndarray, "cell param"], observed: Observed, limits: Limits, window_deg: float
) -> Float[np.ndarray, "cell param"]:
    """Refine candidates over more and more of the lines, without a zero shift; as they were where that fails."""
    n, n_params = len(observed.q2), x.shape[1]
    stages = np.array([*range(min(n_params + 4, n), n + 1), n, n])
    result, zero, indexed = np.empty_like(x), np.zeros(len(x)), np.empty(len(x), np.int64)
    sigma = window_deg / _SIGMAS * observed.per_degree
    slope = np.zeros(n)
    grow(x, observed.q2, slope, sigma, stages, _SIGMAS, 1.0, *row_of(bravais), limits, result, zero, indexed)
    return np.where((indexed > n_params + 1)[:, None], result, x)


def rated(
    bravais: str, x: Float[np.ndarray, "cell param"], observed: Observed, limits: Limits, window_deg: float
) -> tuple[Float[np.ndarray, "cell"], Int[np.ndarray, "cell"], Int[np.ndarray, "cell"]]:
    """Give the rating, the explained lines and the predicted reflections of each cell, see `rate`."""
    rating = np.empty(len(x))
    explained, predicted = np.empty(len(x), np.int64), np.empty(len(x), np.int64)
    window = window_deg * observed.per_degree
    rate(x, observed.q2, window, *row_of(bravais), limits, rating, explained, predicted)
    return rating, explained, predicted


def distinct(
    x: Float[np.ndarray, "cell param"], rating: Float[np.ndarray, "cell"], keep: int, relative: float = 2e-4
) -> Int[np.ndarray, "kept"]:
    """Choose the best of each set of equal cells, best first, at most ``keep``; rejected ones are left out."""
    order = np.argsort(-rating, kind="stable")
    order = order[rating[order] > REJECTED]
    key = np.round(np.log(np.abs(x[order]) + 1e-4) / relative).astype(np.int64)
    _, first = np.unique(key, axis=0, return_index=True)
    return order[np.sort(first)[:keep]]
