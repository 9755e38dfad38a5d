"""The posterior's summaries against the laws that they summarize."""

from __future__ import annotations

import numpy as np
import pytest

from app.waveform.models import cell_edges_us, posterior_from_probability
from app.waveform.posterior import Posterior

EDGES = np.linspace(0.0, 8.0, 161)
CENTRES = (EDGES[1:] + EDGES[:-1]) / 2.0


def gaussian(mean: float, sigma: float, p_two: float = 0.7) -> Posterior:
    density = np.exp(-0.5 * ((CENTRES - mean) / sigma) ** 2)
    return Posterior(np.array([p_two]), EDGES, (density / density.sum())[None])


def test_mean_sigma_and_quantiles_of_a_gaussian() -> None:
    found = gaussian(4.0, 0.5)
    assert found.mean_us[0] == pytest.approx(4.0)
    assert found.sigma_us[0] == pytest.approx(0.5, rel=1e-3)
    for level, z in ((0.16, -0.99446), (0.5, 0.0), (0.975, 1.95996)):
        assert found.quantile_us(level)[0] == pytest.approx(4.0 + 0.5 * z, abs=0.01)


def test_a_posterior_in_one_cell_is_as_wide_as_the_cell() -> None:
    density = np.zeros((1, 160))
    density[0, 20] = 1.0
    found = Posterior(np.ones(1), EDGES, density)
    assert found.mean_us[0] == pytest.approx(1.025)
    assert found.sigma_us[0] == pytest.approx(0.05 / np.sqrt(12.0))
    assert found.quantile_us(0.0)[0] >= 0.0
    assert found.quantile_us(0.999)[0] == pytest.approx(1.05, abs=1e-4)


@pytest.mark.parametrize("prior", [0.01, 0.5, 0.9])
def test_another_prior_is_bayes(prior: float) -> None:
    found = gaussian(4.0, 0.5, p_two=0.8).with_prior(prior)
    expected = 0.8 * prior / (0.8 * prior + 0.2 * (1.0 - prior))
    assert found.p_two[0] == pytest.approx(expected)


def test_even_odds_change_nothing() -> None:
    assert gaussian(4.0, 0.5, 0.3).with_prior(0.5).p_two[0] == pytest.approx(0.3)


def test_a_certain_single_scatter_still_has_a_density() -> None:
    probability = np.zeros((2, 161))
    probability[:, 0] = 1.0
    probability[1, 0], probability[1, 5] = 0.25, 0.75
    found = posterior_from_probability(probability, EDGES)
    assert found.p_two.tolist() == [0.0, 0.75]
    np.testing.assert_allclose(found.density.sum(axis=1), 1.0)
    assert np.isfinite(found.mean_us).all()
    assert found.density[1, 4] == pytest.approx(1.0)


def test_cells_hold_whole_samples_around_their_middle() -> None:
    edges = cell_edges_us(8.0, 160)
    assert (edges[0], len(edges)) == (0.0, 161)
    # The samples 5 to 9 lie in the second cell, and their mean is its middle.
    assert edges[1:3] == pytest.approx([0.045, 0.095])
    assert edges[1:3].mean() == pytest.approx(np.arange(5, 10).mean() / 100.0)
