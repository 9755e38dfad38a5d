"""The likelihood over all assignments and its descent."""

from __future__ import annotations

import numpy as np
import pytest

from app.indexing.learned.index_descent import DescentOptions, Kind, Stage, descend, objective
from tests.indexing.learned.index_cases import network, random_network, sure_network
from tests.indexing.walk.mcmc_cases import lines_of, starts, true_x

KINDS: tuple[Kind, ...] = ("expected", "marginal")
N_LINES = 14


def true_indices(q2: np.ndarray) -> np.ndarray:
    one = network(None)
    return np.abs(q2[:, None] - one.design @ true_x("oP")).argmin(axis=1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_that_of_finite_differences(kind: Kind) -> None:
    plain, lines = random_network(), lines_of("oP")
    x = starts("oP", 3, 0.05)
    q2, sigma = (np.tile(row[:, :N_LINES], (3, 1)) for row in (lines.q2, 20 * lines.sigma_q2))
    one = network(plain)
    gradient = objective(one, plain, "oP", x, q2, sigma, kind).gradient
    for param in range(3):
        step = np.zeros(3)
        step[param] = 1e-4 * x[0, param]
        up, down = (objective(one, plain, "oP", x + s * step, q2, sigma, kind).value for s in (1, -1))
        np.testing.assert_allclose(gradient[:, param], (up - down) / (2 * step[param]), rtol=0.05, atol=60)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sure_network_leads_to_the_true_cell(kind: Kind) -> None:
    lines = lines_of("oP", N_LINES)
    plain = sure_network(true_indices(lines.q2[0]))
    options = DescentOptions(kind, (Stage(0.05, 20), Stage(0.0, 40)))
    x = descend(network(plain), plain, "oP", starts("oP", 8, 0.08), lines.q2[0], lines.sigma_q2[0], options)
    np.testing.assert_allclose(x, np.tile(true_x("oP"), (8, 1)), rtol=3e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_no_descent_makes_a_cell_worse(kind: Kind) -> None:
    plain, lines, x = random_network(3), lines_of("oP", N_LINES), starts("oP", 6, 0.1)
    one, tiled = network(plain), [np.tile(row, (6, 1)) for row in (lines.q2, lines.sigma_q2)]
    found = descend(one, plain, "oP", x, lines.q2[0], lines.sigma_q2[0], DescentOptions(kind, (Stage(0.0, 5),)))
    before, after = (objective(one, plain, "oP", cells, *tiled, kind).value for cells in (x, found))
    assert np.all(after <= before + 1e-3)
    assert np.any(after < before - 0.1)


def test_the_marginal_likelihood_is_never_below_the_expected_one() -> None:
    """Jensen: -log E[f] <= E[-log f]."""
    plain, lines, x = random_network(5), lines_of("oP", N_LINES), starts("oP", 6, 0.1)
    tiled = [np.tile(row, (6, 1)) for row in (lines.q2, lines.sigma_q2)]
    marginal, expected = (objective(network(plain), plain, "oP", x, *tiled, kind).value for kind in KINDS[::-1])
    assert np.all(marginal <= expected)
