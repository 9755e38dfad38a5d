"""Low-order assignments propose the cell of a clean pattern, and keep to what they are told."""

from __future__ import annotations

import numpy as np
import pytest

from app.crystallography import metric
from app.crystallography.lattice import LATTICES
from app.indexing.problem import PeakList
from app.indexing.search.cells import Limits
from app.indexing.search.generator import Effort
from app.indexing.search.low_order import LowOrder, assignments_of
from app.indexing.search.observed import observed_from
from tests.indexing.search.lattice_lines import has_cell
from tests.indexing.synthetic import LIMITS, pattern, terms_of

lattices = pytest.mark.parametrize("bravais", LATTICES)


@lattices
def test_the_table_names_reflections_that_fix_the_cell(bravais: str) -> None:
    table = assignments_of(bravais)
    n_params = LATTICES[bravais].n_params
    assert table.lines.shape == table.refs.shape
    assert table.lines.shape[1] == table.design.shape[1] == n_params
    assert table.refs.min() >= 0
    assert table.refs.max() < len(table.design)
    assert table.lines.min() >= 0
    some = np.random.default_rng(0).choice(len(table.refs), min(200, len(table.refs)), replace=False)
    assert (np.abs(np.linalg.det(table.design[table.refs[some]])) > 0.5).all()


@lattices
def test_a_clean_pattern_has_its_cell_among_the_first(bravais: str) -> None:
    proposal = LowOrder().propose(bravais, observed_from(pattern(bravais), max_peaks=40), LIMITS, Effort())
    assert proposal.x.shape[1] == LATTICES[bravais].n_params
    assert has_cell(bravais, proposal.x, terms_of(bravais))


def test_it_keeps_as_many_as_it_is_told_the_best_of_them() -> None:
    observed = observed_from(pattern("oP"), max_peaks=40)
    many, few = (LowOrder().propose("oP", observed, LIMITS, Effort(keep=keep)).x for keep in (500, 20))
    assert (len(many), len(few)) == (500, 20)
    assert {tuple(x) for x in few.round(12)} <= {tuple(x) for x in many.round(12)}


def test_the_same_question_has_the_same_answer() -> None:
    observed = observed_from(pattern("mP"), max_peaks=40)
    first, second = (LowOrder().propose("mP", observed, LIMITS, Effort()) for _ in range(2))
    np.testing.assert_array_equal(first.x, second.x)
    assert first.n_tried == second.n_tried


def test_more_effort_tries_more() -> None:
    observed = observed_from(pattern("mP"), max_peaks=40)
    quick, thorough = (LowOrder().propose("mP", observed, LIMITS, Effort(level=level)) for level in (0, 1))
    assert quick.n_tried < thorough.n_tried
    assert not quick.complete


def test_it_stops_when_it_is_told() -> None:
    observed = observed_from(pattern("aP"), max_peaks=40)
    proposal = LowOrder().propose("aP", observed, LIMITS, Effort(stop=lambda: True))
    assert proposal.n_tried == 0
    assert proposal.x.shape == (0, 6)


def test_it_keeps_the_bounds() -> None:
    observed = observed_from(pattern("oP"), max_peaks=40)
    bounds = Limits(5.0, 9.0, 100.0, 400.0)
    x = LowOrder().propose("oP", observed, bounds, Effort()).x
    constants = metric.constants_from_x(LATTICES["oP"], x)
    assert len(x) > 0
    assert constants[:, :3].min() >= 5.0
    assert constants[:, :3].max() <= 9.0
    assert metric.volume_from_x(LATTICES["oP"], x).max() <= 400.0


@pytest.mark.parametrize("count", [6, 7, 8, 10])
def test_few_lines_are_enough_to_ask(count: int) -> None:
    observed = observed_from(pattern("tP", count=count), max_peaks=40)
    assert has_cell("tP", LowOrder().propose("tP", observed, LIMITS, Effort()).x, terms_of("tP"))
    assert np.isfinite(LowOrder().propose("aP", observed, LIMITS, Effort()).x).all()


def test_lines_that_coincide_give_no_cell_that_is_none() -> None:
    observed = observed_from(PeakList(np.full(8, 0.02), wavelength_ang=1.5406), max_peaks=40)
    for bravais in ("cP", "oP", "aP"):
        x = LowOrder().propose(bravais, observed, LIMITS, Effort()).x
        assert metric.valid(LATTICES[bravais], x).all()
