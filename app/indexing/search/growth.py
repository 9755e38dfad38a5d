"""Growth of a candidate from the few lines that proposed it to all lines.

A cell solved from a few low lines predicts the high ones badly, so the lines are taken in from below: assign those that
fall on a prediction, refine by least squares (linear in the metric terms and in the zero shift), go further up.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float, Int

from app.indexing.compiled import compiled
from app.indexing.search import linear
from app.indexing.search.cells import (
    MAX_REFLECTIONS,
    Limits,
    design_row,
    form_from_x,
    nearest,
    possible,
    reflections,
)

STAGES = (10, 14, 20, 28, 40, 40)
"""Lines taken in at each stage of growth."""

TRUST = 0.03
"""How far the start may be off, relative: lines of one zone alone leave the other terms where they are."""
BEST_SIGMA = 0.05
"""Smallest error of the lines that is believed, as a share of the expected one."""


@compiled
def _scale(form: Float[np.ndarray, "6"], term: Float[np.ndarray, "6"]) -> float:
    """The size of a metric term: a*^2, or 2 a* b* for one between two axes."""
    if term[0] + term[1] + term[2] > 0.0:
        return max(term[0] * form[0], term[1] * form[1], term[2] * form[2])
    product = form[1] * form[2] if term[3] > 0.0 else form[0] * form[2] if term[4] > 0.0 else form[0] * form[1]
    return 2.0 * math.sqrt(product)


@compiled
def _misfit(
    delta: Float[np.ndarray, "peak"], weight: Float[np.ndarray, "peak"], used: Bool[np.ndarray, "peak"], n_lines: int
) -> float:
    """Give chi^2 of the used lines."""
    total = 0.0
    for i in range(n_lines):
        if used[i]:
            total += weight[i] * delta[i] * delta[i]
    return total


@compiled
def _belonging(
    delta: Float[np.ndarray, "peak"],
    reach: Float[np.ndarray, "peak"],
    n_lines: int,
    hkl: Int[np.ndarray, "ref 3"],
    index: Int[np.ndarray, "peak"],
    terms: Float[np.ndarray, "param 6"],
    slope: Float[np.ndarray, "peak"],
    used: Bool[np.ndarray, "peak"],
    design: Float[np.ndarray, "peak column"],
) -> int:
    """Write which lines lie within reach of their reflection, and those design rows; give their number."""
    n_used = 0
    for i in range(n_lines):
        used[i] = abs(delta[i]) < reach[i]
        if used[i]:
            n_used += 1
            design_row(hkl[index[i]], terms, design[i])
            design[i, terms.shape[0]] = slope[i]
    return n_used


@compiled
def grow(
    x: Float[np.ndarray, "cell param"],
    q2: Float[np.ndarray, "peak"],
    slope: Float[np.ndarray, "peak"],
    sigma: Float[np.ndarray, "peak"],
    stages: Int[np.ndarray, "stage"],
    window: float,
    zero_sigma: float,
    terms: Float[np.ndarray, "param 6"],
    domain: Bool[np.ndarray, "4"],
    allowed: Bool[np.ndarray, "6 6 6"],
    multiplicity: float,
    limits: Limits,
    grown: Float[np.ndarray, "cell param"],
    zero: Float[np.ndarray, "cell"],
    indexed: Int[np.ndarray, "cell"],
) -> None:
    """Refine every candidate over more and more lines.

    Args:
        x: metric terms to start from.
        q2, slope: the lines, and what a degree of zero shift adds to each (0: no shift is fitted).
        sigma: expected error of each q^2.
        stages: numbers of lines, ascending.
        window: a line belongs to a reflection within this many sigmas.
        zero_sigma: expected size of the zero shift, degrees: a Gaussian prior of mean 0.
        terms, domain, allowed, multiplicity: the lattice's `Row`.
        limits: a cell that leaves them is given up.
        zero: zero shift in degrees to start from; written: refined.
        grown: written: refined metric terms.
        indexed: written: lines that belong, 0 where the cell was given up.
    """
    n_params, size = terms.shape[0], q2.shape[0]
    n = n_params + 1
    design, matrix, right, solution = np.zeros((size, 7)), np.empty((7, 7)), np.empty(7), np.empty(7)
    form, lines, delta = np.empty(6), np.empty(size), np.empty(size)
    used, index = np.zeros(size, np.bool_), np.zeros(size, np.int64)
    predicted, hkl = np.empty(MAX_REFLECTIONS), np.empty((MAX_REFLECTIONS, 3), np.int64)
    weight, reach = 1.0 / (sigma * sigma), window * sigma
    for cell in range(x.shape[0]):
        grown[cell] = x[cell]
        indexed[cell] = 0
        for n_lines in stages:
            form_from_x(grown[cell], terms, form)
            indexed[cell] = 0
            if not possible(form, multiplicity, limits):
                break
            for i in range(n_lines):
                lines[i] = q2[i] - zero[cell] * slope[i]
            q2_max = float(lines[n_lines - 1] + reach[n_lines - 1])
            count = reflections(form, domain, allowed, q2_max, predicted, hkl)
            nearest(predicted, count, lines, n_lines, delta, index)
            n_used = _belonging(delta, reach, n_lines, hkl, index, terms, slope, used, design)
            if n_used <= n:
                break
            linear.normal_equations(design, delta, weight, used, n_lines, n, matrix, right)
            # Lines that fit better than expected are known better, and what is known beforehand counts for less.
            share = _misfit(delta, weight, used, n_lines) / (n_used - n)
            share = min(max(share, BEST_SIGMA**2), 1.0)
            for p in range(n_params):
                matrix[p, p] += share / (TRUST * _scale(form, terms[p])) ** 2
            matrix[n_params, n_params] += share / (zero_sigma * zero_sigma)
            right[n_params] -= share * zero[cell] / (zero_sigma * zero_sigma)
            if not linear.solve(matrix, right, n, solution):
                break
            for p in range(n_params):
                grown[cell, p] += solution[p]
            zero[cell] += solution[n_params]
            indexed[cell] = n_used
