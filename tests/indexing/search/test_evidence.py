"""The evidence prefers the right cell to every wrong one that explains the same lines."""

from __future__ import annotations

import numpy as np
import pytest
from jaxtyping import Float

from app.crystallography import metric
from app.crystallography.cell import UnitCell
from app.crystallography.lattice import LATTICES
from app.crystallography.lattice_symmetry import bravais_of
from app.crystallography.reduction import derivative_lattices, niggli
from app.indexing.problem import PeakList
from app.indexing.search.cells import Limits
from app.indexing.search.hypotheses import Hypotheses, grown_and_weighed, weighed
from app.indexing.search.observed import Observed, observed_from
from tests.indexing.synthetic import CELLS, LIMITS, pattern, terms_of

lattices = pytest.mark.parametrize("bravais", LATTICES)


def _weigh(bravais: str, x: Float[np.ndarray, "cell param"], observed: Observed) -> Hypotheses:
    """As they are, without refinement."""
    return weighed(bravais, x, np.zeros(len(x)), observed, LIMITS, "test", len(x))


def _best(bravais: str, cell: UnitCell, observed: Observed) -> float:
    """Evidence of one cell after refinement; minus infinity where it does not grow to the lines."""
    found = grown_and_weighed(bravais, terms_of(bravais, cell)[None], observed, LIMITS, generator="test")
    return float(found.log_odds[0]) if len(found) else -np.inf


@lattices
def test_the_true_cell_beats_its_sub_and_superlattices(bravais: str) -> None:
    observed = observed_from(pattern(bravais), max_peaks=40)
    true = _best(bravais, CELLS[bravais], observed)
    primitive = niggli(CELLS[bravais], LATTICES[bravais].centring.symbol)
    for one in derivative_lattices(primitive):
        reading = bravais_of(one.niggli, tolerance=1e-4)[0]
        assert _best(reading.bravais, reading.cell, observed) < true, (one.volume_ratio, reading)


LOWER = [
    ("cP", "tP", UnitCell(9.14, 9.14, 9.14, 90, 90, 90)),
    ("cP", "oP", UnitCell(9.14, 9.14, 9.14, 90, 90, 90)),
    ("cF", "tI", UnitCell(12.31 / 2**0.5, 12.31 / 2**0.5, 12.31, 90, 90, 90)),
    ("cI", "oF", UnitCell(10.23 * 2**0.5, 10.23 * 2**0.5, 10.23, 90, 90, 90)),
    ("tP", "oP", UnitCell(6.93, 6.93, 9.71, 90, 90, 90)),
    ("tP", "oC", UnitCell(6.93 * 2**0.5, 6.93 * 2**0.5, 9.71, 90, 90, 90)),
    ("tI", "oI", UnitCell(7.32, 7.32, 12.83, 90, 90, 90)),
    ("hP", "oC", UnitCell(6.41, 6.41 * 3**0.5, 9.27, 90, 90, 90)),
    ("oP", "mP", UnitCell(6.14, 7.93, 10.72, 90, 90, 90)),
    ("oP", "aP", UnitCell(6.14, 7.93, 10.72, 90, 90, 90)),
    ("mP", "aP", UnitCell(6.32, 8.11, 9.93, 90, 101.7, 90)),
]


@pytest.mark.parametrize(("bravais", "lower", "cell"), LOWER)
def test_every_parameter_costs(bravais: str, lower: str, cell: UnitCell) -> None:
    for seed in range(3):
        observed = observed_from(pattern(bravais, seed=seed), max_peaks=40)
        assert _best(lower, cell, observed) < _best(bravais, CELLS[bravais], observed)


def test_the_lower_symmetry_wins_where_the_lines_say_so() -> None:
    cell = UnitCell(6.93, 6.99, 9.71, 90, 90, 90)
    observed = observed_from(pattern("oP", cell), max_peaks=40)
    assert _best("oP", cell, observed) > _best("tP", UnitCell(6.96, 6.96, 9.71, 90, 90, 90), observed)


@pytest.mark.parametrize("bravais", ["oP", "oI", "oF"])
def test_the_order_of_the_axes_does_not_matter(bravais: str) -> None:
    observed = observed_from(pattern(bravais), max_peaks=40)
    x = terms_of(bravais)
    odds = [_weigh(bravais, x[None, order], observed).log_odds[0] for order in ([0, 1, 2], [2, 0, 1], [1, 0, 2])]
    np.testing.assert_allclose(odds, odds[0], rtol=1e-10)


def test_the_exchange_of_a_and_c_does_not_matter() -> None:
    observed = observed_from(pattern("mP"), max_peaks=40)
    x = terms_of("mP")
    assert _weigh("mP", x[None, [2, 1, 0, 3]], observed).log_odds == pytest.approx(
        _weigh("mP", x[None], observed).log_odds
    )


def test_another_setting_of_the_same_lattice_explains_the_same_lines() -> None:
    observed = observed_from(pattern("mP"), max_peaks=40)
    a, b, c, e = terms_of("mP")
    # c* -> c* + a*: the lattice is the same, the axes are longer.
    skew = np.array([a, b, a + c + e, e + 2 * a])
    assert metric.volume_from_x(LATTICES["mP"], skew) == pytest.approx(metric.volume(CELLS["mP"]))
    one, other = (_weigh("mP", x[None], observed) for x in (terms_of("mP"), skew))
    assert one.n_indexed == other.n_indexed
    assert one.n_possible == other.n_possible
    assert one.log_odds[0] >= other.log_odds[0] > one.log_odds[0] - 5


@lattices
def test_a_foreign_line_is_held_against_the_cell(bravais: str) -> None:
    clean = observed_from(pattern(bravais, noise_deg=0.005), max_peaks=40)
    gap = np.argmax(np.diff(clean.q2))
    foreign = np.insert(clean.q2, gap + 1, clean.q2[gap : gap + 2].mean())
    with_one = observed_from(PeakList(foreign, wavelength_ang=1.5406), max_peaks=40)
    x = terms_of(bravais)[None]
    alone, beside = _weigh(bravais, x, clean), _weigh(bravais, x, with_one)
    assert beside.log_odds[0] < alone.log_odds[0]
    assert beside.n_indexed[0] == alone.n_indexed[0]


def test_a_zero_shift_costs_what_its_prior_says() -> None:
    exact, shifted = (
        observed_from(pattern("oP", noise_deg=0.005, zero_deg=zero), max_peaks=40) for zero in (0.0, 0.06)
    )
    x = terms_of("oP")[None]
    one = weighed("oP", x, np.zeros(1), exact, LIMITS, "test", 1, 0.03).log_odds[0]
    other = weighed("oP", x, np.full(1, 0.06), shifted, LIMITS, "test", 1, 0.03).log_odds[0]
    assert one - other == pytest.approx(0.5 * (0.06 / 0.03) ** 2, abs=0.3)


def test_the_error_of_the_lines_is_found() -> None:
    for noise in (0.004, 0.01, 0.03):
        observed = observed_from(pattern("oP", count=40, noise_deg=noise), max_peaks=40)
        assert noise / 2 < _weigh("oP", terms_of("oP")[None], observed).sigma_deg[0] < noise * 2


def test_lines_that_do_not_fix_the_cell_are_no_evidence_for_it() -> None:
    # Lines hk0 alone: c is not known at all, and a cell with any c explains as much.
    x = np.array([0.011, 0.017])
    hk = np.array([(h, k) for h in range(6) for k in range(h + 1) if h])
    q2 = np.unique((hk**2).sum(axis=1) * x[0])[:14]
    observed = observed_from(PeakList(q2, wavelength_ang=1.5406), max_peaks=40)
    short = np.array([[x[0], 1.001 * q2[-1]], [x[0], 1.5 * q2[-1]]])
    flat = weighed("tP", short, np.zeros(2), observed, Limits(0.5, 50.0, 1.0, 1e6), "test", 2)
    cube = _weigh("cP", x[:1, None], observed)
    assert np.isfinite(flat.log_odds).all()
    assert len(flat) == 2
    assert flat.log_odds.max() < cube.log_odds[0] + 14 * np.log(14)
    assert abs(np.diff(flat.log_odds)[0]) < 1.0


def test_chance_is_no_evidence() -> None:
    rng = np.random.default_rng(1)
    observed = observed_from(PeakList(np.sort(rng.uniform(0.01, 0.25, 20)), wavelength_ang=1.5406), max_peaks=40)
    assert all(_best(bravais, cell, observed) < 0 for bravais, cell in CELLS.items())


def test_what_is_no_cell_is_left_out() -> None:
    observed = observed_from(pattern("oP"), max_peaks=40)
    x = np.array([[np.nan] * 3, [-0.01, 0.02, 0.03], [0.0, 0.01, 0.01], [1e-7, 1e-7, 1e-7], [1e3] * 3])
    assert len(_weigh("oP", x, observed)) == 0


def test_a_cell_with_too_many_reflections_is_left_out() -> None:
    observed = observed_from(pattern("cP"), max_peaks=40)
    bounds = Limits(2.0, 200.0, 8.0, 1e8)
    assert len(weighed("cP", np.array([[1 / 190.0**2]]), np.zeros(1), observed, bounds, "test", 1)) == 0


@pytest.mark.parametrize("count", [6, 41, 64, 65, 100])
def test_any_number_of_lines(count: int) -> None:
    observed = observed_from(pattern("oP", count=count, noise_deg=0.002), max_peaks=count)
    found = _weigh("oP", terms_of("oP")[None], observed)
    assert found.n_indexed.tolist() == [count]
    assert np.isfinite(found.log_odds).all()


def test_more_lines_are_more_evidence() -> None:
    odds = [
        _weigh("oP", terms_of("oP")[None], observed_from(pattern("oP", count=n), max_peaks=100)).log_odds[0]
        for n in (10, 20, 40, 80)
    ]
    assert odds == sorted(odds)


def test_cells_do_not_know_of_each_other() -> None:
    observed = observed_from(pattern("mP"), max_peaks=40)
    rng = np.random.default_rng(0)
    x = terms_of("mP") * (1 + 0.01 * rng.uniform(-1, 1, (6, 4)))
    together = _weigh("mP", x, observed)
    alone = sorted((float(_weigh("mP", one[None], observed).log_odds[0]) for one in x), reverse=True)
    assert together.log_odds.tolist() == alone
