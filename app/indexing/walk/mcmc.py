"""Refinement of many candidate cells of one Bravais lattice at once, by a Markov chain over index assignments.

One step takes a random share of the lines, gives each the index of a near reflection, solves for the metric terms by
weighted least squares, and accepts the new cell by the Metropolis ratio of the likelihood of all lines. The step is a
pure function in three kernels (`kernel_numpy`, the reference; `kernel_numba`; `kernel_keras`); the loop is here.
The method is the iterative one of Coelho, J. Appl. Cryst. 36 (2003) 86, in the likelihood form of section 2.4 of the
data-driven indexing report.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from jaxtyping import Float, Int

from app.crystallography.lattice import BravaisLattice
from app.crystallography.reflections import reference_reflections
from app.errors import InvalidInput
from app.indexing.problem import Candidates

NO_BOUND = 1e9
"""Stands for no upper bound on a length (Angstrom) or a volume (Angstrom^3)."""


_COLD = 1e-6
"""A temperature at which no likelihood falls."""
MOST_FREEDOM = 30.0
"""Nearly normal; the density of far lines underflows beyond."""
_HALVED = np.array((1.0, 1.0, 1.0, 0.5, 0.5, 0.5))
"""An off-diagonal element of the metric tensor stands twice in q^2."""


@dataclass(frozen=True)
class Lines:
    """The observed lines of one or more patterns, ascending in q^2; patterns with fewer lines are padded at the end.

    Attributes:
        q2: q^2 = 1/d^2 in Angstrom^-2, shape (pattern, peak).
        sigma_q2: standard deviation of each, Angstrom^-2, above 0, shape (pattern, peak).
        shift_slope: d(q^2)/d(2theta) in Angstrom^-2 per degree, shape (pattern, peak); 0 where no shift is fitted.
        count: number of lines that are not padding, shape (pattern,).
    """

    q2: Float[np.ndarray, "pattern peak"]
    sigma_q2: Float[np.ndarray, "pattern peak"]
    shift_slope: Float[np.ndarray, "pattern peak"]
    count: Int[np.ndarray, "pattern"]


@dataclass(frozen=True)
class Bounds:
    """Which cells are possible at all.

    Attributes:
        terms: `BravaisLattice.terms`, which takes x to the six coefficients of q^2, shape (param, 6).
        min_length_ang, max_length_ang: of every conventional axis.
        min_volume_ang3, max_volume_ang3: of the conventional cell.
        max_zero_shift_deg: of the absolute zero shift in 2theta, where one is fitted.
    """

    terms: Int[np.ndarray, "param 6"]
    min_length_ang: float = 2.0
    max_length_ang: float = 50.0
    min_volume_ang3: float = 0.0
    max_volume_ang3: float = NO_BOUND
    max_zero_shift_deg: float = 0.2

    @property
    def metric_terms(self) -> Float[np.ndarray, "6 param"]:
        """Takes x to the reciprocal metric tensor (G11, G22, G33, G23, G13, G12)."""
        return self.terms.T * _HALVED[:, None]

    @property
    def limits(self) -> Float[np.ndarray, "limit"]:
        """Squared lengths, then 1/volume^2 (the determinant of the metric tensor), then the zero shift."""
        least_det = 1 / self.max_volume_ang3**2
        most_det = math.inf if self.min_volume_ang3 == 0 else 1 / self.min_volume_ang3**2
        lengths = (self.min_length_ang**2, self.max_length_ang**2)
        return np.array([*lengths, least_det, most_det, self.max_zero_shift_deg])


@dataclass(frozen=True)
class Problem:
    """What a kernel needs beside the candidates.

    Attributes:
        design: q^2 of reference reflection r is design[r] @ x, shape (ref, param); at least two reflections.
    """

    lines: Lines
    design: Float[np.ndarray, "ref param"]
    bounds: Bounds


@dataclass(frozen=True)
class McmcOptions:
    """How to walk.

    The defaults reach the true cell from the furthest start (``python -m benchmarks.indexing.kernel``).

    Attributes:
        n_steps: random steps for each candidate.
        n_polish: steps from the best of those with all lines and their nearest reflections; they only improve it.
        lines_per_parameter: lines that each refit sees, drawn at random, for each parameter of the cell: the fewer, the
            further a step goes; never fewer than parameters + 1.
        resample: probability that a step draws each index between the two nearest reflections by their probability,
            instead of taking the nearest.
        source_density: score a line by the normal density with the source's own sigma, which is broad and heavy in its
            tails; otherwise by Student's t with the measured sigma.
        freedom: degrees of freedom of Student's t; 1 has the widest tails, 30 is nearly normal.
        impurity_probability: prior probability that a line belongs to no reflection; 0 lets a single line veto a cell.
        summed: sum a line's likelihood over all reflections in its window instead of taking the nearest one's.
        window_sigmas: half width of that window.
        temperature: divides the logarithm of the Metropolis ratio.
        fit_zero_shift: the last column of x is a zero shift of 2theta in degrees, refined with the cell.
    """

    n_steps: int = 50
    n_polish: int = 3
    lines_per_parameter: float = 2.4
    resample: float = 1.0
    source_density: bool = True
    freedom: float = 1.0
    impurity_probability: float = 0.05
    summed: bool = False
    window_sigmas: float = 5.0
    temperature: float = 5.0
    fit_zero_shift: bool = False


@dataclass(frozen=True)
class McmcState:
    """Where every chain stands.

    Attributes:
        x: metric terms, Angstrom^-2, then the zero shift in degrees where it is fitted, shape (cell, param).
        nearest, second: the two closest reference reflections of each line under x, shape (cell, peak); -1 in padding.
        log_likelihood: of x, shape (cell,); -inf outside the bounds.
        best_x, best_log_likelihood: the best that each chain has seen.
        stream: the chain's stream of random numbers, shape (cell,).
        pattern: the row of `Lines` that the cell is to explain, shape (cell,).
    """

    x: Float[np.ndarray, "cell param"]
    nearest: Int[np.ndarray, "cell peak"]
    second: Int[np.ndarray, "cell peak"]
    log_likelihood: Float[np.ndarray, "cell"]
    best_x: Float[np.ndarray, "cell param"]
    best_log_likelihood: Float[np.ndarray, "cell"]
    stream: Int[np.ndarray, "cell"]
    pattern: Int[np.ndarray, "cell"]


class Kernel(Protocol):
    """One way to compute the step."""

    def start(
        self,
        x: Float[np.ndarray, "cell param"],
        stream: Int[np.ndarray, "cell"],
        pattern: Int[np.ndarray, "cell"],
        problem: Problem,
        options: McmcOptions,
    ) -> McmcState:
        """Assign and score the candidates as they are."""
        ...

    def advance(self, state: McmcState, problem: Problem, options: McmcOptions, seed: int, steps: range) -> McmcState:
        """Take the steps with these numbers; the input stays as it is."""
        ...


@dataclass(frozen=True)
class RefineRequest:
    """Optional arguments of `refine`.

    Attributes:
        stream: stream of random numbers of each candidate, shape (cell,); None numbers them from 0.
        pattern: the pattern of each candidate, shape (cell,); None is the first for all.
        block: steps between two looks at `should_stop`.
        should_stop: asked between blocks; True ends the walk with the best so far.
    """

    stream: Int[np.ndarray, "cell"] | None = None
    pattern: Int[np.ndarray, "cell"] | None = None
    block: int = 10
    should_stop: Callable[[], bool] = field(default=lambda: False)


def refine(
    candidates: Candidates,
    problem: Problem,
    options: McmcOptions,
    seed: int,
    kernel: Kernel,
    request: RefineRequest | None = None,
) -> Candidates:
    """Walk every candidate and give the best that each has seen, in the order of the input.

    With ``options.fit_zero_shift`` x has one more column than the design, the zero shift in degrees.

    Raises:
        InvalidInput: x does not fit the design or is not finite, or a pattern has fewer lines than parameters + 1.
    """
    _check(candidates.x, problem, options)
    request = request or RefineRequest()
    n_cells = candidates.x.shape[0]
    stream = np.arange(n_cells) if request.stream is None else request.stream
    pattern = np.zeros(n_cells, np.int64) if request.pattern is None else request.pattern
    state = kernel.start(candidates.x, stream, pattern, problem, options)
    for first in range(0, options.n_steps, request.block):
        if request.should_stop():
            break
        steps = range(first, min(first + request.block, options.n_steps))
        state = kernel.advance(state, problem, options, seed, steps)
    best = kernel.start(state.best_x, stream, pattern, problem, options)
    final_steps = range(options.n_steps, options.n_steps + options.n_polish)
    best = kernel.advance(best, problem, _polishing(options), seed, final_steps)
    return Candidates(x=best.x, assignment=best.nearest, log_likelihood=best.log_likelihood)


def _polishing(options: McmcOptions) -> McmcOptions:
    """Turn the walk into a descent: all lines, their nearest reflections, and only what is better."""
    return replace(options, lines_per_parameter=math.inf, resample=0.0, temperature=_COLD)


def _check(x: Float[np.ndarray, "cell param"], problem: Problem, options: McmcOptions) -> None:
    n_x = problem.design.shape[1] + int(options.fit_zero_shift)
    if x.shape[1] != n_x:
        raise InvalidInput(f"A candidate has {x.shape[1]} parameters; this lattice and these options take {n_x}.")
    if not np.all(np.isfinite(x)):
        raise InvalidInput("A candidate holds a parameter that is not a finite number.")
    if problem.lines.count.min() <= n_x:
        raise InvalidInput(f"Found {problem.lines.count.min()} lines; this lattice needs at least {n_x + 1}.")
    if not 0 < options.freedom <= MOST_FREEDOM or not 0 <= options.impurity_probability < 1:
        raise InvalidInput(f"Degrees of freedom must lie in 0..{MOST_FREEDOM}, the impurity probability in 0..1.")


def merge(candidates: Candidates, pattern: Int[np.ndarray, "cell"] | None = None) -> Candidates:
    """Keep the most likely candidate of each set with equal assignments, most likely first.

    Least squares on equal assignments gives equal cells, so nothing is lost. Candidates of different patterns are
    never merged.
    """
    order = np.argsort(-candidates.log_likelihood, kind="stable")
    labels = candidates.assignment[order]
    if pattern is not None:
        labels = np.concatenate([pattern[order, None], labels], axis=1)
    _, first = np.unique(labels, axis=0, return_index=True)
    chosen = order[np.sort(first)]
    return replace(
        candidates,
        x=candidates.x[chosen],
        assignment=candidates.assignment[chosen],
        log_likelihood=candidates.log_likelihood[chosen],
    )


def one_pattern(
    q2_inv_ang2: Float[np.ndarray, "peak"],
    sigma_q2_inv_ang2: Float[np.ndarray, "peak"],
    shift_slope: Float[np.ndarray, "peak"] | None = None,
) -> Lines:
    """Make `Lines` of a single pattern, ascending in q^2; ``shift_slope`` is d(q^2)/d(2theta) per degree."""
    slope = np.zeros_like(q2_inv_ang2) if shift_slope is None else shift_slope
    count = np.array([q2_inv_ang2.size])
    return Lines(q2_inv_ang2[None], sigma_q2_inv_ang2[None], slope[None], count)


def lattice_problem(lattice: BravaisLattice, lines: Lines, bounds: Bounds, n_ref: int | None = None) -> Problem:
    """Make the problem of one Bravais lattice with ``n_ref`` reference reflections, or as many as suit it."""
    return Problem(lines, reference_reflections(lattice.symbol, n_ref).design, bounds)


def kept_lines(problem: Problem, options: McmcOptions) -> Int[np.ndarray, "pattern"]:
    """Count the lines that each refit sees, for each pattern."""
    count = problem.lines.count
    n_x = problem.design.shape[1] + int(options.fit_zero_shift)
    wanted = np.ceil(np.minimum(options.lines_per_parameter * n_x, count)).astype(np.int64)
    return np.minimum(np.maximum(wanted, n_x + 1), count)
