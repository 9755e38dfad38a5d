"""The coarse look at assignments: lines are marked where they are, and right cells come out on top."""

from __future__ import annotations

import numpy as np
import pytest

from app.crystallography.lattice import LATTICES
from app.indexing.search.cells import Limits
from app.indexing.search.generator import Effort
from app.indexing.search.low_order import SIFTED, LowOrder, assignments_of
from app.indexing.search.observed import observed_from
from app.indexing.search.row import row_of
from app.indexing.search.sift import IMPOSSIBLE, low_reflections, mark, sift
from tests.indexing.search.lattice_lines import has_cell
from tests.indexing.synthetic import LIMITS, pattern, terms_of


def _score(bravais: str, limits: Limits = LIMITS, rows: int = 4000) -> np.ndarray:
    table, observed, row = assignments_of(bravais), observed_from(pattern(bravais), max_peaks=20), row_of(bravais)
    marks, score = np.empty(8192, np.int32), np.empty(min(rows, len(table.lines)))
    end = mark(observed.q2, 0.05 * observed.per_degree, 10, marks)
    lines, refs = table.lines[:rows], table.refs[:rows]
    sift(
        lines, refs, table.design, low_reflections(bravais), observed.q2, marks, end,
        row.terms, row.multiplicity, limits, score,
    )  # fmt: skip
    return score


def _is_right(bravais: str, rows: int = 4000) -> np.ndarray:
    """Which rows give the true cell in the setting of the pattern."""
    table, q2 = assignments_of(bravais), observed_from(pattern(bravais), max_peaks=20).q2
    x = np.linalg.solve(table.design[table.refs[:rows]], q2[table.lines[:rows]][..., None])[..., 0]
    near: np.ndarray = np.isclose(x, terms_of(bravais), rtol=0.01, atol=1e-5)
    return np.all(near, axis=1)


def test_each_line_is_marked_where_it_is() -> None:
    q2, window = np.array([0.1, 0.2, 0.205, 0.3, 0.4]), np.full(5, 0.004)
    marks = np.empty(1000, np.int32)
    end = mark(q2, window, 4, marks)
    assert end == pytest.approx(0.304)
    for place, bits in ((0.1, 0b1), (0.1965, 0b10), (0.2025, 0b110), (0.3, 0b1000), (0.15, 0), (0.25, 0)):
        assert marks[int(place / end * 1000)] == bits
    width = end / 1000
    assert np.count_nonzero(marks & 1) == pytest.approx(2 * 0.004 / width, abs=2)


@pytest.mark.parametrize("bravais", ["tI", "hP", "oP"])
def test_right_assignments_are_among_the_best(bravais: str) -> None:
    score, right = _score(bravais), _is_right(bravais)
    assert right.any()
    assert score[right].max() >= np.quantile(score, 0.98)


def test_cells_out_of_bounds_are_none() -> None:
    assert (_score("oP") > IMPOSSIBLE).any()
    assert (_score("oP", Limits(2.0, 50.0, 8.0, 9.0)) == IMPOSSIBLE).all()


@pytest.mark.parametrize("bravais", LATTICES)
def test_the_whole_list_is_looked_at_and_the_cell_comes_out(bravais: str) -> None:
    observed = observed_from(pattern(bravais), max_peaks=40)
    proposal = LowOrder().propose(bravais, observed, LIMITS, Effort(level=1, keep=10**6))
    assert proposal.n_tried == len(assignments_of(bravais).lines)
    assert len(proposal.x) <= max(SIFTED, 1200)
    assert has_cell(bravais, proposal.x, terms_of(bravais))
