"""What the network that scores low-order assignments sees of the lines; training and service call the same function.

A pattern says which of its lines belong together by exact relations between their q^2: q^2(2h) = 4 q^2(h), in a
right-angled plane q^2(hk0) = q^2(h00) + q^2(0k0), and in any plane q^2(a+b) + q^2(a-b) = 2 q^2(a) + 2 q^2(b) (C. Runge,
Phys. Z. 18 (1917) 509; P. M. de Wolff, Acta Cryst. 10 (1957) 590). A smooth function of twenty numbers does not see
that a relation holds within a thousandth, so each relation is asked for here and answered between 0 and 1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

N_LINES = 20
"""Lines that are looked at."""
SIGMA_DEG = 0.025
"""Error of a line at which a relation half holds, roughly, degrees of 2theta."""
_SUM_FIRST, _SUM_LAST = 8, 16
_PLANE_FIRST, _PLANE_LAST = 6, 14
_MULTIPLES = (3.0, 4.0)
_MULTIPLE_FIRST = 10
_SCALE_LINES = 10
_TYPICAL_LOG_ERROR = -7.0


class _Relations(NamedTuple):
    """Lines that may meet a relation: q^2[i] + q^2[j] = q^2[k], or 2 (q^2[i] + q^2[j]) = q^2[k] + that of any line."""

    i: Int[np.ndarray, "relation"]
    j: Int[np.ndarray, "relation"]
    k: Int[np.ndarray, "relation"]


def _relations(first: int, last: int, *, doubled: bool) -> _Relations:
    pairs = [(i, j) for i in range(first) for j in range(i if doubled else i + 1, first)]
    return _Relations(*np.array([(i, j, k) for i, j in pairs for k in range(j + 1, last)]).T)


_SUMS = _relations(_SUM_FIRST, _SUM_LAST, doubled=True)
_PLANES = _relations(_PLANE_FIRST, _PLANE_LAST, doubled=False)
_OTHERS = _PLANES.k[:, None] != np.arange(_SUM_LAST)
_RATIOS = np.array([(i, k) for i in range(_MULTIPLE_FIRST) for k in range(i + 1, _SUM_LAST)]).T
N_FEATURES = 3 * N_LINES + len(_SUMS.i) + len(_PLANES.i) + len(_MULTIPLES) * _RATIOS.shape[1]
"""Numbers that describe a pattern."""


def template_features(
    q2: Float[np.ndarray, "pattern peak"], per_degree: Float[np.ndarray, "pattern peak"]
) -> Float[np.ndarray, "pattern feature"]:
    """Describe the first lines of patterns by numbers without a scale.

    Args:
        q2: Angstrom^-2, ascending, NaN where a pattern has fewer than `N_LINES`; lines beyond are not looked at.
        per_degree: what a degree of 2theta is worth at each line, Angstrom^-2 (see `Observed`).
    """
    q2, width = _padded(q2), SIGMA_DEG * _padded(per_degree)
    logarithm, error = np.log(q2), np.log(width / q2)
    known = np.isfinite(q2[:, :_SCALE_LINES])
    scale = np.where(known, logarithm[:, :_SCALE_LINES], 0.0).sum(axis=1, keepdims=True)
    parts = (
        logarithm - scale / np.maximum(known.sum(axis=1, keepdims=True), 1),
        np.isfinite(q2),
        0.5 * (error - _TYPICAL_LOG_ERROR),
        _sums(q2, width**2),
        _planes(q2, width**2),
        *(_multiples(q2, width**2, factor) for factor in _MULTIPLES),
    )
    # A line that is not there meets no relation.
    return np.nan_to_num(np.concatenate(parts, axis=1, dtype=np.float32), copy=False)


def _padded(values: Float[np.ndarray, "pattern peak"]) -> Float[np.ndarray, "pattern peak"]:
    values = np.asarray(values, dtype=float)[:, :N_LINES]
    return np.pad(values, ((0, 0), (0, N_LINES - values.shape[1])), constant_values=np.nan)


def _holds(difference: Float[np.ndarray, "..."], variance: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """1 where a relation holds exactly, 1/2 at its error; the long tail tells what is near from what is far."""
    return variance / (variance + difference**2)


def _sums(
    q2: Float[np.ndarray, "pattern peak"], variance: Float[np.ndarray, "pattern peak"]
) -> Float[np.ndarray, "pattern relation"]:
    i, j, k = _SUMS
    return _holds(q2[:, i] + q2[:, j] - q2[:, k], variance[:, i] + variance[:, j] + variance[:, k])


def _planes(
    q2: Float[np.ndarray, "pattern peak"], variance: Float[np.ndarray, "pattern peak"]
) -> Float[np.ndarray, "pattern relation"]:
    """Whether any other line completes q^2(a+b) + q^2(a-b) = 2 q^2(a) + 2 q^2(b)."""
    i, j, k = _PLANES
    wanted = 2.0 * (q2[:, i] + q2[:, j]) - q2[:, k]
    known = 4.0 * (variance[:, i] + variance[:, j]) + variance[:, k]
    difference = wanted[:, :, None] - q2[:, None, :_SUM_LAST]
    completes = _holds(difference, known[:, :, None] + variance[:, None, :_SUM_LAST])
    return np.where(_OTHERS, np.nan_to_num(completes), 0.0).max(axis=2)


def _multiples(
    q2: Float[np.ndarray, "pattern peak"], variance: Float[np.ndarray, "pattern peak"], factor: float
) -> Float[np.ndarray, "pattern relation"]:
    i, k = _RATIOS
    return _holds(factor * q2[:, i] - q2[:, k], factor**2 * variance[:, i] + variance[:, k])
