"""Systematic absences speak for a cell, and their absence against nothing."""

from __future__ import annotations

import numpy as np
import pytest

from app.crystallography.cell import UnitCell
from app.crystallography.lattice import LATTICES
from app.indexing.search.absences import absence_gain
from app.indexing.search.hypotheses import Hypotheses, weighed
from app.indexing.search.observed import Observed, observed_from
from tests.indexing.synthetic import CELLS, LIMITS, pattern, terms_of

ABSENT = [
    ("mP", "P 1 21/c 1"),
    ("mC", "C 1 2/c 1"),
    ("oP", "P b c a"),
    ("oP", "P n m a"),
    ("tI", "I 41/a m d:2"),
    ("hR", "R -3 c:H"),
    ("cP", "P a -3"),
    ("cI", "I a -3 d"),
    ("cF", "F d -3 m:2"),
]


def _found(bravais: str, observed: Observed, cell: UnitCell | None = None) -> Hypotheses:
    return weighed(bravais, terms_of(bravais, cell)[None], np.zeros(1), observed, LIMITS, "test", 1)


@pytest.mark.parametrize(("bravais", "space_group"), ABSENT)
def test_lines_that_a_space_group_forbids_are_not_missed(bravais: str, space_group: str) -> None:
    observed = observed_from(pattern(bravais, space_group=space_group, noise_deg=0.005), max_peaks=40)
    found = _found(bravais, observed)
    assert found.n_indexed.tolist() == [20]
    assert absence_gain(found, 0, observed) > 1.0


@pytest.mark.parametrize("bravais", LATTICES)
def test_a_pattern_with_all_lines_gains_nothing(bravais: str) -> None:
    observed = observed_from(pattern(bravais, noise_deg=0.005), max_peaks=40)
    assert absence_gain(_found(bravais, observed), 0, observed) <= 1e-9


def test_a_lattice_without_absences_has_no_gain() -> None:
    observed = observed_from(pattern("aP"), max_peaks=40)
    assert absence_gain(_found("aP", observed), 0, observed) == 0.0


def test_more_absences_gain_more() -> None:
    gains = []
    for space_group in ("P m m m", "P m m a", "P n m a", "P b c a"):
        observed = observed_from(pattern("oP", count=30, space_group=space_group, noise_deg=0.005), max_peaks=40)
        gains.append(absence_gain(_found("oP", observed), 0, observed))
    assert gains == sorted(gains)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 1, 0)])
def test_the_order_of_the_axes_does_not_matter(order: tuple[int, ...]) -> None:
    observed = observed_from(pattern("oP", space_group="P n m a", noise_deg=0.005), max_peaks=40)
    lengths = CELLS["oP"].constants[:3]
    turned = _found("oP", observed, UnitCell(*(lengths[i] for i in order), 90.0, 90.0, 90.0))
    straight = _found("oP", observed)
    assert absence_gain(turned, 0, observed) == pytest.approx(absence_gain(straight, 0, observed), abs=1e-6)
