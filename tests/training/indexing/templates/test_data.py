"""Patterns with the rows of the list that are right for them: the rows give back the true cell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.crystallography import metric
from app.crystallography.bragg import two_theta_from_q2
from app.crystallography.lattice import LATTICES
from app.indexing.search.low_order import assignments_of
from training.indexing.data.lattice_patterns import PatternOptions, draw_patterns
from training.indexing.templates.data import cached_set, draw_templates, measured, right_rows, with_foreign


@pytest.mark.parametrize("symbol", ["tI", "oC", "mC", "aP"])
def test_the_right_rows_have_the_volume_of_the_true_cell(symbol: str) -> None:
    patterns = draw_patterns(symbol, 15, np.random.default_rng(2), PatternOptions(foreign=1.0))
    right, quality = right_rows(symbol, patterns)
    table, lattice = assignments_of(symbol), LATTICES[symbol]
    pattern, place = np.nonzero(right >= 0)
    assert len(pattern) > 15
    rows = right[pattern, place]
    q2 = patterns.q2_inv_ang2[pattern[:, None], table.lines[rows]]
    x = np.linalg.solve(table.design[table.refs[rows]], q2[..., None])[..., 0]
    # A change of axes keeps the volume of the cell.
    np.testing.assert_allclose(
        metric.volume_from_x(lattice, x), metric.volume_from_x(lattice, patterns.x[pattern]), rtol=1e-6
    )
    assert (quality[right >= 0] > 0).all()
    assert not quality[right < 0].any()


def test_foreign_lines_lie_between_their_neighbours_and_the_others_where_they_were() -> None:
    patterns = draw_patterns("oP", 40, np.random.default_rng(3), PatternOptions(foreign=4.0))
    q2, known = with_foreign(patterns, np.random.default_rng(4)), np.isfinite(patterns.q2_inv_ang2)
    np.testing.assert_array_equal(q2[known], patterns.q2_inv_ang2[known])
    assert np.isfinite(q2).sum() > known.sum()
    for row in q2:
        lines = row[np.isfinite(row)]
        assert (np.diff(lines) > 0).all()
        assert np.isfinite(row[: len(lines)]).all()


def test_errors_have_the_size_that_is_asked_for() -> None:
    q2 = np.tile(np.linspace(0.02, 0.3, 20), (400, 1))
    q2[:, 15:] = np.nan
    noisy, slope = measured(q2, np.random.default_rng(5), sigma_deg=(0.02, 0.02), zero_sigma_deg=0.05)
    assert np.isnan(noisy[:, 15:]).all()
    assert (slope[:, :15] > 0).all()
    error = np.subtract(*(two_theta_from_q2(q2_inv_ang2=one[:, :15], wavelength_ang=1.5406) for one in (noisy, q2)))
    shift = error.mean(axis=1, keepdims=True)
    assert (error - shift).std() == pytest.approx(0.02, rel=0.05)
    assert shift.std() == pytest.approx(0.05, rel=0.15)


def test_patterns_are_drawn_once(tmp_path: Path) -> None:
    first = cached_set(tmp_path, "tP", 60, seed=9)
    assert [path.name for path in tmp_path.iterdir()] == ["tP-60-9.npz"]
    again = cached_set(tmp_path, "tP", 60, seed=9)
    drawn = draw_templates("tP", 60, seed=9)
    for one in (again, drawn):
        np.testing.assert_array_equal(one.q2, first.q2)
        np.testing.assert_array_equal(one.right, first.right)
    assert len(first.part(slice(0, 10))) == 10
    assert first.q2.shape == (60, 20)
