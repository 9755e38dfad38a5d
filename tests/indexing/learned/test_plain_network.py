"""The plain form of a network against naive formulas."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from app.errors import ModelRefused
from app.indexing.learned.indices import INPUT, OUTPUT
from app.indexing.learned.plain_network import NORM_EPSILON, plain_network
from tests.indexing.learned.index_cases import N_PEAKS, N_REF, random_network


def test_each_line_goes_through_the_shared_layers_and_its_own_head() -> None:
    network = random_network()
    given = np.random.default_rng(1).random((3, N_PEAKS, N_REF)).astype(np.float32)
    found = network({INPUT: given})[OUTPUT]
    for cell, peak in [(0, 0), (1, 7), (2, N_PEAKS - 1)]:
        row = given[cell, peak].astype(float)
        for layer in network.hidden:
            row = row @ layer.kernel + layer.bias
            row = (row - row.mean()) / np.sqrt(row.var() + NORM_EPSILON) * layer.gamma + layer.beta
            row = row * norm.cdf(row)
        expected = row @ network.heads[peak] + network.head_bias[peak]
        np.testing.assert_allclose(found[cell, peak], expected, rtol=2e-4, atol=2e-5)


def test_the_traced_answer_is_the_answer() -> None:
    network = random_network()
    given = np.random.default_rng(1).random((2, N_PEAKS, N_REF)).astype(np.float32)
    np.testing.assert_allclose(network.traced(given)[0], network({INPUT: given})[OUTPUT], rtol=1e-5)


def test_the_gradient_is_that_of_finite_differences() -> None:
    network, rng = random_network(dtype=np.float64), np.random.default_rng(2)
    given, weight = rng.random((2, N_PEAKS, N_REF)), rng.standard_normal((2, N_PEAKS, N_REF + 1))
    _, traces = network.traced(given)
    gradient = network.pulled_back(weight, traces)
    for place in [(0, 0, 0), (0, 3, 50), (1, 19, 17)]:
        values = []
        for sign in (-1, 1):
            moved = given.copy()
            moved[place] += sign * 1e-4
            values.append((network.traced(moved)[0] * weight).sum())
        np.testing.assert_allclose(gradient[place], (values[1] - values[0]) / 2e-4, rtol=1e-4, atol=1e-6)


def test_the_first_lines_of_a_network_are_a_network() -> None:
    network = random_network()
    given = np.random.default_rng(1).random((2, 8, N_REF)).astype(np.float32)
    padded = np.pad(given, ((0, 0), (0, N_PEAKS - 8), (0, 0)))
    np.testing.assert_allclose(
        network.first(8)({INPUT: given})[OUTPUT], network({INPUT: padded})[OUTPUT][:, :8], rtol=1e-5
    )


def test_named_arrays_give_the_network_back_and_unfit_ones_are_refused() -> None:
    network = random_network()
    arrays = network.arrays()
    given = {INPUT: np.random.default_rng(1).random((1, N_PEAKS, N_REF)).astype(np.float32)}
    np.testing.assert_array_equal(plain_network(arrays)(given)[OUTPUT], network(given)[OUTPUT])
    with pytest.raises(ModelRefused, match="heads"):
        plain_network({name: array for name, array in arrays.items() if name != "heads"})
    with pytest.raises(ModelRefused, match="fit"):
        plain_network(arrays | {"heads": arrays["heads"][:, 1:]})
