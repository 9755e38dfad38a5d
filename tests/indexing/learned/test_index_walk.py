"""The walk with indices and lines drawn by a network."""

from __future__ import annotations

import numpy as np
import pytest

from app.errors import InvalidInput
from app.indexing.learned.index_walk import NetworkKernel, NetworkSteps, drawn, likely_lines, with_design
from app.indexing.problem import Candidates
from app.indexing.walk.kernel_numpy import NumpyKernel
from app.indexing.walk.mcmc import McmcOptions, refine
from tests.indexing.learned.index_cases import nearest_run, network, networks, random_network, sure_network
from tests.indexing.walk.mcmc_cases import lines_of, problem_of, starts, true_x

ONE = network(nearest_run)
PROBLEM = with_design(problem_of("oP"), ONE, "oP")


def kernel(run: object, *levels: str, **changes: bool) -> NetworkKernel:
    given = networks(*(network(run, level=level) for level in levels))
    return NetworkKernel(NumpyKernel(), "oP", given, NetworkSteps(levels, **changes))


def test_indices_are_drawn_by_their_probability() -> None:
    probability = np.tile(np.array([0.1, 0.0, 0.6, 0.2], np.float32), (1, 4000, 1))
    found = drawn(probability, np.random.default_rng(0).random((1, 4000)))
    share = np.bincount(found[0], minlength=4) / 4000
    np.testing.assert_allclose(share, np.array([0.1, 0.0, 0.6, 0.2]) / 0.9, atol=0.03)


def test_probable_lines_are_kept_more_often_and_impossible_ones_never() -> None:
    chance = np.tile([0.9, 0.9, 0.1, 0.1, 0.0], (4000, 1))
    kept = likely_lines(chance, np.random.default_rng(0).random((4000, 5)), np.full(4000, 2))
    assert np.all(kept.sum(axis=1) == 2)
    share = kept.mean(axis=0)
    assert share[4] == 0
    assert share[:2].min() > 4 * share[2:4].max()


def test_the_first_drawn_line_follows_the_weights() -> None:
    """One of two lines, weights 3 : 1 (Efraimidis and Spirakis)."""
    kept = likely_lines(np.tile([0.6, 0.2], (4000, 1)), np.random.default_rng(1).random((4000, 2)), np.ones(4000, int))
    assert kept[:, 0].mean() == pytest.approx(0.75, abs=0.03)


def test_a_network_that_knows_reaches_the_true_cell_in_few_steps() -> None:
    truth = np.abs(lines_of("oP").q2[0][:, None] - ONE.design @ true_x("oP")).argmin(axis=1)
    options = McmcOptions(n_steps=3, n_polish=0)
    x = starts("oP", 12, 0.15)
    found = refine(Candidates(x), PROBLEM, options, 0, kernel(sure_network(truth), "0.10", "0.05", "0.01"))
    np.testing.assert_allclose(found.x, np.tile(true_x("oP"), (12, 1)), rtol=1e-6)
    plain = refine(Candidates(x), PROBLEM, options, 0, NumpyKernel())
    assert np.mean(np.abs(plain.x / true_x("oP") - 1).max(axis=1) < 1e-3) < 0.5


def test_without_levels_it_is_the_walk_that_it_wraps() -> None:
    options, x = McmcOptions(n_steps=4), starts("oP", 5, 0.05)
    ours, theirs = (refine(Candidates(x), PROBLEM, options, 3, one) for one in (kernel(nearest_run), NumpyKernel()))
    np.testing.assert_array_equal(ours.x, theirs.x)


def test_a_batch_is_walked_as_its_members_are() -> None:
    one, x = kernel(random_network(), "0.05", "0.01"), starts("oP", 5, 0.03)
    where, options = np.zeros(5, int), McmcOptions(n_steps=3)
    together = one.advance(one.start(x, np.arange(5), where, PROBLEM, options), PROBLEM, options, 9, range(3))
    for cell in range(5):
        alone = one.start(x[cell : cell + 1], np.array([cell]), where[:1], PROBLEM, options)
        alone = one.advance(alone, PROBLEM, options, 9, range(3))
        np.testing.assert_allclose(alone.x[0], together.x[cell], rtol=1e-9)


def test_best_is_never_below_what_was_seen_and_foreign_lines_may_be_left_out() -> None:
    one, x, options = kernel(random_network(), "0.05", "0.05"), starts("oP", 8, 0.05), McmcOptions(n_steps=2)
    first = one.start(x, np.arange(8), np.zeros(8, int), PROBLEM, options)
    last = one.advance(first, PROBLEM, options, 0, range(2))
    assert np.all(last.best_log_likelihood >= first.log_likelihood)
    assert np.all(last.best_log_likelihood >= last.log_likelihood)


def test_a_walk_shorter_than_the_networks_part_is_refused() -> None:
    with pytest.raises(InvalidInput, match="2 steps"):
        refine(Candidates(starts("oP", 2)), PROBLEM, McmcOptions(n_steps=2), 0, kernel(nearest_run, "a", "b", "c"))
