"""Batches of cells, grown and weighed."""

from __future__ import annotations

import numpy as np
import pytest

from app.crystallography import metric
from app.crystallography.lattice import LATTICES
from app.indexing.search.cells import Limits
from app.indexing.search.hypotheses import Hypotheses, grown_and_weighed
from app.indexing.search.observed import observed_from
from tests.indexing.synthetic import LIMITS, pattern, terms_of

OBSERVED = observed_from(pattern("oP"), max_peaks=40)


def _starts(n: int = 60, spread: float = 0.02) -> np.ndarray:
    rng = np.random.default_rng(2)
    return terms_of("oP") * (1 + spread * rng.uniform(-1, 1, (n, 3)))


def _grown(x: np.ndarray, limits: Limits = LIMITS, **options: float) -> Hypotheses:
    return grown_and_weighed("oP", x, OBSERVED, limits, generator="test", **options)


def test_they_are_distinct_and_the_best_comes_first() -> None:
    found = _grown(_starts())
    assert len(found) > 1
    assert (np.diff(found.log_odds) < 0).all()
    np.testing.assert_allclose(found.x[0], terms_of("oP"), rtol=2e-3)
    assert found.n_indexed[0] == 20
    assert (found.bravais, found.generator) == ("oP", "test")


def test_as_many_are_kept_as_are_wanted() -> None:
    every, few = _grown(_starts(), keep=1000), _grown(_starts(), keep=2)
    assert len(few) == 2
    np.testing.assert_array_equal(few.log_odds, every.log_odds[:2])


@pytest.mark.parametrize("bravais", LATTICES)
def test_nothing_comes_of_nothing(bravais: str) -> None:
    found = grown_and_weighed(bravais, np.empty((0, LATTICES[bravais].n_params)), OBSERVED, LIMITS, generator="test")
    assert len(found) == 0
    assert found.x.shape == (0, LATTICES[bravais].n_params)


def test_what_is_no_number_is_left_out() -> None:
    x = _starts(4)
    x[1] = np.nan
    x[2, 0] = np.inf
    found = _grown(x)
    assert np.isfinite(found.x).all()
    assert np.isfinite(found.log_odds).all()


def test_the_grown_cells_keep_the_bounds() -> None:
    bounds = Limits(6.1, 10.75, 8.0, 525.0)
    constants = metric.constants_from_x(LATTICES["oP"], _grown(_starts(), bounds, keep=1000).x)
    assert len(constants) > 0
    assert constants[:, :3].min() >= 6.1
    assert constants[:, :3].max() <= 10.75
    assert constants[:, :3].prod(axis=1).max() <= 525.0


def test_a_known_zero_shift_helps() -> None:
    observed = observed_from(pattern("oP", zero_deg=0.12), max_peaks=40)
    x = terms_of("oP")[None]
    found = grown_and_weighed("oP", x, observed, LIMITS, generator="test", zero_start_deg=0.12, zero_sigma_deg=0.06)
    assert found.n_indexed.tolist() == [20]
    assert found.zero_shift_deg[0] == pytest.approx(0.12, abs=0.03)


@pytest.mark.parametrize("count", [41, 100])
def test_all_of_many_lines_are_refined(count: int) -> None:
    observed = observed_from(pattern("oP", count=count, noise_deg=0.003), max_peaks=count)
    found = grown_and_weighed("oP", terms_of("oP")[None], observed, LIMITS, generator="test")
    assert found.n_indexed.tolist() == [count]
    np.testing.assert_allclose(found.x[0], terms_of("oP"), rtol=5e-4)
