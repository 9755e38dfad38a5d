"""Families: one entry for each lattice, read with its most probable symmetry."""

from __future__ import annotations

import numpy as np
import pytest

from app.crystallography import metric
from app.crystallography.cell import UnitCell
from app.crystallography.lattice import LATTICES
from app.crystallography.reduction import same_lattice
from app.indexing.ranking import Found, families, in_convention, log_shape_prior, ranked, with_relatives
from app.indexing.search.cells import Limits
from app.indexing.search.hypotheses import Hypotheses, grown_and_weighed
from app.indexing.search.observed import Observed, observed_from
from tests.indexing.synthetic import CELLS, LIMITS, pattern, terms_of

lattices = pytest.mark.parametrize("bravais", LATTICES)


def _observed(bravais: str) -> Observed:
    return observed_from(pattern(bravais), max_peaks=40)


def _batch(bravais: str, cell: UnitCell, observed: Observed) -> Hypotheses:
    return grown_and_weighed(bravais, terms_of(bravais, cell)[None], observed, LIMITS, generator="test")


def _cell(found: Found) -> UnitCell:
    return metric.cell_from_x(LATTICES[found.bravais], found.x)


TETRAGONAL = CELLS["tP"]
READINGS = {
    "tP": TETRAGONAL,
    "oP": TETRAGONAL,
    "oC": UnitCell(6.93 * 2**0.5, 6.93 * 2**0.5, 9.71, 90.0, 90.0, 90.0),
    "aP": TETRAGONAL,
}


def test_the_readings_of_one_lattice_are_one_family_under_the_best() -> None:
    observed = _observed("tP")
    batches = [_batch(bravais, cell, observed) for bravais, cell in READINGS.items()]
    assert all(len(batch) for batch in batches)
    for order in (batches, batches[::-1]):
        assert [one.bravais for one in ranked(order, observed, count=20)] == ["tP"]


def test_an_unwanted_reading_does_not_push_out_its_twin() -> None:
    observed = _observed("tP")
    batches = [_batch(bravais, cell, observed) for bravais, cell in READINGS.items()]
    found = ranked(batches, observed, count=20, wanted=lambda one: one.bravais == "aP")
    assert [one.bravais for one in found] == ["aP"]
    found = with_relatives(found, observed, LIMITS, count=20, wanted=lambda one: one.bravais in ("aP", "oP"))
    assert found[0].bravais == "oP"
    assert {one.bravais for one in found} <= {"aP", "oP"}


@pytest.mark.parametrize("bravais", ["cF", "hR", "tP", "oC", "mC"])
def test_the_relatives_of_any_relative_lead_to_the_lattice(bravais: str) -> None:
    """From the triclinic reading of the lattice, or from twice its volume, back to what it is."""
    observed = _observed(bravais)
    true = _batch(bravais, CELLS[bravais], observed)
    own = ranked([true], observed, count=1)[0]
    n = own.niggli
    doubled = UnitCell(n.a_ang, n.b_ang, 2 * n.c_ang, n.alpha_deg, n.beta_deg, n.gamma_deg)
    for start in (n, doubled):
        found = ranked([_batch("aP", start, observed)], observed, count=5)
        if found:
            best = with_relatives(found, observed, LIMITS, count=20)[0]
            assert best.bravais == bravais
            assert same_lattice(best.niggli, own.niggli, length_tolerance=0.004, angle_tolerance_deg=0.4)


def test_families_are_in_order_distinct_and_as_many_as_wanted() -> None:
    observed = _observed("cP")
    start = ranked([_batch("cP", CELLS["cP"], observed)], observed, count=20)
    found = with_relatives(start, observed, LIMITS, count=20)
    odds = [one.log_odds for one in found]
    assert odds == sorted(odds, reverse=True)
    assert len(found) > 2
    for i, one in enumerate(found):
        assert not any(same_lattice(one.niggli, other.niggli) for other in found[:i])
    assert [one.log_odds for one in families(found[::-1], count=2)] == odds[:2]


def test_relatives_keep_the_bounds() -> None:
    observed = _observed("oP")
    start = ranked([_batch("oP", CELLS["oP"], observed)], observed, count=20)
    bounds = Limits(6.0, 11.0, 8.0, 530.0)
    for one in with_relatives(start, observed, bounds, count=20):
        lengths = _cell(one).constants[:3]
        assert min(lengths) >= 6.0
        assert max(lengths) <= 11.0
        assert one.volume <= 530.0


def test_nothing_has_no_relatives() -> None:
    assert ranked([], _observed("oP"), count=20) == ()
    assert with_relatives((), _observed("oP"), LIMITS, count=20) == ()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_orthorhombic_axes_are_put_in_order(order: tuple[int, ...]) -> None:
    observed = _observed("oP")
    lengths = CELLS["oP"].constants[:3]
    batch = _batch("oP", UnitCell(*(lengths[i] for i in order), 90.0, 90.0, 90.0), observed)
    cell = _cell(in_convention(ranked([batch], observed, count=1)[0]))
    np.testing.assert_allclose(cell.constants, CELLS["oP"].constants, rtol=2e-3)


def test_monoclinic_axes_are_the_shortest() -> None:
    observed = _observed("mP")
    a, b, c, e = terms_of("mP")
    batch = grown_and_weighed("mP", np.array([[a, b, a + c + e, e + 2 * a]]), observed, LIMITS, generator="test")
    found = ranked([batch], observed, count=1)[0]
    conventional = in_convention(found)
    np.testing.assert_allclose(_cell(conventional).constants, CELLS["mP"].constants, rtol=2e-3)
    assert metric.volume(_cell(conventional)) == pytest.approx(metric.volume(_cell(found)), rel=1e-6)


@lattices
def test_a_conventional_cell_stays_as_it_is(bravais: str) -> None:
    observed = _observed(bravais)
    found = ranked([_batch(bravais, CELLS[bravais], observed)], observed, count=1)[0]
    assert in_convention(found).bravais == bravais
    if bravais != "aP":
        np.testing.assert_allclose(in_convention(found).x, found.x, rtol=1e-6)


def test_relatives_are_looked_at_without_a_zero_shift_too() -> None:
    observed, none = _observed("cP"), 1e-5
    batch = grown_and_weighed("cP", terms_of("cP")[None], observed, LIMITS, generator="test", zero_sigma_deg=none)
    found = with_relatives(ranked([batch], observed, count=20), observed, LIMITS, count=20, zero_sigma_deg=none)
    assert found[0].bravais == "cP"
    assert "derivative" in {one.generator for one in found}
    assert all(abs(one.zero_shift_deg) < 1e-4 for one in found)


def test_only_unusually_long_or_flat_cells_are_improbable_beforehand() -> None:
    usual = UnitCell(5.1, 6.2, 7.9, 90.0, 90.0, 90.0)
    assert log_shape_prior(usual) == log_shape_prior(UnitCell(5.1, 7.9, 6.2, 80.0, 90.0, 100.0)) == 0.0
    priors = [log_shape_prior(UnitCell(5.0, 5.0, 5.0 * ratio, 90.0, 90.0, 90.0)) for ratio in (1, 2, 4, 8)]
    assert sorted(priors, reverse=True) == priors
    assert -6.0 < priors[-1] < -3.0, "a cell of 5 x 5 x 40 is rare, and not impossible"
    scaled = log_shape_prior(UnitCell(15.0, 15.0, 60.0, 90.0, 90.0, 90.0))
    assert scaled == pytest.approx(priors[2]), "size does not matter"
