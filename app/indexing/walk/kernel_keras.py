"""The refinement step for accelerators: dense, written once with `keras.ops`, compiled by XLA.

Under TensorFlow the walk is a `tf.function(jit_compile=True)`, under Keras' JAX back end the same code goes through
`jax.jit`. Comparing every line with every reflection is cheap where it fuses into one reduction, and nothing here is a
matrix product, so that no back end may compute it in a shorter format (TF32).

Importing this module imports Keras and its back end, which takes seconds: `kernels` does it when it is asked to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from types import MappingProxyType
from typing import Any, NamedTuple

import keras
import numpy as np
from jaxtyping import Float, Int

from app.indexing.walk.counter_random import GOLDEN, MULTIPLIERS, SHIFTS, UNIT, seed_key
from app.indexing.walk.kernel_numpy import DRAWS_BEFORE_PEAKS, LEAST_PIVOT, RAMP, student_constant
from app.indexing.walk.mcmc import McmcOptions, McmcState, Problem, kept_lines

LEAST_PIVOTS: Mapping[str, float] = MappingProxyType({"float64": LEAST_PIVOT, "float32": 1e-6})
"""As `LEAST_PIVOT`, some ten units of rounding above what single precision can tell from 0."""
SMALLEST_CHUNK = 256
"""Chunks hold this many cells times a power of two: each new shape is compiled anew."""

Tensor = Any
"""Of the back end."""
ops: Any = keras.ops
"""Untyped: its annotations allow for back ends that answer None."""


class _Chains(NamedTuple):
    """The changing tensors of `McmcState`."""

    x: Tensor
    nearest: Tensor
    second: Tensor
    score: Tensor
    best_x: Tensor
    best_score: Tensor


class _Data(NamedTuple):
    """The fixed tensors: of the chunk's cells, (cell, peak) or (cell,), then of the lattice."""

    q2: Tensor
    sigma: Tensor
    slope: Tensor
    real: Tensor
    count: Tensor
    n_keep: Tensor
    last: Tensor
    stream: Tensor
    design: Tensor
    terms: Tensor
    limits: Tensor


class _Walk(NamedTuple):
    """What a walk may vary without being compiled anew: integers, then the options that are mere numbers."""

    seed: Tensor
    first: Tensor
    stop: Tensor
    resample: Tensor
    temperature: Tensor


def _mixed(key: Tensor) -> Tensor:
    for shift, multiplier in zip(SHIFTS, (*MULTIPLIERS, None), strict=True):
        key = ops.bitwise_xor(key, ops.right_shift(key, _word(shift)))
        key = key if multiplier is None else key * _word(multiplier)
    return key


def _word(value: int) -> Tensor:
    return ops.convert_to_tensor(np.uint32(value))


def _uniforms(seed: Tensor, step: Tensor, stream: Tensor, n_draws: int, dtype: str) -> Tensor:
    """As `counter_random.uniforms`; 32-bit words wrap around by themselves."""
    step_key = _mixed(ops.bitwise_xor(seed, ops.cast(step, "uint32") * _word(GOLDEN)))
    stream_key = _mixed(ops.bitwise_xor(step_key, stream))
    offsets = ops.convert_to_tensor(np.arange(n_draws, dtype=np.uint32) * np.uint32(GOLDEN))
    bits = ops.right_shift(_mixed(stream_key[:, None] + offsets[None, :]), _word(8))
    return ops.cast(ops.cast(bits, "int32"), dtype) * UNIT


def _calculated(x: Tensor, data: _Data) -> Tensor:
    """(cell, ref)."""
    return sum(x[:, p, None] * data.design[None, :, p] for p in range(data.design.shape[1]))


def _observed(x: Tensor, data: _Data) -> Tensor:
    """(cell, peak)."""
    n_terms = data.design.shape[1]
    return data.q2 if x.shape[1] == n_terms else data.q2 - data.slope * x[:, n_terms:]


def _assign(observed: Tensor, calculated: Tensor) -> tuple[Tensor, Tensor]:
    distance = ops.abs(observed[:, :, None] - calculated[:, None, :])
    nearest = ops.cast(ops.argmin(distance, axis=2), "int32")
    refs = ops.arange(calculated.shape[1], dtype="int32")
    others = ops.where(refs == nearest[:, :, None], math.inf, distance)
    return nearest, ops.cast(ops.argmin(others, axis=2), "int32")


def _rows(index: Tensor, data: _Data) -> Tensor:
    return ops.take(data.design, index, axis=0)


def _residuals(x: Tensor, index: Tensor, data: _Data) -> Tensor:
    rows = _rows(index, data)
    return _observed(x, data) - sum(rows[:, :, p] * x[:, p, None] for p in range(data.design.shape[1]))


def _log_density(residual: Tensor, q2: Tensor, sigma: Tensor, options: McmcOptions) -> Tensor:
    if options.source_density:
        variance = q2 * (ops.abs(residual) + sigma)
        return -0.5 * (residual * residual / variance + ops.log(2 * math.pi * variance))
    tail = ops.log1p(ops.square(residual / sigma) / options.freedom)
    return student_constant(options.freedom) - ops.log(sigma) - 0.5 * (options.freedom + 1) * tail


def _log_match(observed: Tensor, calculated: Tensor, nearest: Tensor, data: _Data, options: McmcOptions) -> Tensor:
    if not options.summed:
        residual = observed - ops.take_along_axis(calculated, nearest, axis=1)
        return _log_density(residual, data.q2, data.sigma, options)
    residual = observed[:, :, None] - calculated[:, None, :]
    log_f = _log_density(residual, data.q2[:, :, None], data.sigma[:, :, None], options)
    counted = ops.abs(residual) <= options.window_sigmas * data.sigma[:, :, None]
    counted = counted | (ops.arange(calculated.shape[1], dtype="int32") == nearest[:, :, None])
    return ops.logsumexp(ops.where(counted, log_f, -math.inf), axis=2)


def _score(
    x: Tensor, observed: Tensor, calculated: Tensor, nearest: Tensor, data: _Data, options: McmcOptions
) -> Tensor:
    log_f = _log_match(observed, calculated, nearest, data, options)
    share = ops.clip((data.last[:, None] - calculated) / (RAMP * data.last[:, None]) + 1, 0.0, 1.0)
    count = ops.maximum(ops.sum(share, axis=1), 1.0)
    per_line = math.log1p(-options.impurity_probability) - ops.log(count)[:, None] + log_f
    if options.impurity_probability > 0:
        background = math.log(options.impurity_probability) - ops.log(data.last)
        per_line = _log_sum(per_line, background[:, None])
    total = ops.sum(ops.where(data.real, per_line, 0.0), axis=1)
    return ops.where(_within_bounds(x, data), total, -math.inf)


def _log_sum(a: Tensor, b: Tensor) -> Tensor:
    """As `ops.logaddexp`, which falls back to single precision under JAX."""
    return ops.maximum(a, b) + ops.log1p(ops.exp(-ops.abs(a - b)))


def _within_bounds(x: Tensor, data: _Data) -> Tensor:
    n_terms = data.design.shape[1]
    g11, g22, g33, g23, g13, g12 = (sum(data.terms[i, p] * x[:, p] for p in range(n_terms)) for i in range(6))
    m11, m22, m33 = g22 * g33 - g23 * g23, g11 * g33 - g13 * g13, g11 * g22 - g12 * g12
    det = g11 * m11 - g12 * (g12 * g33 - g23 * g13) + g13 * (g12 * g23 - g22 * g13)
    least, most, least_det, most_det, most_shift = (data.limits[i] for i in range(5))
    inside = (g11 > 0) & (m33 > 0) & (det > 0) & (det >= least_det) & (det <= most_det)
    for minor in (m11, m22, m33):
        inside = inside & (minor >= least * det) & (minor <= most * det)
    return inside if x.shape[1] == n_terms else inside & (ops.abs(x[:, n_terms]) <= most_shift)


def _subsample(u: Tensor, data: _Data) -> Tensor:
    kept, needed = [], data.n_keep
    for peak in range(u.shape[1]):
        left = ops.cast(data.count - peak, u.dtype)
        keep = (peak < data.count) & (u[:, peak] * left < ops.cast(needed, u.dtype))
        needed = needed - ops.cast(keep, needed.dtype)
        kept.append(keep)
    return ops.stack(kept, axis=1)


def _drawn_indices(chains: _Chains, u: Tensor, resample: Tensor, data: _Data, options: McmcOptions) -> Tensor:
    first, other = (
        _log_density(_residuals(chains.x, index, data), data.q2, data.sigma, options)
        for index in (chains.nearest, chains.second)
    )
    probability = 1 / (1 + ops.exp(first - other))
    return ops.where(resample[:, None] & (u < probability), chains.second, chains.nearest)


def _refit(x: Tensor, index: Tensor, kept: Tensor, data: _Data, least_pivot: float) -> tuple[Tensor, Tensor]:
    residual, rows = _residuals(x, index, data), _rows(index, data)
    weight = ops.cast(kept, x.dtype) / (data.q2 * (ops.abs(residual) + data.sigma))
    columns = [rows[:, :, p] for p in range(data.design.shape[1])]
    columns += [data.slope] * (x.shape[1] - len(columns))
    weighted = [weight * column for column in columns]
    normal = [[ops.sum(w * column, axis=1) for column in columns[: p + 1]] for p, w in enumerate(weighted)]
    right = [ops.sum(w * residual, axis=1) for w in weighted]
    change, solved = cholesky_solve(normal, right, least_pivot)
    return ops.where(solved[:, None], x + change, x), solved


def cholesky_solve(matrix: list[list[Tensor]], right: list[Tensor], least_pivot: float) -> tuple[Tensor, Tensor]:
    """Solve all systems at once; the loops unroll into elementwise operations on the shape of the elements.

    Args:
        matrix: lower triangle of each, elements of any one shape.
        right: right-hand sides.
        least_pivot: a system with a smaller pivot, relative to its diagonal, is not solved.

    Returns:
        The solutions, stacked along a new last axis (0 where there is none), and which systems are solved.
    """
    n = len(right)
    factor: list[list[Tensor]] = [[None] * n for _ in range(n)]
    y: list[Tensor] = []
    solved = matrix[0][0] > 0
    for i in range(n):
        pivot = matrix[i][i] - sum(factor[i][k] * factor[i][k] for k in range(i))
        solved = solved & (pivot > least_pivot * matrix[i][i])
        root = ops.sqrt(ops.where(solved, pivot, 1.0))
        factor[i][i] = root
        for q in range(i + 1, n):
            factor[q][i] = (matrix[q][i] - sum(factor[q][k] * factor[i][k] for k in range(i))) / root
        y.append((right[i] - sum(factor[i][k] * y[k] for k in range(i))) / root)
    z: list[Tensor] = [None] * n
    for i in reversed(range(n)):
        z[i] = (y[i] - sum(factor[k][i] * z[k] for k in range(i + 1, n))) / factor[i][i]
    return ops.stack([ops.where(solved, value, 0.0) for value in z], axis=-1), solved


def _step(chains: _Chains, step: Tensor, walk: _Walk, data: _Data, options: McmcOptions) -> _Chains:
    dtype = keras.backend.standardize_dtype(chains.x.dtype)
    u = _uniforms(walk.seed, step, data.stream, DRAWS_BEFORE_PEAKS + 2 * data.q2.shape[1], dtype)
    kept = _subsample(u[:, 2::2], data)
    index = _drawn_indices(chains, u[:, 3::2], u[:, 1] < walk.resample, data, options)
    x, solved = _refit(chains.x, index, kept, data, LEAST_PIVOTS[dtype])
    observed, calculated = _observed(x, data), _calculated(x, data)
    nearest, second = _assign(observed, calculated)
    score = _score(x, observed, calculated, nearest, data, options)
    inside = score > -math.inf
    gain = (ops.where(inside, score, 0.0) - chains.score) / walk.temperature
    accepted = solved & inside & (ops.exp(ops.minimum(gain, 0.0)) > u[:, 0])
    better, row = accepted & (score > chains.best_score), accepted[:, None]
    return _Chains(
        ops.where(row, x, chains.x),
        ops.where(row, nearest, chains.nearest),
        ops.where(row, second, chains.second),
        ops.where(accepted, score, chains.score),
        ops.where(better[:, None], x, chains.best_x),
        ops.where(better, score, chains.best_score),
    )


def _tensorflow_compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return import_module("tensorflow").function(function, jit_compile=True)


def _jax_compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return import_module("jax").jit(function)


_COMPILERS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {"tensorflow": _tensorflow_compiled, "jax": _jax_compiled}
)


def compiled_by_back_end(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of tensors with XLA through the back end that Keras runs on."""
    return _COMPILERS[keras.backend.backend()](function)


Shapes = tuple[tuple[int, ...], ...]
"""Of x, the lines and the design; one compiled function for each, lest the back end warn that it compiles again."""


@lru_cache(maxsize=64)
def _starter(options: McmcOptions, shapes: Shapes) -> Callable[[Tensor, _Data], _Chains]:
    def start(x: Tensor, data: _Data) -> _Chains:
        observed, calculated = _observed(x, data), _calculated(x, data)
        nearest, second = _assign(observed, calculated)
        score = _score(x, observed, calculated, nearest, data, options)
        return _Chains(x, nearest, second, score, x, score)

    return compiled_by_back_end(start)


@lru_cache(maxsize=64)
def _walker(options: McmcOptions, shapes: Shapes) -> Callable[[_Chains, _Walk, _Data], _Chains]:
    def walk_on(chains: _Chains, walk: _Walk, data: _Data) -> _Chains:
        def body(step: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return tuple(_step(_Chains(*state), step, walk, data, options))

        return _Chains(*ops.fori_loop(walk.first, walk.stop, body, tuple(chains)))

    return compiled_by_back_end(walk_on)


def _compiled_in(options: McmcOptions) -> McmcOptions:
    """Keep the options that the compiled code depends on, and set those that `_Walk` and `_Data` carry to nothing."""
    return replace(options, n_steps=0, n_polish=0, lines_per_parameter=0.0, resample=0.0, temperature=1.0)


def _shapes(x: Tensor, data: _Data) -> Shapes:
    return tuple(tuple(tensor.shape) for tensor in (x, data.q2, data.design))


def _chunk_size(n_cells: int, most: int) -> int:
    size = SMALLEST_CHUNK
    while size < min(n_cells, most):
        size *= 2
    return size


def _padded(array: np.ndarray, size: int) -> np.ndarray:
    """Repeat the last cell to fill the chunk."""
    return np.concatenate([array, np.repeat(array[-1:], size - array.shape[0], axis=0)])


@dataclass(frozen=True)
class KerasKernel:
    """The accelerator's kernel.

    Attributes:
        dtype: float32, or float64 where it is cheap.
        most_cells: in one chunk, a power of two times `SMALLEST_CHUNK`; bounds the memory, cells x peaks x references
            numbers where the back end does not fuse.
    """

    dtype: str = "float32"
    most_cells: int = 16384

    def start(
        self,
        x: Float[np.ndarray, "cell param"],
        stream: Int[np.ndarray, "cell"],
        pattern: Int[np.ndarray, "cell"],
        problem: Problem,
        options: McmcOptions,
    ) -> McmcState:
        """Assign and score the candidates as they are."""

        def work(rows: slice, size: int) -> _Chains:
            data = self._data(stream[rows], pattern[rows], problem, options, size)
            cells = self._tensor(_padded(x[rows], size))
            return _starter(_compiled_in(options), _shapes(cells, data))(cells, data)

        return self._in_chunks(x.shape[0], stream, pattern, problem, work)

    def advance(self, state: McmcState, problem: Problem, options: McmcOptions, seed: int, steps: range) -> McmcState:
        """Take the steps with these numbers."""
        walk = _Walk(
            ops.convert_to_tensor(np.uint32(seed_key(seed))),
            ops.convert_to_tensor(np.int32(steps.start)),
            ops.convert_to_tensor(np.int32(steps.stop)),
            self._tensor(np.array(options.resample)),
            self._tensor(np.array(options.temperature)),
        )

        def work(rows: slice, size: int) -> _Chains:
            data = self._data(state.stream[rows], state.pattern[rows], problem, options, size)
            chains = _Chains(
                self._tensor(_padded(state.x[rows], size)),
                ops.convert_to_tensor(_padded(np.maximum(state.nearest[rows], 0).astype(np.int32), size)),
                ops.convert_to_tensor(_padded(np.maximum(state.second[rows], 0).astype(np.int32), size)),
                self._tensor(_padded(state.log_likelihood[rows], size)),
                self._tensor(_padded(state.best_x[rows], size)),
                self._tensor(_padded(state.best_log_likelihood[rows], size)),
            )
            return _walker(_compiled_in(options), _shapes(chains.x, data))(chains, walk, data)

        return self._in_chunks(state.x.shape[0], state.stream, state.pattern, problem, work)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return ops.convert_to_tensor(np.asarray(array, self.dtype))

    def _data(
        self,
        stream: Int[np.ndarray, "cell"],
        pattern: Int[np.ndarray, "cell"],
        problem: Problem,
        options: McmcOptions,
        size: int,
    ) -> _Data:
        lines, pattern = problem.lines, _padded(pattern, size)
        count = lines.count[pattern].astype(np.int32)
        return _Data(
            q2=self._tensor(lines.q2[pattern]),
            sigma=self._tensor(lines.sigma_q2[pattern]),
            slope=self._tensor(lines.shift_slope[pattern]),
            real=ops.convert_to_tensor(np.arange(lines.q2.shape[1]) < count[:, None]),
            count=ops.convert_to_tensor(count),
            n_keep=ops.convert_to_tensor(kept_lines(problem, options)[pattern].astype(np.int32)),
            last=self._tensor(lines.q2[pattern, count - 1]),
            stream=ops.convert_to_tensor(_padded(stream, size).astype(np.uint32)),
            design=self._tensor(problem.design),
            terms=self._tensor(problem.bounds.metric_terms),
            limits=self._tensor(problem.bounds.limits),
        )

    def _in_chunks(
        self,
        n_cells: int,
        stream: Int[np.ndarray, "cell"],
        pattern: Int[np.ndarray, "cell"],
        problem: Problem,
        work: Callable[[slice, int], _Chains],
    ) -> McmcState:
        """Call ``work`` on slices of cells with the size to pad them to, and put its answers together."""
        size = _chunk_size(n_cells, self.most_cells)
        parts = [work(slice(begin, begin + size), size) for begin in range(0, n_cells, size)]
        x, nearest, second, score, best_x, best_score = (
            np.concatenate([ops.convert_to_numpy(tensor) for tensor in tensors])[:n_cells]
            for tensors in zip(*parts, strict=True)
        )
        real = np.arange(problem.lines.q2.shape[1]) < problem.lines.count[pattern, None]
        nearest, second = (np.where(real, index, -1) for index in (nearest, second))
        return McmcState(x, nearest, second, score, best_x, best_score, stream, pattern)
