"""The refinement step in plain NumPy: the reference that the fast kernels are held to.

Every function is pure and works on a batch of cells. It compares every line with every reflection, which is slow and
easy to believe.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import gammaln

from app.indexing.walk.counter_random import uniforms
from app.indexing.walk.mcmc import McmcOptions, McmcState, Problem, kept_lines

DRAWS_BEFORE_PEAKS = 2
"""Draw 0 accepts, draw 1 decides on resampling; then two for each line: its place in the subsample and its index."""
LEAST_PIVOT = 1e-10
"""Of a diagonal element, in the Cholesky factor of the normal equations; below it the lines do not fix the cell."""

RAMP = 0.1
"""Of the last line's q^2: where the count of predicted reflections fades out."""


@dataclass(frozen=True)
class NumpyKernel:
    """The reference kernel."""

    def start(
        self,
        x: Float[np.ndarray, "cell param"],
        stream: Int[np.ndarray, "cell"],
        pattern: Int[np.ndarray, "cell"],
        problem: Problem,
        options: McmcOptions,
    ) -> McmcState:
        """Assign and score the candidates as they are."""
        nearest, second = assign(x, pattern, problem)
        score = log_likelihood(x, nearest, pattern, problem, options)
        return McmcState(x, nearest, second, score, x, score, stream, pattern)

    def advance(self, state: McmcState, problem: Problem, options: McmcOptions, seed: int, steps: range) -> McmcState:
        """Take the steps with these numbers."""
        for number in steps:
            state = step(state, problem, options, seed, number)
        return state


def step(state: McmcState, problem: Problem, options: McmcOptions, seed: int, number: int) -> McmcState:
    """Subsample, draw indices, refit, reassign, and accept or keep: one step of every chain."""
    n_peaks = problem.lines.q2.shape[1]
    u = uniforms(seed, number, state.stream, np.arange(DRAWS_BEFORE_PEAKS + 2 * n_peaks))
    kept = subsample(u[:, 2::2], problem.lines.count[state.pattern], kept_lines(problem, options)[state.pattern])
    index = drawn_indices(state, problem, options, resample=u[:, 1] < options.resample, u=u[:, 3::2])
    proposal, solved = refit(state.x, index, kept, state.pattern, problem, options)
    nearest, second = assign(proposal, state.pattern, problem)
    score = log_likelihood(proposal, nearest, state.pattern, problem, options)
    accepted = solved & accept(score, state.log_likelihood, u[:, 0], options.temperature)
    return _moved(state, accepted, proposal, nearest, second, score)


def _moved(
    state: McmcState,
    accepted: Bool[np.ndarray, "cell"],
    x: Float[np.ndarray, "cell param"],
    nearest: Int[np.ndarray, "cell peak"],
    second: Int[np.ndarray, "cell peak"],
    score: Float[np.ndarray, "cell"],
) -> McmcState:
    row = accepted[:, None]
    better = accepted & (score > state.best_log_likelihood)
    return McmcState(
        x=np.where(row, x, state.x),
        nearest=np.where(row, nearest, state.nearest),
        second=np.where(row, second, state.second),
        log_likelihood=np.where(accepted, score, state.log_likelihood),
        best_x=np.where(better[:, None], x, state.best_x),
        best_log_likelihood=np.where(better, score, state.best_log_likelihood),
        stream=state.stream,
        pattern=state.pattern,
    )


def calculated_q2(x: Float[np.ndarray, "cell param"], problem: Problem) -> Float[np.ndarray, "cell ref"]:
    """Give q^2 of every reference reflection, Angstrom^-2."""
    return x[:, : problem.design.shape[1]] @ problem.design.T


def observed_q2(
    x: Float[np.ndarray, "cell param"], pattern: Int[np.ndarray, "cell"], problem: Problem
) -> Float[np.ndarray, "cell peak"]:
    """Give q^2 of the lines with the zero shift taken off, where x holds one."""
    lines = problem.lines
    n_terms = problem.design.shape[1]
    if x.shape[1] == n_terms:
        return lines.q2[pattern]
    return lines.q2[pattern] - lines.shift_slope[pattern] * x[:, n_terms:]


def real_lines(pattern: Int[np.ndarray, "cell"], problem: Problem) -> Bool[np.ndarray, "cell peak"]:
    """Tell lines from padding."""
    return np.arange(problem.lines.q2.shape[1]) < problem.lines.count[pattern, None]


def assign(
    x: Float[np.ndarray, "cell param"], pattern: Int[np.ndarray, "cell"], problem: Problem
) -> tuple[Int[np.ndarray, "cell peak"], Int[np.ndarray, "cell peak"]]:
    """Find the closest and the second closest reference reflection of every line; -1 in padding."""
    distance = np.abs(observed_q2(x, pattern, problem)[:, :, None] - calculated_q2(x, problem)[:, None, :])
    order = np.argsort(distance, axis=2, kind="stable")[:, :, :2]
    order = np.where(real_lines(pattern, problem)[:, :, None], order, -1).astype(np.int32)
    return order[:, :, 0], order[:, :, 1]


def residuals(
    x: Float[np.ndarray, "cell param"],
    index: Int[np.ndarray, "cell peak"],
    pattern: Int[np.ndarray, "cell"],
    problem: Problem,
) -> Float[np.ndarray, "cell peak"]:
    """Observed minus calculated q^2 of every line with these indices, Angstrom^-2."""
    calculated = np.einsum("kjp,kp->kj", problem.design[index], x[:, : problem.design.shape[1]])
    return observed_q2(x, pattern, problem) - calculated


def source_variance(
    residual: Float[np.ndarray, "cell peak"],
    q2: Float[np.ndarray, "cell peak"],
    sigma_q2: Float[np.ndarray, "cell peak"],
) -> Float[np.ndarray, "cell peak"]:
    """Give the source's variance of a line, sigma^2 = q2 |q2_obs - q2_cal + epsilon|, Angstrom^-4.

    With 1/sigma^2 as the weight, least squares minimises the sum of |residual|/q2: outliers do not rule it. epsilon is
    the measured standard deviation, below which a smaller residual says nothing. It stands outside the bars: inside,
    a residual of -epsilon would weigh infinitely much.
    """
    return q2 * (np.abs(residual) + sigma_q2)


def log_density(
    residual: Float[np.ndarray, "cell peak"],
    q2: Float[np.ndarray, "cell peak"],
    sigma_q2: Float[np.ndarray, "cell peak"],
    options: McmcOptions,
) -> Float[np.ndarray, "cell peak"]:
    """Give the logarithm of a line's density around its reflection, by the source's sigma or by Student's t."""
    if options.source_density:
        variance = source_variance(residual, q2, sigma_q2)
        return -0.5 * (residual**2 / variance + np.log(2 * np.pi * variance))
    scaled = np.log1p((residual / sigma_q2) ** 2 / options.freedom)
    return student_constant(options.freedom) - np.log(sigma_q2) - 0.5 * (options.freedom + 1) * scaled


def student_constant(freedom: float) -> float:
    """Give the logarithm of the density of Student's t at 0."""
    return float(gammaln((freedom + 1) / 2) - gammaln(freedom / 2) - 0.5 * np.log(np.pi * freedom))


def predicted_count(
    x: Float[np.ndarray, "cell param"], pattern: Int[np.ndarray, "cell"], problem: Problem
) -> Float[np.ndarray, "cell"]:
    """Count the reflections up to the last line (at least 1): the more there are, the less a match is worth.

    Beyond the last line a reflection counts less and less. With a sharp end the likelihood would jump where the last
    line's own reflection passes the line, and pull the cell there.
    """
    last = problem.lines.q2[pattern, problem.lines.count[pattern] - 1][:, None]
    share = np.clip((last - calculated_q2(x, problem)) / (RAMP * last) + 1, 0.0, 1.0)
    return np.maximum(np.sum(share, axis=1), 1.0)


def log_likelihood(
    x: Float[np.ndarray, "cell param"],
    nearest: Int[np.ndarray, "cell peak"],
    pattern: Int[np.ndarray, "cell"],
    problem: Problem,
    options: McmcOptions,
) -> Float[np.ndarray, "cell"]:
    """Give the log-likelihood of all lines; -inf where the cell is out of bounds.

    A line belongs to each of the n predicted reflections with the same prior probability, or, with the impurity
    probability p, to none and then lies anywhere up to the last line Q:

        L = sum over lines of log[(1 - p)/n f(line | its reflection) + p/Q]
    """
    lines, real = problem.lines, real_lines(pattern, problem)
    log_f = _log_match(x, nearest, pattern, problem, options)
    last = lines.q2[pattern, lines.count[pattern] - 1]
    share = np.log1p(-options.impurity_probability) - np.log(predicted_count(x, pattern, problem))
    background = np.full_like(last, -np.inf)
    if options.impurity_probability > 0:
        background = np.log(options.impurity_probability) - np.log(last)
    per_line = np.logaddexp(share[:, None] + log_f, background[:, None])
    total = np.sum(np.where(real, per_line, 0.0), axis=1)
    return np.where(within_bounds(x, problem), total, -np.inf)


def _log_match(
    x: Float[np.ndarray, "cell param"],
    nearest: Int[np.ndarray, "cell peak"],
    pattern: Int[np.ndarray, "cell"],
    problem: Problem,
    options: McmcOptions,
) -> Float[np.ndarray, "cell peak"]:
    q2, sigma = problem.lines.q2[pattern], problem.lines.sigma_q2[pattern]
    if not options.summed:
        return log_density(residuals(x, nearest, pattern, problem), q2, sigma, options)
    residual = observed_q2(x, pattern, problem)[:, :, None] - calculated_q2(x, problem)[:, None, :]
    log_f = log_density(residual, q2[:, :, None], sigma[:, :, None], options)
    counted = np.abs(residual) <= options.window_sigmas * sigma[:, :, None]
    counted |= np.arange(residual.shape[2]) == nearest[:, :, None]
    return np.logaddexp.reduce(np.where(counted, log_f, -np.inf), axis=2)


def within_bounds(x: Float[np.ndarray, "cell param"], problem: Problem) -> Bool[np.ndarray, "cell"]:
    """Tell which cells are cells (positive definite metric) with lengths, volume and zero shift within the bounds."""
    bounds, n_terms = problem.bounds, problem.design.shape[1]
    g11, g22, g33, g23, g13, g12 = bounds.metric_terms @ x[:, :n_terms].T
    minors = np.stack([g22 * g33 - g23**2, g11 * g33 - g13**2, g11 * g22 - g12**2])
    det = g11 * minors[0] - g12 * (g12 * g33 - g23 * g13) + g13 * (g12 * g23 - g22 * g13)
    least_a2, most_a2, least_det, most_det, most_shift = bounds.limits
    inside = (g11 > 0) & (minors[2] > 0) & (det > 0) & (det >= least_det) & (det <= most_det)
    inside &= np.all((minors >= least_a2 * det) & (minors <= most_a2 * det), axis=0)
    return inside & np.all(np.abs(x[:, n_terms:]) <= most_shift, axis=1)


def subsample(
    u: Float[np.ndarray, "cell peak"], count: Int[np.ndarray, "cell"], n_keep: Int[np.ndarray, "cell"]
) -> Bool[np.ndarray, "cell peak"]:
    """Keep exactly ``n_keep`` of the first ``count`` lines (selection sampling, Knuth, TAOCP 3.4.2, algorithm S)."""
    kept = np.zeros(u.shape, bool)
    needed = n_keep.copy()
    for peak in range(u.shape[1]):
        kept[:, peak] = (peak < count) & (u[:, peak] * (count - peak) < needed)
        needed = needed - kept[:, peak]
    return kept


def drawn_indices(
    state: McmcState,
    problem: Problem,
    options: McmcOptions,
    *,
    resample: Bool[np.ndarray, "cell"],
    u: Float[np.ndarray, "cell peak"],
) -> Int[np.ndarray, "cell peak"]:
    """Take the nearest index, or, where a cell resamples, draw it of the two nearest by their densities."""
    q2, sigma = problem.lines.q2[state.pattern], problem.lines.sigma_q2[state.pattern]
    first, other = (
        log_density(residuals(state.x, index, state.pattern, problem), q2, sigma, options)
        for index in (state.nearest, state.second)
    )
    probability = 1 / (1 + np.exp(first - other))
    return np.where(resample[:, None] & (u < probability), state.second, state.nearest)


def refit(
    x: Float[np.ndarray, "cell param"],
    index: Int[np.ndarray, "cell peak"],
    kept: Bool[np.ndarray, "cell peak"],
    pattern: Int[np.ndarray, "cell"],
    problem: Problem,
    options: McmcOptions,
) -> tuple[Float[np.ndarray, "cell param"], Bool[np.ndarray, "cell"]]:
    """Solve for x by weighted least squares on the kept lines; where they do not fix it, x stays and the mask is False.

    Solved for the change of x, so that single precision loses nothing that matters.
    """
    residual = residuals(x, index, pattern, problem)
    weight = kept / source_variance(residual, problem.lines.q2[pattern], problem.lines.sigma_q2[pattern])
    rows = problem.design[index]
    if options.fit_zero_shift:
        rows = np.concatenate([rows, problem.lines.shift_slope[pattern][:, :, None]], axis=2)
    normal = np.einsum("kj,kjp,kjq->kpq", weight, rows, rows)
    right = np.einsum("kj,kjp,kj->kp", weight, rows, residual)
    change, solved = cholesky_solve(normal, right)
    return np.where(solved[:, None], x + change, x), solved


def cholesky_solve(
    matrix: Float[np.ndarray, "cell param param"], right: Float[np.ndarray, "cell param"]
) -> tuple[Float[np.ndarray, "cell param"], Bool[np.ndarray, "cell"]]:
    """Solve symmetric positive definite systems; the mask is False, and the solution 0, where one is degenerate."""
    n = right.shape[1]
    factor, y = np.zeros_like(matrix), np.zeros_like(right)
    solved = np.ones(right.shape[0], bool)
    for i in range(n):
        pivot = matrix[:, i, i] - np.sum(factor[:, i, :i] ** 2, axis=1)
        solved &= pivot > LEAST_PIVOT * matrix[:, i, i]
        factor[:, i, i] = np.sqrt(np.where(solved, pivot, 1.0))
        below = matrix[:, i + 1 :, i] - np.einsum("kqj,kj->kq", factor[:, i + 1 :, :i], factor[:, i, :i])
        factor[:, i + 1 :, i] = below / factor[:, i, i, None]
        y[:, i] = (right[:, i] - np.sum(factor[:, i, :i] * y[:, :i], axis=1)) / factor[:, i, i]
    z = np.zeros_like(right)
    for i in reversed(range(n)):
        z[:, i] = (y[:, i] - np.sum(factor[:, i + 1 :, i] * z[:, i + 1 :], axis=1)) / factor[:, i, i]
    return np.where(solved[:, None], z, 0.0), solved


def accept(
    new: Float[np.ndarray, "cell"], old: Float[np.ndarray, "cell"], u: Float[np.ndarray, "cell"], temperature: float
) -> Bool[np.ndarray, "cell"]:
    """Accept by the Metropolis ratio; nothing outside the bounds, and anything inside when the old cell was outside."""
    inside = np.isfinite(new)
    gain = np.where(inside, new, 0.0) - old
    return inside & (np.exp(np.minimum(gain / temperature, 0.0)) > u)
