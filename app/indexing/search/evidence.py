"""How probable a lattice is, given the lines: the logarithm of its evidence against chance.

The lines are taken as a Poisson process along q^2. Under chance its intensity is that of the observed lines. Under a
cell, each group of predicted lines that cannot be resolved shows up with an unknown probability (marginalized: a
beta-binomial), where it does the line lies at one of them with a normal error of unknown size (marginalized over a
grid, log-normal prior), and impurity lines come at a small share of the chance intensity. The metric terms and the zero
shift are marginalized by Laplace's method (MacKay, Information Theory, Inference and Learning Algorithms, ch. 28) with
lengths uniform in their logarithm and angles uniform in their cosine, which makes every parameter pay for its freedom:
a cell with fewer parameters, fewer absent lines and fewer lines in all wins unless the fit says otherwise.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float

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

SIGMA_GRID_DEG = tuple(float(s) for s in np.geomspace(0.001, 0.06, 11))
"""Errors of a line position that are considered, degrees of 2theta."""
TYPICAL_SIGMA_DEG = 0.012
"""The most probable of them."""
SIGMA_SPREAD = 0.8
"""Standard deviation of the natural logarithm of the error."""
RESOLUTION_DEG = 0.06
"""Predicted lines closer than this show up as one."""
LOG_LENGTH_RANGE = math.log(50.0 / 2.0)
"""Of the prior on a cell length."""
IMPOSSIBLE = -1e9
"""Evidence of what is no possible cell."""
_ROOT_TWO_PI = math.sqrt(2.0 * math.pi)
_LOG_TWO_PI = math.log(2.0 * math.pi)


@compiled
def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


@compiled
def _log_prior(
    x: Float[np.ndarray, "param"],
    terms: Float[np.ndarray, "param 6"],
    form: Float[np.ndarray, "6"],
    precision: Float[np.ndarray, "column"],
) -> float:
    """Density of the metric terms: 1/(2 A ln(range)) for A = a*^2, uniform within the reduced range for 2 a*.b*.

    ``precision`` is written: that of the normal density with the same height. With it in the information matrix, terms
    on which the lines say nothing are known as well as beforehand, and no better.
    """
    total = 0.0
    for p in range(terms.shape[0]):
        if terms[p, 0] + terms[p, 1] + terms[p, 2] > 0.0:
            width = 2.0 * x[p] * LOG_LENGTH_RANGE
        elif terms[p, 3] > 0.0:
            width = math.sqrt(4.0 * form[1] * form[2])
        elif terms[p, 4] > 0.0:
            width = math.sqrt(4.0 * form[0] * form[2])
        else:
            width = math.sqrt(4.0 * form[0] * form[1])
        total -= math.log(width)
        precision[p] = 2.0 * math.pi / (width * width)
    return total


@compiled
def _group(
    predicted: Float[np.ndarray, "ref"],
    count: int,
    q2: Float[np.ndarray, "peak"],
    per_degree: Float[np.ndarray, "peak"],
    size: Float[np.ndarray, "ref"],
) -> int:
    """Write how many predicted lines share each one's unresolved group; give the number of groups."""
    groups, first, line, n = 0, 0, 0, q2.shape[0]
    for i in range(count):
        while line < n - 1 and q2[line] < predicted[i]:
            line += 1
        if i > 0 and predicted[i] - predicted[i - 1] > RESOLUTION_DEG * per_degree[line]:
            for j in range(first, i):
                size[j] = i - first
            groups, first = groups + 1, i
    for j in range(first, count):
        size[j] = count - first
    return groups + 1 if count else 0


@compiled
def _line_evidence(
    ascending: Float[np.ndarray, "ref"],
    count: int,
    size: Float[np.ndarray, "ref"],
    groups: int,
    lines: Float[np.ndarray, "peak"],
    per_degree: Float[np.ndarray, "peak"],
    foreign: Float[np.ndarray, "peak"],
    n_lines: int,
    q2_max: float,
    sigma_deg: float,
    used: Bool[np.ndarray, "peak"],
) -> tuple[float, int]:
    """Log-likelihood of the lines over chance for one error of the positions; ``used`` tells the explained lines."""
    total, n_used = 0.0, 0
    reach = 4.0 * sigma_deg
    for i in range(n_lines):
        sigma = sigma_deg * per_degree[i]
        ref = np.searchsorted(ascending[:count], lines[i] - reach * per_degree[i])
        density = 0.0
        while ref < count and ascending[ref] < lines[i] + reach * per_degree[i]:
            density += math.exp(-0.5 * ((lines[i] - ascending[ref]) / sigma) ** 2) / size[ref]
            ref += 1
        chance = 1.5 * n_lines / q2_max * math.sqrt(max(lines[i], 1e-9) / q2_max)
        gain = math.log(density / (sigma * _ROOT_TWO_PI * chance) + 1e-30)
        used[i] = gain > math.log(foreign[i]) + 1.0
        total += gain if used[i] else math.log(foreign[i])
        n_used += used[i]
    return total + _log_beta(n_used + 1.0, max(groups - n_used, 0) + 1.0), n_used


@compiled
def weigh(  # noqa: C901 - one compiled loop
    x: Float[np.ndarray, "cell param"],
    zero: Float[np.ndarray, "cell"],
    q2: Float[np.ndarray, "peak"],
    per_degree: Float[np.ndarray, "peak"],
    slope: Float[np.ndarray, "peak"],
    foreign: Float[np.ndarray, "peak"],
    zero_sigma: float,
    sigma_grid: Float[np.ndarray, "sigma"],
    sigma_prior: Float[np.ndarray, "sigma"],
    terms: Float[np.ndarray, "param 6"],
    domain: Bool[np.ndarray, "4"],
    allowed: Bool[np.ndarray, "6 6 6"],
    multiplicity: float,
    limits: Limits,
    log_odds: Float[np.ndarray, "cell"],
    indexed: Float[np.ndarray, "cell"],
    possible_lines: Float[np.ndarray, "cell"],
    sigma_deg: Float[np.ndarray, "cell"],
) -> None:
    """Weigh refined cells.

    Args:
        x, zero: metric terms and zero shift in degrees of each cell, refined.
        q2, per_degree, slope, foreign: the lines, see `Observed`.
        zero_sigma: standard deviation of the prior of the zero shift, degrees.
        sigma_grid: errors of a line position to consider, degrees.
        sigma_prior: logarithm of the prior probability of each.
        terms, domain, allowed, multiplicity: the lattice's `Row`.
        limits: bounds on the cell.
        log_odds: written: logarithm of the evidence over that of chance; `IMPOSSIBLE` where the cell is none.
        indexed: written: lines explained at the best error.
        possible_lines: written: resolvable lines that the cell predicts up to the last observed one.
        sigma_deg: written: the best error of the grid, degrees.
    """
    n_params, n_lines = terms.shape[0], q2.shape[0]
    n = n_params + 1
    form, lines = np.empty(6), np.empty(n_lines)
    delta, index = np.empty(n_lines), np.zeros(n_lines, np.int64)
    predicted, hkl = np.empty(MAX_REFLECTIONS), np.empty((MAX_REFLECTIONS, 3), np.int64)
    size = np.empty(MAX_REFLECTIONS)
    design, matrix, right, precision = np.zeros((n_lines, 7)), np.empty((7, 7)), np.empty(7), np.empty(7)
    used, weight, evidence = np.zeros(n_lines, np.bool_), np.empty(n_lines), np.empty(sigma_grid.shape[0])
    precision[n_params] = 1.0 / (zero_sigma * zero_sigma)
    for cell in range(x.shape[0]):
        log_odds[cell], indexed[cell], possible_lines[cell], sigma_deg[cell] = IMPOSSIBLE, 0.0, 0.0, 0.0
        form_from_x(x[cell], terms, form)
        if not possible(form, multiplicity, limits):
            continue
        for i in range(n_lines):
            lines[i] = q2[i] - zero[cell] * slope[i]
        q2_max = float(lines[n_lines - 1] + RESOLUTION_DEG * per_degree[n_lines - 1])
        count = reflections(form, domain, allowed, q2_max, predicted, hkl)
        if count < n:
            continue
        nearest(predicted, count, lines, n_lines, delta, index)
        for i in range(n_lines):
            design_row(hkl[index[i]], terms, design[i])
            design[i, n_params] = slope[i]
        ascending = np.sort(predicted[:count])
        groups = _group(ascending, count, lines, per_degree, size)
        prior = (
            _log_prior(x[cell], terms, form, precision) - math.log(zero_sigma) - 0.5 * (zero[cell] / zero_sigma) ** 2
        )
        best = -1
        for g in range(sigma_grid.shape[0]):
            total, n_used = _line_evidence(
                ascending, count, size, groups, lines, per_degree, foreign, n_lines, q2_max, sigma_grid[g], used
            )
            evidence[g] = -np.inf
            if n_used < n:
                continue
            for i in range(n_lines):
                weight[i] = 1.0 / (sigma_grid[g] * per_degree[i]) ** 2
            linear.normal_equations(design, delta, weight, used, n_lines, n, matrix, right)
            for p in range(n):
                matrix[p, p] += precision[p]
            total += prior + 0.5 * n_params * _LOG_TWO_PI - 0.5 * linear.log_determinant(matrix, n)
            evidence[g] = total + sigma_prior[g]
            if best < 0 or evidence[g] > evidence[best]:
                best = g
                indexed[cell], possible_lines[cell], sigma_deg[cell] = n_used, groups, sigma_grid[g]
        if best >= 0:
            log_odds[cell] = evidence[best] + math.log(np.sum(np.exp(evidence - evidence[best])))


@compiled
def weigh_absences(
    lines: Float[np.ndarray, "peak"],
    per_degree: Float[np.ndarray, "peak"],
    foreign: Float[np.ndarray, "peak"],
    sigma_deg: float,
    predicted: Float[np.ndarray, "ref"],
    forbidden: Bool[np.ndarray, "symbol ref"],
    log_likelihood: Float[np.ndarray, "symbol"],
) -> None:
    """Log-likelihood of the lines over chance under each set of systematic absences.

    Args:
        lines: positions in q^2, freed of the zero shift.
        per_degree, foreign, sigma_deg: see `weigh`.
        predicted: q^2 of the reflections within the limiting sphere, ascending.
        forbidden: which of them each extinction symbol forbids.
        log_likelihood: written.
    """
    n_lines, count = lines.shape[0], predicted.shape[0]
    q2_max = float(lines[n_lines - 1] + RESOLUTION_DEG * per_degree[n_lines - 1])
    kept, size, used = np.empty(count), np.empty(count), np.zeros(n_lines, np.bool_)
    for symbol in range(forbidden.shape[0]):
        n = 0
        for ref in range(count):
            if not forbidden[symbol, ref]:
                kept[n] = predicted[ref]
                n += 1
        groups = _group(kept, n, lines, per_degree, size)
        log_likelihood[symbol], _ = _line_evidence(
            kept, n, size, groups, lines, per_degree, foreign, n_lines, q2_max, sigma_deg, used
        )
