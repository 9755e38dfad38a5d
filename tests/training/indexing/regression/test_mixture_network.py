"""Mixtures of normal distributions: the loss is their density, draws are theirs, and both sides of a doubt are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import multivariate_normal

from app.crystallography.lattice import LATTICES
from app.indexing.learned.regression import CENTRE, FACTOR, LOG_WEIGHT, factors, mixture_draws
from training.indexing.regression.evaluate import evaluate, predictors_of
from training.indexing.regression.mixture_network import MixtureArgs, mixture_nll, train
from training.indexing.regression.rows import synthetic_rows
from training.indexing.regression.train import RegressionArgs, example, read_run, save, train_lattice
from training.indexing.regression.variance_network import Example

RNG = np.random.default_rng(0)
COMPONENTS, PARAMS = 3, 2
SAID = {
    LOG_WEIGHT: RNG.normal(size=(1, 1, COMPONENTS)),
    CENTRE: 3 * RNG.normal(size=(1, 1, COMPONENTS * PARAMS)),
    FACTOR: 0.5 * RNG.normal(size=(1, 1, COMPONENTS * 3)),
}


def parts() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, centres and covariances."""
    weight = np.exp(SAID[LOG_WEIGHT][0, 0])
    factor = factors(SAID[FACTOR][0, 0].reshape(COMPONENTS, -1), PARAMS)
    covariance = np.linalg.inv(factor @ np.swapaxes(factor, 1, 2))
    return weight / weight.sum(), SAID[CENTRE][0, 0].reshape(COMPONENTS, PARAMS), covariance


def test_the_nll_is_that_of_the_mixture() -> None:
    target = RNG.normal(size=(5, PARAMS))
    density = sum(w * multivariate_normal.pdf(target, c, v) for w, c, v in zip(*parts(), strict=True))
    flat = [tf.constant(np.repeat(SAID[name][0], 5, axis=0), tf.float32) for name in (LOG_WEIGHT, CENTRE, FACTOR)]
    found = mixture_nll(tf.constant(target, tf.float32), *flat)
    np.testing.assert_allclose(found, -np.log(density), rtol=1e-4)


def test_draws_have_the_moments_of_the_mixture() -> None:
    weight, centre, covariance = parts()
    mean = weight @ centre
    spread = np.einsum("k,kij->ij", weight, covariance)
    spread += np.einsum("k,ki,kj->ij", weight, centre - mean, centre - mean)
    drawn = mixture_draws(SAID, PARAMS, 60_000, np.random.default_rng(1))
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=0.05)
    np.testing.assert_allclose(np.cov(drawn.T), spread, rtol=0.05, atol=0.05)


def test_it_keeps_both_answers_and_what_hangs_together() -> None:
    def two_answers(epoch: int) -> Example:
        rng = np.random.default_rng(epoch)
        sign = rng.choice([-1.0, 1.0], (1000, 1))
        noise = 0.1 * rng.standard_normal((1000, 2))
        return Example(rng.normal(size=(1000, 2)).astype(np.float32), np.repeat(sign, 2, axis=1) + noise)

    args = MixtureArgs(units=(16,), components=4, learning_rate=2e-2, epochs=12)
    found = train(two_answers, two_answers(99), args)
    least = np.log(2) + np.log(2 * np.pi * np.e * 0.01)
    # Two normal distributions by themselves come to 2.8.
    assert least - 0.05 < found.history[-1]["held_out_nll"] < least + 0.5


def test_it_is_trained_scored_and_drawn_from_like_the_variance_networks(tmp_path: Path) -> None:
    rows = synthetic_rows("tP", 300, seed=0)
    mixture = MixtureArgs(units=(16,), components=3, learning_rate=1e-2, epochs=6)
    args = replace(RegressionArgs(density="mixture"), mixture=mixture)
    save(train_lattice(rows, args), tmp_path)
    run, held = read_run(tmp_path), rows.where(rows.validation)
    found = evaluate(run, rows, walks=3)["synthetic, clean"]["network"]
    assert found.nll < 5.0
    predictor: Any = predictors_of(run, rows, held)["network"]
    seen = example(held, run.scaling)
    drawn = predictor.draws(seen.inputs, 4000, np.random.default_rng(0))
    below = (drawn[:5] < seen.targets[:5, None]).mean(axis=1)
    np.testing.assert_allclose(predictor.forecast(seen.inputs, seen.targets).below[:5], below, atol=0.04)
    assert drawn.shape == (len(held), 4000, LATTICES["tP"].n_params)


@pytest.mark.parametrize("size", [1, 4])
def test_factors_are_lower_triangles_with_positive_diagonals(size: int) -> None:
    factor = factors(RNG.normal(size=(7, size * (size + 1) // 2)) * 20, size)
    assert np.all(np.diagonal(factor, axis1=1, axis2=2) > 0)
    assert not np.triu(factor, 1).any()
