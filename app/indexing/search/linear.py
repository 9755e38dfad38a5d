"""Small dense linear systems in compiled code: at most seven unknowns, for which calling LAPACK would cost too much."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float

from app.indexing.compiled import compiled

SINGULAR = 1e-12
"""Pivots below this, on matrices of small integers or scaled weights, are zero."""


@compiled
def solve(  # noqa: C901 - one compiled loop
    matrix: Float[np.ndarray, "n n"], right: Float[np.ndarray, "n"], n: int, x: Float[np.ndarray, "n"]
) -> bool:
    """Solve in place by Gauss elimination with partial pivoting; False where the matrix is singular."""
    for column in range(n):
        pivot = column
        for row in range(column + 1, n):
            if abs(matrix[row, column]) > abs(matrix[pivot, column]):
                pivot = row
        if abs(matrix[pivot, column]) < SINGULAR:
            return False
        if pivot != column:
            for j in range(n):
                matrix[column, j], matrix[pivot, j] = matrix[pivot, j], matrix[column, j]
            right[column], right[pivot] = right[pivot], right[column]
        for row in range(column + 1, n):
            factor = matrix[row, column] / matrix[column, column]
            if factor != 0.0:
                for j in range(column, n):
                    matrix[row, j] -= factor * matrix[column, j]
                right[row] -= factor * right[column]
    for row in range(n - 1, -1, -1):
        total = right[row]
        for j in range(row + 1, n):
            total -= matrix[row, j] * x[j]
        x[row] = total / matrix[row, row]
    return True


@compiled
def normal_equations(
    design: Float[np.ndarray, "peak n"],
    target: Float[np.ndarray, "peak"],
    weight: Float[np.ndarray, "peak"],
    used: Bool[np.ndarray, "peak"],
    n_lines: int,
    n: int,
    matrix: Float[np.ndarray, "n n"],
    right: Float[np.ndarray, "n"],
) -> None:
    """Write D^T W D and D^T W target over the used lines."""
    for i in range(n):
        right[i] = 0.0
        for j in range(n):
            matrix[i, j] = 0.0
    for line in range(n_lines):
        if used[line]:
            for i in range(n):
                weighted = weight[line] * design[line, i]
                right[i] += weighted * target[line]
                for j in range(i + 1):
                    matrix[i, j] += weighted * design[line, j]
    for i in range(n):
        for j in range(i):
            matrix[j, i] = matrix[i, j]


@compiled
def log_determinant(matrix: Float[np.ndarray, "n n"], n: int) -> float:
    """Logarithm of the determinant of a positive definite matrix, which is destroyed; -inf where it is not one."""
    total = 0.0
    for column in range(n):
        if matrix[column, column] <= 0.0:
            return -np.inf
        total += math.log(matrix[column, column])
        for row in range(column + 1, n):
            factor = matrix[row, column] / matrix[column, column]
            for j in range(column, n):
                matrix[row, j] -= factor * matrix[column, j]
    return total
