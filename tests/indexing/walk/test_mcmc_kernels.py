"""The kernels against the NumPy reference, and the reference against naive formulas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from app.indexing.problem import Candidates
from app.indexing.walk import kernel_numpy as reference
from app.indexing.walk.counter_random import uniforms
from app.indexing.walk.kernel_numba import NumbaKernel
from app.indexing.walk.kernel_numpy import NumpyKernel
from app.indexing.walk.mcmc import Bounds, Kernel, McmcOptions, McmcState, Problem, refine
from tests.indexing.walk.mcmc_cases import CELLS, lines_of, problem_of, starts, true_x

STUDENT = McmcOptions(source_density=False, temperature=1.0)
VARIANTS = {
    "default": McmcOptions(),
    "every line's veto": McmcOptions(impurity_probability=0.0, temperature=1.0),
    "student": replace(STUDENT, resample=0.5),
    "summed": replace(STUDENT, summed=True, freedom=4.0),
    "nearest only": replace(STUDENT, resample=0.0, lines_per_parameter=np.inf),
    "zero shift": replace(STUDENT, fit_zero_shift=True, freedom=30.0),
}


def start_of(symbol: str, options: McmcOptions, n_cells: int, spread: float = 0.05) -> np.ndarray:
    return np.pad(starts(symbol, n_cells, spread), ((0, 0), (0, int(options.fit_zero_shift))))


def walk(kernel: Kernel, x: np.ndarray, problem: Problem, options: McmcOptions, n_steps: int = 6) -> McmcState:
    n_cells = x.shape[0]
    state = kernel.start(x, np.arange(n_cells), np.zeros(n_cells, int), problem, options)
    return kernel.advance(state, problem, options, 11, range(n_steps))


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("symbol", CELLS)
def test_numba_walks_as_the_reference_does(symbol: str, options: McmcOptions) -> None:
    problem = problem_of(symbol, lines_of(symbol, noise_deg=0.02, seed=5), n_ref=100)
    x = start_of(symbol, options, 40)
    ours, plain = walk(NumbaKernel(1), x, problem, options), walk(NumpyKernel(), x, problem, options)
    assert np.any(plain.x != x)
    np.testing.assert_allclose(ours.x, plain.x, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(ours.nearest, plain.nearest)
    np.testing.assert_array_equal(ours.second, plain.second)
    np.testing.assert_allclose(ours.log_likelihood, plain.log_likelihood, rtol=1e-9)
    np.testing.assert_allclose(ours.best_x, plain.best_x, rtol=1e-9, atol=1e-12)


def test_the_two_nearest_reflections_are_found_however_the_lines_lie() -> None:
    problem = problem_of("aP", lines_of("aP", 40))
    x = start_of("aP", VARIANTS["default"], 200, spread=0.3)
    ours = NumbaKernel(1).start(x, np.arange(200), np.zeros(200, int), problem, VARIANTS["default"])
    distance = np.abs(problem.lines.q2[0][:, None] - (problem.design @ x.T).T[:, None, :])
    order = np.argsort(distance, axis=2)
    np.testing.assert_array_equal(ours.nearest, order[:, :, 0])
    np.testing.assert_array_equal(ours.second, order[:, :, 1])


def test_normal_equations_solve_as_lstsq_does() -> None:
    problem, x = problem_of("aP", lines_of("aP", noise_deg=0.02)), starts("aP", 5)
    pattern = np.zeros(5, int)
    index, _ = reference.assign(x, pattern, problem)
    kept = reference.subsample(np.random.default_rng(0).random((5, 20)), np.full(5, 20), np.full(5, 15))
    ours, solved = reference.refit(x, index, kept, pattern, problem, McmcOptions())
    assert solved.all()
    for cell in range(5):
        rows, q2 = problem.design[index[cell, kept[cell]]], problem.lines.q2[0, kept[cell]]
        sigma2 = q2 * (np.abs(q2 - rows @ x[cell]) + problem.lines.sigma_q2[0, kept[cell]])
        expected = np.linalg.lstsq(rows / np.sqrt(sigma2)[:, None], q2 / np.sqrt(sigma2), rcond=None)[0]
        np.testing.assert_allclose(ours[cell], expected, rtol=1e-7, atol=1e-9)


def test_lines_that_do_not_fix_the_cell_leave_it_as_it_is() -> None:
    problem = problem_of("oP")
    flat = replace(problem, design=problem.design[problem.design[:, 2] == 0])
    x = starts("oP", 6)
    index, _ = reference.assign(x, np.zeros(6, int), flat)
    _, solved = reference.refit(x, index, np.ones((6, 20), bool), np.zeros(6, int), flat, McmcOptions())
    assert not solved.any()
    for kernel in (NumpyKernel(), NumbaKernel(1)):
        np.testing.assert_array_equal(walk(kernel, x, flat, McmcOptions()).x, x)


def test_the_student_density_is_scipys() -> None:
    residual, sigma = np.array([[0.0, 1e-3, -2e-3]]), np.array([[1e-3, 1e-3, 4e-4]])
    for freedom in (1.0, 4.0, 30.0):
        ours = reference.log_density(residual, np.ones((1, 3)), sigma, replace(STUDENT, freedom=freedom))
        np.testing.assert_allclose(ours, stats.t.logpdf(residual, freedom, scale=sigma), rtol=1e-12)


def test_a_line_between_two_coinciding_reflections_counts_twice_when_summed() -> None:
    problem = problem_of("cP")
    twice = replace(problem, design=np.concatenate([problem.design, problem.design]))
    x, pattern, options = true_x("cP")[None], np.zeros(1, int), replace(STUDENT, summed=True, impurity_probability=0.0)
    nearest, _ = reference.assign(x, pattern, problem)
    once_score = reference.log_likelihood(x, nearest, pattern, problem, options)
    twice_score = reference.log_likelihood(x, nearest, pattern, twice, options)
    # Twice the density of each line, at half the prior probability of each reflection.
    np.testing.assert_allclose(twice_score, once_score)


def test_an_impurity_costs_a_bounded_amount() -> None:
    problem, x, pattern = problem_of("oP"), true_x("oP")[None], np.zeros(1, int)
    nearest, _ = reference.assign(x, pattern, problem)
    q2 = problem.lines.q2.copy()
    moved = [1e-2, 2e-2]
    scores = []
    for step in (0.0, *moved):
        q2[0, 3] = problem.lines.q2[0, 3] + step
        shifted = replace(problem, lines=replace(problem.lines, q2=q2.copy()))
        scores.append(reference.log_likelihood(x, nearest, pattern, shifted, replace(STUDENT, freedom=30.0))[0])
    floor = np.log(0.05) - np.log(problem.lines.q2[0, -1])
    assert scores[0] > scores[1]
    np.testing.assert_allclose(scores[1], scores[2], atol=1e-6)
    count = reference.predicted_count(x, pattern, problem)[0]
    fit = np.log(0.95 / count * stats.t.pdf(0, 30, scale=problem.lines.sigma_q2[0, 3]) + np.exp(floor))
    np.testing.assert_allclose(scores[0] - scores[1], fit - floor, rtol=1e-6)


@pytest.mark.parametrize(
    ("bounds", "inside"),
    [
        ({}, True),
        ({"max_length_ang": 9.0}, False),
        ({"min_length_ang": 5.7}, False),
        ({"max_volume_ang3": 400.0}, False),
        ({"min_volume_ang3": 405.0}, False),
        ({"min_volume_ang3": 404.0, "max_volume_ang3": 405.5, "max_length_ang": 10.0}, True),
    ],
)
def test_bounds_hold_for_lengths_and_volume(bounds: dict[str, float], inside: bool) -> None:
    problem = problem_of("oP")  # 5.6 x 7.3 x 9.9 = 404.7
    limited = replace(problem, bounds=Bounds(problem.bounds.terms, **bounds))
    assert reference.within_bounds(true_x("oP")[None], limited)[0] == inside
    for kernel in (NumpyKernel(), NumbaKernel(1)):
        state = walk(kernel, true_x("oP")[None], limited, McmcOptions(), n_steps=0)
        assert np.isfinite(state.log_likelihood[0]) == inside


def test_no_walk_leaves_the_bounds_and_one_that_starts_outside_may_enter() -> None:
    problem = problem_of("oP", lines_of("oP", noise_deg=0.01))
    limited = replace(problem, bounds=Bounds(problem.bounds.terms, max_volume_ang3=404.0, min_volume_ang3=300.0))
    x = starts("oP", 60, 0.05)
    found = refine(Candidates(x), limited, McmcOptions(n_steps=20), 0, NumbaKernel(1))
    volume = np.prod(found.x, axis=1) ** -0.5
    finite = np.isfinite(found.log_likelihood)
    assert np.all((volume[finite] <= 404.0) & (volume[finite] >= 300.0))
    outside = np.prod(x, axis=1) ** -0.5 > 404.0
    assert np.any(outside & finite)


def test_a_metric_that_is_not_positive_definite_is_no_cell() -> None:
    x = true_x("aP")[None] * np.array([1, 1, 1, 1, 1, 6.0])
    assert not reference.within_bounds(x, problem_of("aP"))[0]


def test_the_subsample_has_the_size_asked_for_and_spares_no_line() -> None:
    u = np.random.default_rng(0).random((4000, 20))
    kept = reference.subsample(u, np.full(4000, 18), np.full(4000, 12))
    assert np.all(kept.sum(axis=1) == 12)
    assert not kept[:, 18:].any()
    np.testing.assert_allclose(kept[:, :18].mean(axis=0), 12 / 18, atol=0.04)


def test_uniform_numbers_are_uniform_and_differ_by_seed_step_stream_and_draw() -> None:
    u = uniforms(3, 5, np.arange(500), np.arange(40))
    assert u.min() >= 0
    assert u.max() < 1
    assert stats.kstest(u.ravel(), "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(u[:, 0], u[:, 1])[0, 1]) < 0.2
    for other in (uniforms(4, 5, np.arange(500), np.arange(40)), uniforms(3, 6, np.arange(500), np.arange(40))):
        assert abs(np.corrcoef(u.ravel(), other.ravel())[0, 1]) < 0.03
    np.testing.assert_array_equal(u[7:9, 3:5], uniforms(3, 5, np.array([7, 8]), np.array([3, 4])))
