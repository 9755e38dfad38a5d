"""The quick search for many patterns at once on an accelerator: screening, growth and a coarse evidence.

The same steps as `app.indexing.search` takes on the CPU (`low_order.screen`, `growth.grow`, `evidence.weigh`), on dense
arrays (pattern, cell, ...), written once with `keras.ops` and compiled by XLA: a `tf.function(jit_compile=True)` under
TensorFlow, `jax.jit` under Keras' JAX back end. Every line is compared with every reference reflection, which fuses
into one reduction; sums over metric terms are written out, so that no back end computes them as matrix products in a
shorter format (TF32). Single precision is enough to choose candidates: those are refined in double precision later.

Importing this module imports Keras and its back end, which takes seconds: `app.indexing.batch` does it when asked to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Any, NamedTuple

import keras

from app.indexing.search.cells import FLATTEST, MAX_REFLECTIONS
from app.indexing.search.growth import TRUST
from app.indexing.search.hypotheses import GROWTH_WINDOW, LINE_SIGMA_DEG
from app.indexing.search.low_order import MISSED, REJECTED
from app.indexing.search.observed import FOREIGN_SHARE
from app.indexing.walk.kernel_keras import LEAST_PIVOTS, cholesky_solve, compiled_by_back_end

COARSE_SIGMAS_DEG = (0.006, 0.012, 0.024, 0.048)
"""Errors of a line position that the coarse evidence considers, degrees of 2theta."""
TINIEST = 1e-30
"""Keeps a logarithm finite; a normal number in single precision."""

Tensor = Any
"""Of the back end."""
ops: Any = keras.ops
"""Untyped: its annotations allow for back ends that answer None."""


class Patterns(NamedTuple):
    """The observed lines of all patterns, padded; see `app.indexing.search.observed.Observed`.

    Attributes:
        q2, per_degree, slope: shape (pattern, peak).
        count: real lines, int32, shape (pattern,).
        zero_sigma: expected size of the zero shift, degrees, shape (pattern,).
        limits: `app.indexing.search.cells.Limits`, shape (pattern, 4).
    """

    q2: Tensor
    per_degree: Tensor
    slope: Tensor
    count: Tensor
    zero_sigma: Tensor
    limits: Tensor


class Lattice(NamedTuple):
    """Of `app.indexing.search.dense.DenseLattice`; scalars are tensors, so that lattices share compiled code.

    Attributes:
        design, copies, terms: as there.
        multiplicity, share: shape ().
    """

    design: Tensor
    copies: Tensor
    terms: Tensor
    multiplicity: Tensor
    share: Tensor


class Grown(NamedTuple):
    """Cells on their way through growth; shapes (pattern, cell, param) and (pattern, cell)."""

    x: Tensor
    zero: Tensor
    alive: Tensor
    indexed: Tensor


def accelerator() -> str | None:
    """Name the GPU that the back end computes on; None where it would compute on the CPU."""
    found = _GPUS[keras.backend.backend()]()
    return found[0] if found else None


def _tensorflow_gpus() -> list[str]:
    return [device.name for device in import_module("tensorflow").config.list_physical_devices("GPU")]


def _jax_gpus() -> list[str]:
    return [str(device) for device in import_module("jax").devices() if device.platform == "gpu"]


_GPUS: Mapping[str, Callable[[], list[str]]] = MappingProxyType({"tensorflow": _tensorflow_gpus, "jax": _jax_gpus})


def _calculated(x: Tensor, design: Tensor) -> Tensor:
    """q^2 of the reference reflections: shape (pattern, cell, ref)."""
    return sum(x[:, :, p, None] * design[:, p] for p in range(design.shape[1]))


def _possible(x: Tensor, lattice: Lattice, limits: Tensor) -> tuple[Tensor, Tensor]:
    """Which cells exist, are not flat and lie within the bounds (as `cells.possible`); their conventional volume."""
    a, b, c, d, e, f = (sum(lattice.terms[p, i] * x[:, :, p] for p in range(x.shape[2])) for i in range(6))
    d, e, f = 0.5 * d, 0.5 * e, 0.5 * f
    minors = (b * c - d * d, a * c - e * e, a * b - f * f)
    det = a * minors[0] - f * (f * c - d * e) + e * (f * d - b * e)
    inside = (a > 0) & (b > 0) & (c > 0) & (det > FLATTEST * a * b * c)
    det = ops.where(inside, det, 1.0)
    least, most, least_volume, most_volume = (limits[:, i, None] for i in range(4))
    for minor in minors:
        inside = inside & (minor >= least * least * det) & (minor <= most * most * det)
    volume = 1.0 / ops.sqrt(det)
    primitive = volume / lattice.multiplicity
    return inside & (primitive >= least_volume) & (primitive <= most_volume), volume


def _predicted_count(calculated: Tensor, volume: Tensor, q2_max: Tensor, lattice: Lattice) -> Tensor:
    """Reflections up to a limit: of the list, or as many as the volume holds where the list ends before the limit."""
    listed = ops.sum(ops.where(calculated <= q2_max[:, None, None], lattice.copies, 0.0), axis=2)
    sphere = 4.0 / 3.0 * math.pi * ops.power(q2_max, 1.5)[:, None] * volume
    return ops.maximum(listed, sphere * lattice.share / lattice.multiplicity)


def _last(values: Tensor, count: Tensor) -> Tensor:
    """The value of each pattern's last line among the first ``count``."""
    return ops.take_along_axis(values, count[:, None] - 1, axis=1)[:, 0]


def _screen(
    lines: Tensor, inverse: Tensor, lattice: Lattice, patterns: Patterns, window_deg: Tensor, most_lines: int
) -> Tensor:
    """Score a chunk of assignments on every pattern as `low_order.screen` does.

    Args:
        lines: int32, shape (assignment, param).
        inverse: shape (assignment, param, param).
        lattice, patterns: see there.
        window_deg: half-width of a line's window, degrees.
        most_lines: lines to weigh.

    Returns:
        Shape (pattern, assignment).
    """
    n_params = lines.shape[1]
    right = ops.take(patterns.q2, lines, axis=1)
    x = ops.stack([sum(inverse[:, i, j] * right[:, :, j] for j in range(n_params)) for i in range(n_params)], axis=2)
    inside, volume = _possible(x, lattice, patterns.limits)
    named = ops.all(lines[None] < patterns.count[:, None, None], axis=2)
    count = ops.minimum(patterns.count, most_lines)
    q2, window = patterns.q2[:, :most_lines], window_deg * patterns.per_degree[:, :most_lines]
    q2_max = _last(q2 + window, count)
    calculated = _calculated(x, lattice.design)
    distance = ops.min(ops.abs(calculated[:, :, None, :] - q2[:, None, :, None]), axis=3)
    n_predicted = _predicted_count(calculated, volume, q2_max, lattice)
    density = (1.5 * n_predicted / q2_max[:, None])[:, :, None]
    share = (2.0 * window * ops.sqrt(q2 / q2_max[:, None]))[:, None, :]
    chance = 1.0 - ops.exp(-share * density)
    gain = ops.where(distance < window[:, None, :], -ops.log(chance + 1e-3), ops.log(MISSED / (1.0 - chance + 1e-3)))
    real = ops.arange(most_lines, dtype="int32") < count[:, None]
    score = ops.sum(ops.where(real[:, None, :], gain, 0.0), axis=2)
    return ops.where(inside & named & (n_predicted <= MAX_REFLECTIONS), score, REJECTED)


def _rows(index: Tensor, lattice: Lattice, slope: Tensor) -> list[Tensor]:
    """Columns of the design of the nearest reflections and of the zero shift: each of shape (pattern, cell, peak)."""
    rows = ops.take(lattice.design, index, axis=0)
    shift = ops.broadcast_to(slope[:, None, :], index.shape)
    return [*(rows[..., p] for p in range(lattice.design.shape[1])), shift]


def _nearest(x: Tensor, lines: Tensor, lattice: Lattice) -> tuple[Tensor, Tensor]:
    """Index of each line's nearest reflection, and line - reflection: shape (pattern, cell, peak)."""
    calculated = _calculated(x, lattice.design)
    index = ops.cast(ops.argmin(ops.abs(calculated[:, :, None, :] - lines[:, :, :, None]), axis=3), "int32")
    return index, lines - ops.take_along_axis(calculated, index, axis=2)


def _normal(columns: list[Tensor], weight: Tensor, delta: Tensor) -> tuple[list[list[Tensor]], list[Tensor]]:
    """Lower triangle of D^T W D, and D^T W delta."""
    weighted = [weight * column for column in columns]
    matrix = [[ops.sum(w * column, axis=2) for column in columns[: i + 1]] for i, w in enumerate(weighted)]
    return matrix, [ops.sum(w * delta, axis=2) for w in weighted]


def _scale(x: Tensor, lattice: Lattice) -> Tensor:
    """The size of each metric term, as `growth`: a*^2, or 2 a* b* for one between two axes; (pattern, cell, param)."""
    form: list[Tensor] = [sum(lattice.terms[p, i] * x[:, :, p] for p in range(x.shape[2])) for i in range(3)]
    diagonal = [lattice.terms[:, i] > 0 for i in range(3)]
    largest = ops.max(
        ops.stack([ops.where(of, part[:, :, None], 0.0) for of, part in zip(diagonal, form, strict=True)]), axis=0
    )
    roots = [ops.sqrt(ops.maximum(part, TINIEST))[:, :, None] for part in form]
    crossed = sum(
        ops.where(lattice.terms[:, 3 + i] > 0, 2.0 * roots[(i + 1) % 3] * roots[(i + 2) % 3], 0.0) for i in range(3)
    )
    return ops.where(diagonal[0] | diagonal[1] | diagonal[2], largest, crossed)


def _grow_once(cells: Grown, n_lines: Tensor, patterns: Patterns, lattice: Lattice) -> Grown:
    """One stage of `growth.grow`; ``n_lines`` of shape (pattern,)."""
    n_params = cells.x.shape[2]
    sigma = LINE_SIGMA_DEG * patterns.per_degree[:, None, :]
    inside, _ = _possible(cells.x, lattice, patterns.limits)
    lines = patterns.q2[:, None, :] - cells.zero[:, :, None] * patterns.slope[:, None, :]
    index, delta = _nearest(cells.x, lines, lattice)
    real = ops.arange(patterns.q2.shape[1], dtype="int32") < n_lines[:, None]
    used = (ops.abs(delta) < GROWTH_WINDOW * sigma) & real[:, None, :]
    n_used = ops.sum(ops.cast(used, "int32"), axis=2)
    alive = cells.alive & inside & (n_used > n_params + 1)
    matrix, right = _normal(_rows(index, lattice, patterns.slope), ops.where(used, 1.0 / (sigma * sigma), 0.0), delta)
    scale = _scale(cells.x, lattice)
    for p in range(n_params):
        matrix[p][p] = matrix[p][p] + 1.0 / ops.square(TRUST * ops.maximum(scale[:, :, p], 1e-12))
    precision = 1.0 / ops.square(patterns.zero_sigma)[:, None]
    matrix[n_params][n_params] = matrix[n_params][n_params] + precision
    right[n_params] = right[n_params] - cells.zero * precision
    change, solved = cholesky_solve(matrix, right, LEAST_PIVOTS["float32"])
    alive = alive & solved
    return Grown(
        ops.where(alive[:, :, None], cells.x + change[:, :, :n_params], cells.x),
        ops.where(alive, cells.zero + change[:, :, n_params], cells.zero),
        alive,
        ops.where(alive, n_used, 0),
    )


def _coarse_evidence(cells: Grown, patterns: Patterns, lattice: Lattice, log_factorials: Tensor) -> Tensor:
    """Evidence as `evidence.weigh`, to a constant: the nearest reflection alone, a coarse grid of errors, no prior.

    A cell whose growth ended with too few lines gets `REJECTED`.
    """
    lines = patterns.q2[:, None, :] - cells.zero[:, :, None] * patterns.slope[:, None, :]
    inside, volume = _possible(cells.x, lattice, patterns.limits)
    index, delta = _nearest(cells.x, lines, lattice)
    q2_max = _last(patterns.q2, patterns.count)
    n_predicted = _predicted_count(_calculated(cells.x, lattice.design), volume, q2_max, lattice)
    n_lines = ops.cast(patterns.count, "float32")
    real = (ops.arange(patterns.q2.shape[1], dtype="int32") < patterns.count[:, None])[:, None, :]
    chance = (1.5 * n_lines / q2_max)[:, None] * ops.sqrt(ops.abs(patterns.q2) / q2_max[:, None])
    columns = _rows(index, lattice, patterns.slope)
    totals = []
    for sigma_deg in COARSE_SIGMAS_DEG:
        sigma = sigma_deg * patterns.per_degree
        norm = ops.log(math.sqrt(2 * math.pi) * sigma * chance + TINIEST)
        gain = -0.5 * ops.square(delta / sigma[:, None, :]) - norm[:, None, :]
        used = real & (gain > math.log(FOREIGN_SHARE) + 1.0)
        total = ops.sum(ops.where(used, gain, ops.where(real, math.log(FOREIGN_SHARE), 0.0)), axis=2)
        matrix, _ = _normal(columns, ops.where(used, 1.0 / ops.square(sigma)[:, None, :], 0.0), delta)
        totals.append(total + _occam(matrix, patterns) + _log_beta(used, n_predicted, log_factorials))
    enough = cells.indexed >= ops.maximum(cells.x.shape[2] + 2, patterns.count // 2)[:, None]
    return ops.where(inside & enough, ops.logsumexp(ops.stack(totals), axis=0), REJECTED)


def _log_beta(used: Tensor, n_predicted: Tensor, log_factorials: Tensor) -> Tensor:
    n_used = ops.sum(ops.cast(used, "int32"), axis=2)
    absent = ops.cast(ops.clip(n_predicted - ops.cast(n_used, "float32"), 0.0, float(MAX_REFLECTIONS)), "int32")
    first, second, both = (ops.take(log_factorials, n) for n in (n_used, absent, n_used + absent + 1))
    return first + second - both


def _occam(matrix: list[list[Tensor]], patterns: Patterns) -> Tensor:
    """-1/2 log det of the normal equations with the prior of the zero shift."""
    n = len(matrix)
    matrix = [list(row) for row in matrix]
    matrix[n - 1][n - 1] = matrix[n - 1][n - 1] + 1.0 / ops.square(patterns.zero_sigma)[:, None]
    factor: list[list[Tensor]] = [[None] * n for _ in range(n)]
    total: Tensor = 0.0
    for i in range(n):
        pivot = matrix[i][i] - sum(factor[i][k] * factor[i][k] for k in range(i))
        pivot = ops.maximum(pivot, LEAST_PIVOTS["float32"] * matrix[i][i] + TINIEST)
        factor[i][i] = ops.sqrt(pivot)
        for q in range(i + 1, n):
            factor[q][i] = (matrix[q][i] - sum(factor[q][k] * factor[i][k] for k in range(i))) / factor[i][i]
        total = total - 0.5 * ops.log(pivot)
    return total


def _grow(x: Tensor, stages: Tensor, patterns: Patterns, lattice: Lattice, log_factorials: Tensor) -> Tensor:
    """Grow the cells of a chunk and weigh them coarsely.

    Args:
        x: starts, shape (pattern, cell, param).
        stages: lines taken in, int32, shape (stage, pattern).
        patterns, lattice: see there.
        log_factorials: of `app.indexing.search.dense`.

    Returns:
        Shape (pattern, cell).
    """

    def body(stage: Tensor, cells: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(_grow_once(Grown(*cells), ops.take(stages, stage, axis=0), patterns, lattice))

    flat = x[:, :, 0]
    start = Grown(x, ops.zeros_like(flat), ops.ones_like(flat, dtype="bool"), ops.zeros_like(flat, dtype="int32"))
    grown = Grown(*ops.fori_loop(0, stages.shape[0], body, tuple(start)))
    return _coarse_evidence(grown, patterns, lattice, log_factorials)


Shapes = tuple[tuple[int, ...], ...]
"""One compiled function for each, lest the back end warn that it compiles again."""


@cache
def _screener(shapes: Shapes, most_lines: int) -> Callable[..., Tensor]:
    def screen(lines: Tensor, inverse: Tensor, lattice: Lattice, patterns: Patterns, window_deg: Tensor) -> Tensor:
        return _screen(lines, inverse, lattice, patterns, window_deg, most_lines)

    return compiled_by_back_end(screen)


@cache
def _grower(shapes: Shapes) -> Callable[..., Tensor]:
    return compiled_by_back_end(_grow)


def _shapes(*tensors: Tensor) -> Shapes:
    return tuple(tuple(tensor.shape) for tensor in tensors)


def screen(
    lines: Tensor, inverse: Tensor, lattice: Lattice, patterns: Patterns, window_deg: Tensor, most_lines: int
) -> Tensor:
    """Score a chunk of assignments on every pattern; arguments and answer as `_screen`."""
    compiled = _screener(_shapes(lines, lattice.design, patterns.q2), most_lines)
    return compiled(lines, inverse, lattice, patterns, window_deg)


def grow(x: Tensor, stages: Tensor, patterns: Patterns, lattice: Lattice, log_factorials: Tensor) -> Tensor:
    """Grow and weigh a chunk of cells of every pattern; arguments and answer as `_grow`."""
    return _grower(_shapes(x, lattice.design, patterns.q2))(x, stages, patterns, lattice, log_factorials)


def best(score: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The highest scores of each row and where they stand, shape (pattern, count)."""
    values, index = ops.top_k(score, count, sorted=True)
    return values, ops.cast(index, "int32")
