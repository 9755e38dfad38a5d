"""Small linear systems against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from app.indexing.search import linear

sizes = pytest.mark.parametrize("n", range(1, 8))


@sizes
def test_solve(n: int) -> None:
    rng = np.random.default_rng(n)
    for _ in range(20):
        matrix, right, x = rng.standard_normal((n, n)), rng.standard_normal(n), np.empty(7)
        expected = np.linalg.solve(matrix, right)
        assert linear.solve(matrix.copy(), right.copy(), n, x)
        np.testing.assert_allclose(x[:n], expected, rtol=1e-8, atol=1e-8)


def test_solve_exchanges_rows_where_a_pivot_is_zero() -> None:
    x = np.empty(2)
    assert linear.solve(np.array([[0.0, 2.0], [3.0, 0.0]]), np.array([4.0, 9.0]), 2, x)
    assert x.tolist() == [3.0, 2.0]


@pytest.mark.parametrize("n", range(2, 7))
def test_dependent_indices_are_singular(n: int) -> None:
    rng = np.random.default_rng(n)
    for _ in range(50):
        matrix = rng.integers(-6, 7, (n, n)).astype(float) ** 2
        matrix[-1] = matrix[0] + (matrix[1] if n > 2 else 0)
        assert not linear.solve(matrix, np.ones(n), n, np.empty(n))


@sizes
def test_normal_equations_over_the_used_lines(n: int) -> None:
    rng = np.random.default_rng(n)
    design, target, weight = rng.standard_normal((15, 7)), rng.standard_normal(15), rng.uniform(1, 5, 15)
    used = rng.random(15) < 0.7
    target[~used] = np.inf
    matrix, right = np.full((7, 7), np.nan), np.full(7, np.nan)
    linear.normal_equations(design, target, weight, used, 12, n, matrix, right)
    d, w, t = design[:12][used[:12], :n], weight[:12][used[:12]], target[:12][used[:12]]
    np.testing.assert_allclose(matrix[:n, :n], d.T @ (w[:, None] * d))
    np.testing.assert_allclose(right[:n], d.T @ (w * t))


@sizes
def test_log_determinant(n: int) -> None:
    rng = np.random.default_rng(n)
    for scale in (1e-6, 1.0, 1e8):
        root = rng.standard_normal((n + 3, n))
        matrix = scale * root.T @ root
        assert linear.log_determinant(matrix.copy(), n) == pytest.approx(np.linalg.slogdet(matrix)[1])


def test_a_matrix_that_is_not_positive_definite_has_none() -> None:
    assert linear.log_determinant(np.diag([1.0, 0.0, 1.0]), 3) == -np.inf
    assert linear.log_determinant(np.array([[1.0, 2.0], [2.0, 1.0]]), 2) == -np.inf
