"""The refinement step compiled for the CPU, spread over threads.

The compiled functions release the interpreter's lock and are spread over threads here, not by Numba: its own thread
layers either abort on concurrent callers or do not survive a fork.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from app.indexing.cores import usable_cores
from app.indexing.walk.counter_random import seed_key
from app.indexing.walk.kernel_numpy import LEAST_PIVOT, RAMP, student_constant
from app.indexing.walk.mcmc import McmcOptions, McmcState, Problem, kept_lines
from app.indexing.walk.numba_step import N_BINS, Chains, Data, Settings, walk

SMALLEST_SHARE = 64
"""Cells for one thread; below it the hand-over costs more than it saves."""
_NO_SEED = np.uint64(0)


def _own(array: np.ndarray, dtype: type) -> np.ndarray:
    """Copy into a plain array: Numba compiles anew for every memory layout, and for read-only arrays."""
    return np.array(array, dtype, order="C")


def _chains_of(state: McmcState) -> Chains:
    """Copy the state into arrays that the compiled code may change."""
    return Chains(
        _own(state.x, np.float64),
        _own(state.nearest, np.int32),
        _own(state.second, np.int32),
        _own(state.log_likelihood, np.float64),
        _own(state.best_x, np.float64),
        _own(state.best_log_likelihood, np.float64),
        _own(state.stream, np.uint64),
        _own(state.pattern, np.int64),
    )


def _data_of(problem: Problem, options: McmcOptions) -> Data:
    lines, design = problem.lines, problem.design
    last = lines.q2[np.arange(lines.count.size), lines.count - 1]
    edges = np.arange(N_BINS) / N_BINS
    bins = [np.searchsorted(q2[:n], edges * end) for q2, n, end in zip(lines.q2, lines.count, last, strict=True)]
    return Data(
        _own(lines.q2, np.float64),
        _own(lines.sigma_q2, np.float64),
        _own(lines.shift_slope, np.float64),
        _own(lines.count, np.int64),
        _own(kept_lines(problem, options), np.int64),
        _own(np.array(bins), np.int64),
        _own(design, np.float64),
        _own(design.T, np.float64),
        _own(problem.bounds.metric_terms, np.float64),
        _own(problem.bounds.limits, np.float64),
    )


def _settings_of(options: McmcOptions) -> Settings:
    return Settings(
        fit_shift=options.fit_zero_shift,
        source=options.source_density,
        summed=options.summed,
        half_power=(options.freedom + 1) / 2,
        freedom=float(options.freedom),
        constant=math.exp(student_constant(options.freedom)),
        impurity=float(options.impurity_probability),
        window=float(options.window_sigmas),
        resample=float(options.resample),
        temperature=float(options.temperature),
        least_pivot=LEAST_PIVOT,
        ramp=RAMP,
    )


@dataclass(frozen=True)
class NumbaKernel:
    """The CPU kernel.

    Attributes:
        n_threads: cells are shared out among so many threads; the answer does not depend on it.
    """

    n_threads: int = field(default_factory=usable_cores)

    def start(
        self,
        x: Float[np.ndarray, "cell param"],
        stream: Int[np.ndarray, "cell"],
        pattern: Int[np.ndarray, "cell"],
        problem: Problem,
        options: McmcOptions,
    ) -> McmcState:
        """Assign and score the candidates as they are."""
        indices = np.full((x.shape[0], problem.lines.q2.shape[1]), -1, np.int32)
        score = np.empty(x.shape[0])
        chains = _chains_of(McmcState(x, indices, indices, score, x, score, stream, pattern))
        data, settings = _data_of(problem, options), _settings_of(options)
        self._share(x.shape[0], lambda begin, end: walk(begin, end, -1, 0, _NO_SEED, chains, data, settings))
        return McmcState(*chains[:6], stream, pattern)

    def advance(self, state: McmcState, problem: Problem, options: McmcOptions, seed: int, steps: range) -> McmcState:
        """Take the steps with these numbers."""
        chains, data, settings = _chains_of(state), _data_of(problem, options), _settings_of(options)
        key, first, stop = np.uint64(seed_key(seed)), steps.start, steps.stop
        self._share(state.x.shape[0], lambda begin, end: walk(begin, end, first, stop, key, chains, data, settings))
        return McmcState(*chains[:6], state.stream, state.pattern)

    def _share(self, n_cells: int, work: Callable[[int, int], None]) -> None:
        """Call ``work`` on ranges of cells, in threads where there are enough of them."""
        n_shares = max(1, min(self.n_threads, n_cells // SMALLEST_SHARE))
        edges = [n_cells * share // n_shares for share in range(n_shares + 1)]
        if n_shares == 1:
            work(0, n_cells)
            return
        with ThreadPoolExecutor(n_shares) as pool:
            list(pool.map(work, edges[:-1], edges[1:]))
