"""The arrays of a lattice say what the table of lattices says."""

from __future__ import annotations

import numpy as np
import pytest

from app.crystallography.lattice import LATTICES
from app.indexing.search.row import PERIOD, row_of

lattices = pytest.mark.parametrize("bravais", LATTICES)


@lattices
def test_it_repeats_the_table(bravais: str) -> None:
    row, lattice = row_of(bravais), LATTICES[bravais]
    np.testing.assert_array_equal(row.terms, lattice.terms)
    assert row.multiplicity == lattice.centring.multiplicity


@lattices
def test_the_centring_repeats_itself(bravais: str) -> None:
    hkl = np.random.default_rng(0).integers(-30, 30, (500, 3))
    np.testing.assert_array_equal(row_of(bravais).allowed[tuple((hkl % PERIOD).T)], LATTICES[bravais].allowed(hkl))


@lattices
def test_the_centring_leaves_one_reflection_in_its_multiplicity(bravais: str) -> None:
    row = row_of(bravais)
    assert row.allowed.mean() == pytest.approx(1 / row.multiplicity)
