"""Compiled arithmetic of single cells: bounds, predicted lines, the nearest of them.

A cell is its `form` (see `app.crystallography.lattice`): q^2 = form . (h^2, k^2, l^2, kl, hl, hk). The reflections are
enumerated for each cell within its own limiting sphere, so that no long axis runs out of a list.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from app.indexing.compiled import compiled

MAX_REFLECTIONS = 4096
"""A cell that predicts more within the observed lines is no answer, and not followed."""
FLATTEST = 0.02
"""Smallest squared ratio of a reciprocal cell's volume to that of its axes at right angles."""


class Limits(NamedTuple):
    """Bounds on conventional cells: axes in Angstrom, primitive volume in Angstrom^3."""

    min_length: float
    max_length: float
    min_volume: float
    max_volume: float


@compiled
def form_from_x(
    x: Float[np.ndarray, "param"], terms: Float[np.ndarray, "param 6"], form: Float[np.ndarray, "6"]
) -> None:
    """Write ``x @ terms`` into ``form``."""
    for j in range(6):
        form[j] = 0.0
        for p in range(terms.shape[0]):
            form[j] += x[p] * terms[p, j]


@compiled
def minors(form: Float[np.ndarray, "6"]) -> tuple[float, float, float, float]:
    """Give the determinant of the reciprocal metric tensor and its three principal minors.

    The squared direct axes are the minors over the determinant, the squared volume is 1 over the determinant.
    """
    a, b, c = form[0], form[1], form[2]
    d, e, f = 0.5 * form[3], 0.5 * form[4], 0.5 * form[5]
    first, second, third = b * c - d * d, a * c - e * e, a * b - f * f
    return a * first - f * (f * c - d * e) + e * (f * d - b * e), first, second, third


@compiled
def possible(form: Float[np.ndarray, "6"], multiplicity: float, limits: Limits) -> bool:
    """Tell whether the cell exists, is not flat, and lies within the bounds."""
    if form[0] <= 0.0 or form[1] <= 0.0 or form[2] <= 0.0:
        return False
    det, first, second, third = minors(form)
    if first <= 0.0 or second <= 0.0 or third <= 0.0 or det <= FLATTEST * form[0] * form[1] * form[2]:
        return False
    volume = math.sqrt(1.0 / det) / multiplicity
    if volume < limits.min_volume or volume > limits.max_volume:
        return False
    shortest = min(first, second, third) / det
    longest = max(first, second, third) / det
    return shortest >= limits.min_length**2 and longest <= limits.max_length**2


@compiled
def reflections(
    form: Float[np.ndarray, "6"],
    domain: Bool[np.ndarray, "4"],
    allowed: Bool[np.ndarray, "6 6 6"],
    q2_max: float,
    q2: Float[np.ndarray, "ref"],
    hkl: Int[np.ndarray, "ref 3"],
) -> int:
    """Write the allowed reflections with q^2 <= q2_max, one of each set that symmetry makes equal.

    Returns:
        Their number, or -1 where there are more than the arrays hold.
    """
    det, first, second, _ = minors(form)
    h_max = int(math.sqrt(q2_max * first / det) + 1e-9)
    k_max = int(math.sqrt(q2_max * second / det) + 1e-9)
    count = 0
    for h in range(h_max + 1):
        k_from = -k_max if domain[0] and h > 0 else 0
        k_to = min(h, k_max) if domain[2] else k_max
        for k in range(k_from, k_to + 1):
            linear = form[3] * k + form[4] * h
            plane = form[0] * h * h + form[1] * k * k + form[5] * h * k
            discriminant = linear * linear - 4.0 * form[2] * (plane - q2_max)
            if discriminant < 0.0:
                continue
            root = math.sqrt(discriminant)
            l_to = math.floor((root - linear) / (2.0 * form[2]) + 1e-9)
            l_from = 0
            if domain[1] and (h > 0 or (domain[0] and k > 0)):
                l_from = math.ceil((-root - linear) / (2.0 * form[2]) - 1e-9)
            if domain[3]:
                l_to = min(l_to, k)
            if h == 0 and k == 0:
                l_from = 1
            for l in range(l_from, l_to + 1):  # noqa: E741 - the crystallographer's name
                if allowed[h % 6, k % 6, l % 6]:
                    if count == q2.shape[0]:
                        return -1
                    q2[count] = plane + l * (form[2] * l + linear)
                    hkl[count, 0], hkl[count, 1], hkl[count, 2] = h, k, l
                    count += 1
    return count


@compiled
def _share(
    q2: Float[np.ndarray, "ref"],
    lines: Float[np.ndarray, "peak"],
    giver: int,
    taker: int,
    delta: Float[np.ndarray, "peak"],
    index: Int[np.ndarray, "peak"],
) -> None:
    """Give a line the reflection of its neighbour where that is nearer than its own."""
    difference = lines[taker] - q2[index[giver]]
    if delta[giver] != np.inf and abs(difference) < abs(delta[taker]):
        delta[taker], index[taker] = difference, index[giver]


@compiled
def nearest(
    q2: Float[np.ndarray, "ref"],
    count: int,
    lines: Float[np.ndarray, "peak"],
    n_lines: int,
    delta: Float[np.ndarray, "peak"],
    index: Int[np.ndarray, "peak"],
) -> None:
    """For each of the first lines, ascending, write the nearest reflection's index, and line - reflection.

    Walks the reflections, in any order, once and drops each into its interval between the lines, which have it as a
    neighbour. A line with no reflection between it and the next line shares the nearest one of that line. Without any
    reflection ``delta`` is infinite and ``index`` 0.
    """
    for i in range(n_lines):
        delta[i], index[i] = np.inf, 0
    for ref in range(count):
        low, high = 0, n_lines
        while low < high:
            middle = (low + high) >> 1
            if lines[middle] < q2[ref]:
                low = middle + 1
            else:
                high = middle
        if low < n_lines and lines[low] - q2[ref] < abs(delta[low]):
            delta[low], index[low] = lines[low] - q2[ref], ref
        if low > 0 and q2[ref] - lines[low - 1] < abs(delta[low - 1]):
            delta[low - 1], index[low - 1] = lines[low - 1] - q2[ref], ref
    if count > 0:
        for i in range(1, n_lines):
            _share(q2, lines, i - 1, i, delta, index)
        for i in range(n_lines - 1, 0, -1):
            _share(q2, lines, i, i - 1, delta, index)


@compiled
def design_row(
    hkl: Int[np.ndarray, "3"], terms: Float[np.ndarray, "param 6"], row: Float[np.ndarray, "column"]
) -> None:
    """Write the reflection's design row: q^2 = row[:param] . x."""
    h, k, l = float(hkl[0]), float(hkl[1]), float(hkl[2])  # noqa: E741
    for p in range(terms.shape[0]):
        t = terms[p]
        row[p] = t[0] * h * h + t[1] * k * k + t[2] * l * l + t[3] * k * l + t[4] * h * l + t[5] * h * k
