"""The canonical setting of an assignment does not depend on the setting it came in, and keeps the lattice."""

import numpy as np
import pytest

from app.crystallography import metric
from app.crystallography.lattice import LATTICES
from app.crystallography.reduction import niggli, same_lattice
from training.indexing.assignments.equivalence import canonical_references
from training.indexing.data.lattice_patterns import all_references, draw_patterns

SETTINGS = {
    "oP": [[0, 1, 0], [0, 0, 1], [1, 0, 0]],
    "oF": [[0, 0, 1], [0, 1, 0], [1, 0, 0]],
    "oC": [[0, 1, 0], [1, 0, 0], [0, 0, 1]],
    "mP": [[1, 0, 1], [0, 1, 0], [0, 0, -1]],
    "mC": [[1, 0, 1], [0, 1, 0], [-2, 0, -1]],
    "aP": [[1, 1, 0], [0, 1, 0], [1, 1, -1]],
}
"""Unimodular changes of axes that keep the metric and the centring."""


def _assignments(symbol: str) -> tuple[np.ndarray, np.ndarray]:
    """Right reflections of p lines of random patterns, and their q^2; the systems are regular."""
    patterns = draw_patterns(symbol, 60, np.random.default_rng(3))
    p = LATTICES[symbol].n_params
    lines = np.array([np.flatnonzero(row >= 0)[: p + 2][np.arange(p)] for row in patterns.ref])
    refs = np.take_along_axis(patterns.ref, lines, axis=1)
    q2 = np.take_along_axis(patterns.q2_inv_ang2, lines, axis=1)
    regular = np.abs(np.linalg.det(all_references(symbol)[1][refs])) > 0.5
    return all_references(symbol)[0][refs[regular]], q2[regular]


@pytest.mark.parametrize("symbol", SETTINGS)
def test_settings_of_one_lattice_have_one_form(symbol: str) -> None:
    hkl, _ = _assignments(symbol)
    one = canonical_references(symbol, hkl)
    other = canonical_references(symbol, hkl @ np.array(SETTINGS[symbol]))
    known = (one >= 0).all(axis=1) & (other >= 0).all(axis=1)
    assert known.mean() > 0.5
    np.testing.assert_array_equal(one[known], other[known])


@pytest.mark.parametrize("symbol", LATTICES)
def test_the_form_solves_to_the_same_lattice(symbol: str) -> None:
    lattice, (hkl, q2) = LATTICES[symbol], _assignments(symbol)
    refs = canonical_references(symbol, hkl)
    known = np.flatnonzero((refs >= 0).all(axis=1))[:10]
    assert len(known) > 0
    for row in known:
        cells = [
            metric.cell_from_x(lattice, np.linalg.solve(design.astype(float), q2[row]))
            for design in (lattice.design(hkl[row]), all_references(symbol)[1][refs[row]])
        ]
        one, other = (niggli(cell, lattice.centring.symbol) for cell in cells)
        assert same_lattice(one, other, length_tolerance=1e-5, angle_tolerance_deg=1e-3)


@pytest.mark.parametrize("symbol", LATTICES)
def test_the_form_is_its_own_form(symbol: str) -> None:
    refs = canonical_references(symbol, _assignments(symbol)[0])
    refs = refs[(refs >= 0).all(axis=1)]
    np.testing.assert_array_equal(canonical_references(symbol, all_references(symbol)[0][refs]), refs)


def test_an_assignment_without_a_primitive_basis_has_no_form() -> None:
    hkl = np.array([[[2, 0, 0], [0, 2, 0], [0, 0, 2], [0, 2, 2], [2, 0, 2], [2, 2, 0]]])
    assert (canonical_references("aP", hkl) == -1).all()
