"""Lattices whose metric is that of a more symmetric relative: pseudo-hexagonal sheets and the like."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from app.crystallography import metric
from app.crystallography.cell import UnitCell
from app.crystallography.lattice import LATTICES
from app.crystallography.reduction import niggli, same_lattice
from app.indexing.problem import PeakList
from app.indexing.ranking import ranked, with_relatives
from app.indexing.search.hypotheses import grown_and_weighed
from app.indexing.search.observed import observed_from
from app.indexing.special import derived_terms, kinds_of, special_readings
from app.indexing.special_counts import SPECIAL_COUNTS
from tests.indexing.synthetic import CELLS, LIMITS, pattern, terms_of

RELATIVES = sorted({relative for _, counts in SPECIAL_COUNTS.values() for relative, _ in counts})
A, C_STAR = 5.31, 9.98
MICA = UnitCell(
    A, A * 3**0.5, (C_STAR**2 + (A / 3) ** 2) ** 0.5, 90.0, 90 + np.degrees(np.arctan(A / 3 / C_STAR)), 90.0
)
"""Sheets shifted by a third of a: mC with b = a sqrt(3), c cos(beta) = -a/3."""
HEXAGONAL = UnitCell(A, A, 3 * C_STAR, 90.0, 90.0, 120.0)


@pytest.mark.parametrize("relative", RELATIVES)
def test_a_kind_has_fewer_free_terms_than_its_own_symmetry_leaves(relative: str) -> None:
    for kind in kinds_of(relative):
        assert len(kind.terms) == LATTICES[relative].n_params < LATTICES[kind.bravais].n_params
        assert np.isfinite(kind.log_share)
        assert kind.log_share < 0


@pytest.mark.parametrize("relative", RELATIVES)
def test_a_kind_is_a_sub_or_superlattice_with_the_symmetry_that_it_names(relative: str) -> None:
    """Its form is one that its own Bravais lattice can have, and volumes are in the ratio of small whole numbers."""
    x = terms_of(relative)
    volume = metric.volume(CELLS[relative]) / LATTICES[relative].centring.multiplicity
    for kind in kinds_of(relative):
        own = LATTICES[kind.bravais]
        form = x @ kind.terms
        np.testing.assert_allclose(metric.x_from_form(own, form) @ own.terms, form, rtol=1e-9, atol=1e-12)
        ratio = float(metric.volume_from_form(form)) / own.centring.multiplicity / volume
        assert min(abs(ratio - exact) for exact in (2, 3, 1 / 2, 1 / 3)) < 1e-9


def test_the_form_of_a_derived_cell_gives_the_q2_of_the_same_planes() -> None:
    """hkl in derived axes A' = M A are M hkl; gemmi gives their spacing in the first axes."""
    basis = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 0.0], [-2 / 3, -1 / 3, 1 / 3]])
    terms = derived_terms(LATTICES["hP"], basis)
    form = metric.x_from_cell(LATTICES["hP"], HEXAGONAL) @ terms
    for hkl in ((1, 0, 0), (0, 2, 3), (3, -1, 2)):
        h, k, l = np.array(hkl) @ np.linalg.inv(basis.T)  # noqa: E741
        whole = np.array((h, k, l)) * 6
        expected = gemmi.UnitCell(*HEXAGONAL.constants).calculate_1_d2(whole.round().astype(int).tolist()) / 36
        h, k, l = hkl  # noqa: E741
        assert form @ (h * h, k * k, l * l, k * l, h * l, h * k) == pytest.approx(expected)


def _mica_lines() -> PeakList:
    return pattern("mC", MICA, count=26, noise_deg=0.015, seed=4)


def test_the_lines_of_a_pseudo_hexagonal_sheet_are_those_of_the_hexagonal_multiple_and_of_the_sheet() -> None:
    observed = observed_from(_mica_lines(), max_peaks=40)
    hexagonal = grown_and_weighed("hP", terms_of("hP", HEXAGONAL)[None], observed, LIMITS, generator="test")
    start = ranked([hexagonal], observed, count=5)
    assert start[0].bravais == "hP"
    assert start[0].n_indexed == 26
    found = with_relatives(start, observed, LIMITS, count=5, indices=(2,))
    assert found[0].bravais == "mC"
    assert same_lattice(found[0].niggli, niggli(MICA, "C"))


def test_a_hexagonal_lattice_stays_hexagonal() -> None:
    observed = observed_from(pattern("hP", count=26, noise_deg=0.015, seed=4), max_peaks=40)
    batch = grown_and_weighed("hP", terms_of("hP")[None], observed, LIMITS, generator="test")
    start = ranked([batch], observed, count=5)
    found = with_relatives(start, observed, LIMITS, count=5, indices=(2,))
    assert found[0].bravais == "hP"
    readings = special_readings("hP", start[0].x, observed, LIMITS)
    assert all(one.log_odds[0] < start[0].log_odds for one in readings)


def test_lattices_that_are_no_ones_relative_have_no_kinds() -> None:
    assert kinds_of("aP") == kinds_of("mP") == ()
    assert special_readings("aP", terms_of("aP"), observed_from(pattern("aP"), max_peaks=40), LIMITS) == []
