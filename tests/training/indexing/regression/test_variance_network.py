"""Variance networks: the loss is the density it claims, the turns move what they should, and nothing piles up."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from scipy.integrate import quad
from scipy.stats import invgamma, norm, t
from tensorflow.python.framework.func_graph import FuncGraph

from app.indexing.learned.regression import ALPHA, BETA, MEAN
from training.indexing.regression.variance_network import (
    Example,
    VarianceArgs,
    answers,
    beta_nll,
    build,
    engine_for,
    inverse_gamma_nll,
    stacked,
    student_nll,
    train,
)

SMALL = VarianceArgs((24,), (16,), learning_rate=3e-3, batch_size=64, epochs=6, cycles=3)


def noisy(count: int, seed: int = 0) -> Example:
    """y = (sin 2x, -x) with noise that grows from 0.05 to 0.5 with x."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1.5, 1.5, (count, 1))
    sigma = 0.05 + 0.15 * (x + 1.5)
    y = np.concatenate([np.sin(2 * x), -x], axis=1) + sigma * rng.standard_normal((count, 2))
    return Example(np.concatenate([x, x**2], axis=1).astype(np.float32), y)


@pytest.mark.parametrize(("alpha", "beta", "error"), [(1.5, 0.3, 0.2), (4.0, 2.0, -1.5), (30.0, 10.0, 0.0)])
def test_the_nll_is_the_normal_density_averaged_over_the_inverse_gamma_distribution(
    alpha: float, beta: float, error: float
) -> None:
    density, _ = quad(lambda v: norm.pdf(error, 0.0, np.sqrt(v)) * invgamma.pdf(v, alpha, scale=beta), 0.0, np.inf)
    tensors = [tf.constant([[value]], tf.float64) for value in (error, 0.0, alpha, beta)]
    assert float(inverse_gamma_nll(*tensors)[0, 0]) == pytest.approx(-np.log(density), rel=1e-6)
    arrays = [np.array([[value]]) for value in (error, 0.0, alpha, beta)]
    assert student_nll(*arrays)[0, 0] == pytest.approx(-np.log(density), rel=1e-6)


def test_the_beta_nll_pulls_in_the_same_direction_weighted_by_the_variance() -> None:
    target, alpha, beta = (tf.constant(values) for values in ([[1.0, -2.0]], [[3.0, 2.0]], [[2.0, 9.0]]))
    mean = tf.Variable([[0.0, 0.0]])
    gradients = []
    for loss in (inverse_gamma_nll, lambda *values: beta_nll(*values, 0.5)):
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(loss(target, mean, alpha, beta))
        gradients.append(tape.gradient(value, mean).numpy())
    np.testing.assert_allclose(gradients[1] / gradients[0], np.sqrt([[2.0 / 2.0, 9.0 / 1.0]]), rtol=1e-5)


def test_the_defaults_are_those_of_the_report() -> None:
    network = build(20, 4, VarianceArgs())
    units = [layer.units for layer in network.layers if type(layer).__name__ == "Dense"]
    assert sorted(units, reverse=True) == [200, 100, 100, 100, 60, 60, 60, 4, 4, 4]
    rows = np.random.default_rng(0).normal(size=(50, 20)) * 10
    said = answers(network, rows)
    assert np.all(said[ALPHA] > 1.0)
    assert np.all(said[BETA] > 0.0)


@pytest.fixture(scope="module")
def trained() -> Any:
    return train(lambda epoch: noisy(2000), noisy(500, 1), replace(SMALL, epochs=12, cycles=4))


def test_it_learns_the_mean_and_how_uncertain_it_is(trained: Any) -> None:
    rows = noisy(3000, 2)
    said = answers(trained.network, rows.inputs)
    below = t.cdf(rows.targets, 2 * said[ALPHA], said[MEAN], np.sqrt(said[BETA] / said[ALPHA]))
    assert np.mean(np.abs(below - 0.5) < 0.45) == pytest.approx(0.9, abs=0.06)
    sigma = np.sqrt(said[BETA] / (said[ALPHA] - 1))[:, 0]
    x = rows.inputs[:, 0]
    assert sigma[x > 1.0].mean() > 2 * sigma[x < -1.0].mean()
    assert np.sqrt(np.mean((said[MEAN][:, 0] - np.sin(2 * x)) ** 2)) < 0.12
    assert trained.history[-1]["held_out_nll"] < trained.history[0]["held_out_nll"]


def test_each_turn_moves_its_own_networks_alone() -> None:
    engine, rows = engine_for(2, 2, SMALL), noisy(128)
    batches = np.arange(128, dtype=np.int32).reshape(2, 64)
    for turn, moved in {"mean": {MEAN}, "variance": {"alpha_minus_one", BETA}}.items():
        names = (MEAN, "alpha_minus_one", BETA)
        before = {name: engine.network.get_layer(name).get_weights()[0] for name in names}
        engine.turns[turn](rows.inputs, rows.targets.astype(np.float32), batches)
        for name, weights in before.items():
            same = np.array_equal(weights, engine.network.get_layer(name).get_weights()[0])
            assert same == (name not in moved)


def test_nothing_is_compiled_anew_with_cycles_nor_with_the_next_network(trained: Any) -> None:
    def graphs() -> int:
        gc.collect()
        return sum(isinstance(one, FuncGraph) for one in gc.get_objects())

    counts = []
    for seed, cycles in ((1, 2), (2, 6), (3, 4)):
        args = replace(SMALL, seed=seed, cycles=cycles, epochs=2)
        # Each network of the ensemble has another number of rows.
        train(lambda epoch, seed=seed: noisy(200 + 90 * seed), noisy(50), args)
        counts.append(graphs())
    assert counts[0] == counts[1] == counts[2]
    turns = engine_for(2, 2, SMALL).turns.values()
    assert [turn.experimental_get_tracing_count() for turn in turns] == [1, 1]


def test_an_interrupted_run_goes_on_to_the_same_network(tmp_path: Path) -> None:
    args = replace(SMALL, epochs=1, cycles=3)
    whole = train(lambda epoch: noisy(200), noisy(50), args)
    calls = iter(range(5))

    def breaks_off(epoch: int) -> Example:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return noisy(200)

    with pytest.raises(KeyboardInterrupt):
        train(breaks_off, noisy(50), args, tmp_path)
    again = train(lambda epoch: noisy(200), noisy(50), args, tmp_path)
    assert [one.keys() for one in again.history] == [one.keys() for one in whole.history]
    for one, other in zip(again.network.get_weights(), whole.network.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_groups_as_one_network_answer_as_each_by_itself() -> None:
    networks = [build(5, 3, replace(SMALL, seed=seed)) for seed in (0, 1)]
    rows = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    for count in (1, 2):
        said = stacked(networks[:count])(rows)
        for name in (MEAN, ALPHA, BETA):
            expected = np.stack([answers(network, rows)[name] for network in networks[:count]], axis=1)
            np.testing.assert_allclose(said[name], expected, rtol=1e-5)
