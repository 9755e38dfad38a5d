"""The refinement loop: what it recovers, what it promises, what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from app.errors import InvalidInput
from app.indexing.problem import Candidates
from app.indexing.walk.kernel_numba import NumbaKernel
from app.indexing.walk.mcmc import Lines, McmcOptions, RefineRequest, merge, refine
from tests.indexing.walk.mcmc_cases import CELLS, lines_of, problem_of, slope, starts, true_x

KERNEL = NumbaKernel(1)
OPTIONS = McmcOptions(n_steps=40)


def best(candidates: Candidates) -> np.ndarray:
    return candidates.x[np.argmax(candidates.log_likelihood)]


@pytest.mark.parametrize("symbol", CELLS)
def test_exact_lines_give_the_exact_cell_from_a_perturbed_start(symbol: str) -> None:
    found = refine(Candidates(starts(symbol, 32)), problem_of(symbol), OPTIONS, 0, KERNEL)
    np.testing.assert_allclose(best(found), true_x(symbol), rtol=1e-7)


@pytest.mark.parametrize("symbol", ["oP", "aP"])
def test_the_zero_shift_is_found_with_the_cell(symbol: str) -> None:
    problem = problem_of(symbol, lines_of(symbol, shift_deg=0.05))
    start = np.pad(starts(symbol, 64, spread=0.005), ((0, 0), (0, 1)))
    found = best(refine(Candidates(start), problem, replace(OPTIONS, fit_zero_shift=True), 0, KERNEL))
    # The lines stand where q^2 is linear in the shift up to its square.
    np.testing.assert_allclose(found[-1], 0.05, rtol=0.02)
    np.testing.assert_allclose(found[:-1], true_x(symbol), rtol=1e-4)


@pytest.mark.parametrize("n_impurities", [2, 5])
def test_impurity_lines_do_not_move_the_cell(n_impurities: int) -> None:
    lines = lines_of("oP", noise_deg=0.005)
    foreign = np.random.default_rng(3).uniform(lines.q2[0, 0], lines.q2[0, -1], n_impurities)
    q2 = np.sort(np.concatenate([lines.q2[0], foreign]))[None]
    mixed = Lines(q2, 0.01 * slope(q2), slope(q2), np.array([q2.shape[1]]))
    found = refine(Candidates(starts("oP", 64)), problem_of("oP", mixed), OPTIONS, 0, KERNEL)
    np.testing.assert_allclose(best(found), true_x("oP"), rtol=3e-3)


def test_the_best_likelihood_never_falls() -> None:
    problem = problem_of("mC", lines_of("mC", noise_deg=0.01))
    state = KERNEL.start(starts("mC", 50, 0.05), np.arange(50), np.zeros(50, int), problem, OPTIONS)
    for first in range(0, 40, 5):
        later = KERNEL.advance(state, problem, OPTIONS, 0, range(first, first + 5))
        assert np.all(later.best_log_likelihood >= state.best_log_likelihood)
        assert np.all(later.best_log_likelihood >= later.log_likelihood)
        state = later


def test_equal_seeds_give_equal_answers_on_any_number_of_threads_and_others_do_not() -> None:
    problem, start = problem_of("aP", lines_of("aP", noise_deg=0.01)), Candidates(starts("aP", 300, 0.05))
    short = replace(OPTIONS, n_steps=5)
    one, four = (refine(start, problem, short, 7, NumbaKernel(n)) for n in (1, 4))
    np.testing.assert_array_equal(one.x, four.x)
    other = refine(start, problem, short, 8, KERNEL)
    assert np.any(one.x != other.x)


def test_a_batch_equals_its_members() -> None:
    problem, x = problem_of("oP", lines_of("oP", noise_deg=0.01)), starts("oP", 9, 0.05)
    together = refine(Candidates(x), problem, OPTIONS, 0, KERNEL)
    for cell in range(9):
        request = RefineRequest(stream=np.array([cell]))
        alone = refine(Candidates(x[cell : cell + 1]), problem, OPTIONS, 0, KERNEL, request)
        np.testing.assert_array_equal(alone.x[0], together.x[cell])
        np.testing.assert_array_equal(alone.assignment[0], together.assignment[cell])


def test_patterns_in_one_batch_do_not_feel_each_other_nor_their_padding() -> None:
    short, long = lines_of("oP", 12), lines_of("oP", 20, noise_deg=0.02)
    pad = ((0, 0), (0, 8))
    q2, sigma, slopes = (
        np.concatenate([np.pad(getattr(short, name), pad, "edge"), getattr(long, name)])
        for name in ("q2", "sigma_q2", "shift_slope")
    )
    both = Lines(q2, sigma, slopes, np.array([12, 20]))
    x = starts("oP", 6, 0.03)
    request = RefineRequest(pattern=np.array([0, 0, 0, 1, 1, 1]))
    together = refine(Candidates(x), problem_of("oP", both), OPTIONS, 0, KERNEL, request)
    for rows, lines in ((slice(0, 3), short), (slice(3, 6), long)):
        request = RefineRequest(stream=np.arange(6)[rows])
        alone = refine(Candidates(x[rows]), problem_of("oP", lines), OPTIONS, 0, KERNEL, request)
        np.testing.assert_array_equal(alone.x, together.x[rows])
    assert np.all(together.assignment[:3, 12:] == -1)


def test_merging_keeps_the_best_of_equal_assignments() -> None:
    candidates = Candidates(
        x=np.array([[1.0], [2.0], [3.0], [4.0]]),
        assignment=np.array([[0, 1], [2, 3], [0, 1], [2, 4]]),
        log_likelihood=np.array([1.0, 5.0, 2.0, 3.0]),
    )
    merged = merge(candidates)
    np.testing.assert_array_equal(merged.x[:, 0], [2.0, 4.0, 3.0])
    np.testing.assert_array_equal(merged.log_likelihood, [5.0, 3.0, 2.0])
    assert merge(candidates, pattern=np.array([0, 0, 1, 1])).x.shape[0] == 4


def test_chains_that_reached_the_same_cell_merge_into_one() -> None:
    found = refine(Candidates(starts("tI", 32, 0.005)), problem_of("tI"), OPTIONS, 0, KERNEL)
    merged = merge(found)
    assert merged.x.shape[0] < 32
    np.testing.assert_allclose(merged.x[0], true_x("tI"), rtol=1e-7)


def test_a_stop_ends_the_walk_with_the_best_so_far() -> None:
    x = starts("oP", 4)
    request = RefineRequest(should_stop=lambda: True)
    stopped = refine(Candidates(x), problem_of("oP"), replace(OPTIONS, n_polish=0), 0, KERNEL, request)
    np.testing.assert_array_equal(stopped.x, x)


@pytest.mark.parametrize(
    ("x", "message"),
    [(np.ones((1, 4)), "4 parameters"), (np.full((1, 3), np.nan), "not a finite"), (np.ones((1, 2)), "take 3")],
)
def test_candidates_that_fit_no_design_are_refused(x: np.ndarray, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        refine(Candidates(x), problem_of("oP"), OPTIONS, 0, KERNEL)


def test_fewer_lines_than_a_lattice_needs_are_refused() -> None:
    with pytest.raises(InvalidInput, match="at least 7"):
        refine(Candidates(starts("aP", 1)), problem_of("aP", lines_of("aP", 6)), OPTIONS, 0, KERNEL)
