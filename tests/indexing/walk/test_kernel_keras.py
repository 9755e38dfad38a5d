"""The accelerator's kernel against the NumPy reference, on the CPU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from app.indexing.problem import Candidates
from app.indexing.walk import kernel_numpy as reference
from app.indexing.walk.kernel_numpy import NumpyKernel
from app.indexing.walk.mcmc import McmcOptions, refine
from tests.indexing.walk.mcmc_cases import lines_of, problem_of, starts, true_x
from tests.indexing.walk.test_mcmc_kernels import STUDENT, start_of, walk

kernel_keras = pytest.importorskip("app.indexing.walk.kernel_keras")

PROBLEM = problem_of("oP", lines_of("oP", 12, noise_deg=0.02, seed=5), n_ref=80)
RICHEST = replace(STUDENT, summed=True, freedom=4.0, fit_zero_shift=True)
PLAIN = McmcOptions()


@pytest.mark.parametrize(
    ("dtype", "options", "rtol"), [("float64", RICHEST, 1e-9), ("float32", PLAIN, 1e-4)], ids=["float64", "float32"]
)
def test_keras_walks_as_the_reference_does(dtype: str, options: McmcOptions, rtol: float) -> None:
    x = start_of("oP", options, 40, spread=0.03)
    ours = walk(kernel_keras.KerasKernel(dtype), x, PROBLEM, options)
    plain = walk(NumpyKernel(), x, PROBLEM, options)
    assert ours.x.shape == plain.x.shape
    assert ours.x.dtype == dtype
    # A number that decides may fall on the other side of its threshold by rounding, and the chain goes another way.
    same = np.all(ours.nearest == plain.nearest, axis=1) & np.all(ours.second == plain.second, axis=1)
    assert same.mean() >= 0.9
    np.testing.assert_allclose(ours.x[same], plain.x[same], rtol=rtol, atol=rtol * 1e-2)
    np.testing.assert_allclose(ours.log_likelihood[same], plain.log_likelihood[same], rtol=rtol)
    np.testing.assert_allclose(ours.best_log_likelihood[same], plain.best_log_likelihood[same], rtol=rtol)


def test_more_cells_than_a_chunk_holds_are_walked_in_chunks() -> None:
    # The shapes of the test before: nothing is compiled twice.
    x = starts("oP", 300, 0.03)
    chunked = walk(kernel_keras.KerasKernel("float32", most_cells=256), x, PROBLEM, PLAIN)
    alone = walk(kernel_keras.KerasKernel("float32", most_cells=256), x[:40], PROBLEM, PLAIN)
    np.testing.assert_array_equal(chunked.x[:40], alone.x)
    assert chunked.x.shape == (300, 3)


def test_single_precision_finds_the_cell() -> None:
    exact = replace(PROBLEM, lines=lines_of("oP", 12))
    found = refine(Candidates(starts("oP", 40)), exact, PLAIN, 0, kernel_keras.KerasKernel("float32"))
    best = found.x[np.argmax(found.log_likelihood)]
    np.testing.assert_allclose(best, true_x("oP"), rtol=1e-4)


@pytest.mark.parametrize("options", [McmcOptions(), replace(STUDENT, freedom=4.0)])
def test_the_densities_are_those_of_the_reference(options: McmcOptions) -> None:
    residual, q2 = np.linspace(-0.02, 0.02, 9)[None], np.linspace(0.05, 0.4, 9)[None]
    sigma = 1e-3 * q2
    ours = kernel_keras._log_density(*map(kernel_keras.ops.convert_to_tensor, (residual, q2, sigma)), options)
    np.testing.assert_allclose(np.asarray(ours), reference.log_density(residual, q2, sigma, options), rtol=1e-6)
