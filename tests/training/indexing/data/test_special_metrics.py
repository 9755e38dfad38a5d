"""Relatives of higher symmetry, counted."""

from __future__ import annotations

import numpy as np
import pytest

from app.crystallography.cell import UnitCell
from app.crystallography.reduction import niggli
from training.indexing.data.special_metrics import Kind, counted, relations

A, SHEET = 5.31, 9.98


def _sheets(stretch: float = 1.0) -> UnitCell:
    """Sheets with b = a sqrt(3) times a stretch, shifted by a third of a from one to the next; primitive."""
    c, beta = np.hypot(SHEET, A / 3), 90 + np.degrees(np.arctan(A / 3 / SHEET))
    return niggli(UnitCell(A, A * 3**0.5 * stretch, float(c), 90.0, float(beta), 90.0), "C")


def test_shifted_hexagonal_sheets_have_a_hexagonal_relative_of_three_times_the_volume() -> None:
    assert Kind("mC", "hP", 3.0) in set(relations(_sheets(), "mC"))
    assert Kind("mC", "hP", 3.0) not in set(relations(_sheets(1.01), "mC"))


def test_a_lattice_that_is_symmetric_itself_has_no_more_symmetric_relative_of_that_kind() -> None:
    """Named oC by its space group, hexagonal by its metric: its hexagonal sublattices are nothing special."""
    hexagonal = niggli(UnitCell(5.0, 5.0, 8.1, 90.0, 90.0, 120.0))
    assert not any(kind.relative == "hP" for kind in relations(hexagonal, "oC"))


def test_kinds_are_counted_once_a_lattice() -> None:
    cells = [_sheets(), _sheets(1.01), _sheets(0.9995)]
    assert counted(cells, "mC")[Kind("mC", "hP", 3.0)] == 2


@pytest.mark.parametrize("bravais", ["hP", "tP"])
def test_relatives_with_as_many_free_terms_do_not_count(bravais: str) -> None:
    assert not counted([UnitCell(4.0, 4.0, 8.0, 90.0, 90.0, 90.0)], bravais).keys() & {Kind(bravais, "tP", 2.0)}
