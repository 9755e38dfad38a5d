"""Growth takes a rough cell of few lines to the refined cell of all."""

from __future__ import annotations

import numpy as np
import pytest
from jaxtyping import Float

from app.crystallography.lattice import LATTICES
from app.indexing.search.cells import Limits
from app.indexing.search.growth import grow
from app.indexing.search.observed import Observed, observed_from
from app.indexing.search.row import row_of
from tests.indexing.synthetic import LIMITS, pattern, terms_of

SIGMA_DEG = 0.02
WINDOW = 3.5


def _grown(
    bravais: str,
    x: Float[np.ndarray, "cell param"],
    observed: Observed,
    *,
    limits: Limits = LIMITS,
    zero_sigma: float = 0.03,
) -> tuple[Float[np.ndarray, "cell param"], Float[np.ndarray, "cell"], np.ndarray]:
    n = len(observed.q2)
    stages = np.array([min(stage, n) for stage in (10, 14, 20, n, n)])
    grown, zero, indexed = np.full_like(x, np.nan), np.zeros(len(x)), np.full(len(x), -1)
    sigma = SIGMA_DEG * observed.per_degree
    grow(
        x, observed.q2, observed.slope, sigma, stages, WINDOW, zero_sigma, *row_of(bravais), limits,
        grown, zero, indexed,
    )  # fmt: skip
    return grown, zero, indexed


def _starts(bravais: str, spread: float, n: int = 8) -> Float[np.ndarray, "cell param"]:
    """Cells whose metric terms are off by so much."""
    rng = np.random.default_rng(3)
    x = terms_of(bravais)
    return x * (1 + spread * rng.uniform(-1, 1, (n, len(x))))


def _relative_error(bravais: str, x: Float[np.ndarray, "cell param"]) -> np.ndarray:
    true = terms_of(bravais)
    return np.abs(x - true).max(axis=1) / np.abs(true).max()


@pytest.mark.parametrize("bravais", LATTICES)
def test_exact_lines_give_the_exact_cell(bravais: str) -> None:
    observed = observed_from(pattern(bravais, noise_deg=0.0), max_peaks=40)
    grown, zero, indexed = _grown(bravais, _starts(bravais, 0.002), observed)
    arrived = indexed == 20
    assert arrived.mean() >= 0.8
    # A term on which few lines depend keeps a little of its start.
    assert (_relative_error(bravais, grown)[arrived] < 2e-5).all()
    assert (np.abs(zero[arrived]) < 2e-3).all()


@pytest.mark.parametrize("bravais", ["cF", "hR", "tP", "oI"])
def test_a_start_one_percent_off_is_near_enough_for_large_spacings(bravais: str) -> None:
    # At a short wavelength, one percent of a cell is a small angle.
    observed = observed_from(pattern(bravais, noise_deg=0.0, wavelength_ang=0.2), max_peaks=40)
    grown, _, indexed = _grown(bravais, _starts(bravais, 0.01), observed)
    assert (indexed == 20).mean() >= 0.8
    assert np.median(_relative_error(bravais, grown)) < 1e-4


@pytest.mark.parametrize("bravais", ["cP", "hP", "tI", "oP", "mP"])
def test_a_zero_shift_is_found(bravais: str) -> None:
    observed = observed_from(pattern(bravais, noise_deg=0.0, zero_deg=0.05), max_peaks=40)
    grown, zero, indexed = _grown(bravais, terms_of(bravais)[None], observed)
    assert indexed[0] == 20
    assert zero[0] == pytest.approx(0.05, abs=0.005)
    assert _relative_error(bravais, grown)[0] < 3e-4


def test_a_zero_shift_that_is_not_looked_for_is_not_found() -> None:
    observed = observed_from(pattern("oP", noise_deg=0.0, zero_deg=0.03), max_peaks=40)
    _, zero, indexed = _grown("oP", terms_of("oP")[None], observed, zero_sigma=1e-6)
    assert indexed[0] > 15
    assert abs(zero[0]) < 1e-6


@pytest.mark.parametrize("bravais", ["cP", "hP", "oP", "mC"])
def test_foreign_lines_do_no_harm(bravais: str) -> None:
    observed = observed_from(pattern(bravais, noise_deg=0.0, foreign=2, seed=4), max_peaks=40)
    grown, _, indexed = _grown(bravais, _starts(bravais, 0.001), observed)
    assert (indexed >= 20).mean() >= 0.8
    assert np.median(_relative_error(bravais, grown)) < 5e-4


def test_cells_out_of_bounds_are_given_up() -> None:
    observed = observed_from(pattern("oP"), max_peaks=40)
    x = np.vstack((terms_of("oP"), [np.nan] * 3, -terms_of("oP"), terms_of("oP") * 1e-9, terms_of("oP") * 1e9))
    _, _, indexed = _grown("oP", x, observed)
    assert indexed[0] >= 18
    assert not indexed[1:].any()
    assert not _grown("oP", terms_of("oP")[None], observed, limits=LIMITS._replace(max_length=10.0))[2].any()


def test_a_cell_with_too_many_reflections_is_given_up() -> None:
    observed = observed_from(pattern("cP"), max_peaks=40)
    x = np.array([[1 / 190.0**2]])
    assert _grown("cP", x, observed, limits=Limits(2.0, 200.0, 8.0, 1e8))[2].tolist() == [0]


@pytest.mark.parametrize("count", [6, 41, 64, 65, 100])
def test_any_number_of_lines(count: int) -> None:
    observed = observed_from(pattern("oP", count=count, noise_deg=0.002), max_peaks=count)
    grown, _, indexed = _grown("oP", terms_of("oP")[None], observed)
    assert indexed[0] == count
    assert _relative_error("oP", grown)[0] < 1e-3


def test_the_candidates_do_not_know_of_each_other() -> None:
    observed = observed_from(pattern("mP"), max_peaks=40)
    starts = _starts("mP", 0.01)
    together = _grown("mP", starts, observed)
    alone = [_grown("mP", one[None], observed) for one in starts]
    for i, whole in enumerate(together):
        np.testing.assert_array_equal(whole, np.concatenate([one[i] for one in alone]))
