"""The exhaustive search finds every cell within its bounds, and says when it could not look everywhere."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest

from app.crystallography.lattice import LATTICES
from app.indexing.search.cells import MAX_REFLECTIONS, reflections
from app.indexing.search.cone import EDGES, LADDER, cone_of
from app.indexing.search.exhaustive import Depth, Exhaustive
from app.indexing.search.generator import Effort
from app.indexing.search.row import row_of
from tests.indexing.search.lattice_lines import LIMITS, has_cell, lines_of, random_cell

ORTHOGONAL = [bravais for bravais in EDGES if LATTICES[bravais].n_params < 4]


@pytest.mark.parametrize("bravais", ORTHOGONAL)
def test_it_finds_every_cell(bravais: str) -> None:
    rng = np.random.default_rng(7)
    for volume in (90.0, 250.0, 600.0):
        x = random_cell(bravais, rng, volume)
        observed = lines_of(bravais, x, rng)
        proposal = Exhaustive().propose(bravais, observed, LIMITS, Effort(level=1, max_impurities=0))
        assert proposal.complete
        assert has_cell(bravais, proposal.x, x)


@pytest.mark.parametrize("bravais", ["cP", "hR", "tI", "oF", "oP"])
def test_it_finds_every_cell_among_foreign_lines(bravais: str) -> None:
    rng = np.random.default_rng(11)
    x = random_cell(bravais, rng, 200.0)
    observed = lines_of(bravais, x, rng, n_foreign=2)
    proposal = Exhaustive().propose(bravais, observed, LIMITS, Effort(level=0, max_impurities=2))
    assert has_cell(bravais, proposal.x, x)


@pytest.mark.parametrize("bravais", ["mP", "mC"])
def test_it_finds_monoclinic_cells(bravais: str) -> None:
    rng = np.random.default_rng(3)
    x = random_cell(bravais, rng, 150.0)
    observed = lines_of(bravais, x, rng, missing=0.1)
    assert has_cell(bravais, Exhaustive().propose(bravais, observed, LIMITS, Effort(max_impurities=0)).x, x)


def test_a_search_that_is_stopped_is_not_complete() -> None:
    rng = np.random.default_rng(0)
    observed = lines_of("oP", random_cell("oP", rng, 300.0), rng)
    calls = count()
    proposal = Exhaustive().propose("oP", observed, LIMITS, Effort(level=1, stop=lambda: next(calls) > 2))
    assert not proposal.complete


def test_a_search_beyond_its_budget_is_not_complete() -> None:
    rng = np.random.default_rng(0)
    observed = lines_of("oP", random_cell("oP", rng, 300.0), rng)
    small = {3: (Depth(4.0, 1000), Depth(4.0, 1000))}
    assert not Exhaustive(depths=small).propose("oP", observed, LIMITS, Effort()).complete


def test_a_search_that_drops_cells_is_not_complete() -> None:
    rng = np.random.default_rng(0)
    observed = lines_of("oP", random_cell("oP", rng, 300.0), rng, n_lines=9)
    proposal = Exhaustive().propose("oP", observed, LIMITS, Effort(level=1, keep=1))
    assert len(proposal.x) == 1
    assert not proposal.complete


@pytest.mark.parametrize("bravais", EDGES)
def test_a_reduced_cell_lies_in_the_cone_and_no_row_is_negative(bravais: str) -> None:
    cone = cone_of(bravais)
    assert abs(np.linalg.det(cone.edges)) > 0.5
    assert np.all(cone.rows >= 0)


@pytest.mark.parametrize("bravais", EDGES)
@pytest.mark.parametrize("rung", [0, 2])
def test_a_line_of_known_index_has_at_least_the_tabulated_number_below_it(bravais: str, rung: int) -> None:
    cone, lattice = cone_of(bravais), LATTICES[bravais]
    y = np.random.default_rng(1).exponential(size=len(cone.edges)) + 0.1
    reach = (cone.rows @ y) * cone.ratio[:, rung]
    within = row_of(bravais)
    q2, hkl = np.empty(MAX_REFLECTIONS), np.empty((MAX_REFLECTIONS, 3), np.int64)
    form = y @ cone.edges @ lattice.terms
    for value in reach[np.isfinite(reach)][::7]:
        n = reflections(form, within.domain, within.allowed, float(value) * (1 + 1e-9), q2, hkl)
        assert n > LADDER[rung] or n < 0
