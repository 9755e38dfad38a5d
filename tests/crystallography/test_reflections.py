"""Reference reflections and those of one cell against brute force."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.crystallography import metric
from app.crystallography.lattice import LATTICES, BravaisLattice
from app.crystallography.reflections import reference_count, reference_reflections, reflections_within
from app.errors import TooLarge
from tests.crystallography.cells import CORUNDUM, EXAMPLES, QUARTZ, cells

lattices = pytest.mark.parametrize("lattice", LATTICES.values(), ids=lambda row: row.symbol)


def _box(size: int) -> np.ndarray:
    box = np.stack(np.meshgrid(*[np.arange(-size, size + 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
    return box[box.any(axis=1)]


@lattices
def test_references_are_unique_and_allowed(lattice: BravaisLattice) -> None:
    references = reference_reflections(lattice.symbol)
    assert len(references.hkl) == reference_count(lattice)
    assert lattice.allowed(references.hkl).all()
    assert len(np.unique(references.design, axis=0)) == len(references.design)
    np.testing.assert_array_equal(references.design, lattice.design(references.hkl))


@lattices
def test_the_whole_set_holds_every_design_row(lattice: BravaisLattice) -> None:
    whole = reference_reflections(lattice.symbol, 100_000)
    box = _box(20)
    brute = np.unique(lattice.design(box[lattice.allowed(box)]), axis=0)
    assert len(whole.hkl) == len(brute)
    np.testing.assert_array_equal(np.unique(whole.design, axis=0), brute)


@lattices
def test_a_typical_cell_has_its_first_lines_among_the_references(lattice: BravaisLattice) -> None:
    lines = reflections_within(lattice, metric.x_from_cell(lattice, EXAMPLES[lattice.symbol]), 0.3)
    design = {tuple(row) for row in reference_reflections(lattice.symbol).design}
    assert all(tuple(row) in design for row in lattice.design(lines.hkl[:20]).astype(float))


@pytest.mark.parametrize(("symbol", "first"), [("cF", [1, 1, 1]), ("cI", [1, 1, 0]), ("cP", [1, 0, 0])])
def test_the_first_reference(symbol: str, first: list[int]) -> None:
    assert reference_reflections(symbol).hkl[0].tolist() == first


@lattices
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_lines_of_a_cell_are_those_that_gemmi_finds(lattice: BravaisLattice, data: st.DataObject) -> None:
    cell = data.draw(cells(lattice))
    # As many lines as a pattern has, whatever the volume.
    q2_max = (60 / metric.volume(cell)) ** (2 / 3)
    found = reflections_within(lattice, metric.x_from_cell(lattice, cell), q2_max)
    other = gemmi.UnitCell(*cell.constants)
    all_hkl = gemmi.make_miller_array(other, gemmi.SpaceGroup("P 1"), q2_max**-0.5, unique=False).astype(int)
    all_hkl = all_hkl[lattice.allowed(all_hkl)]
    q2 = np.sort([other.calculate_1_d2(hkl.tolist()) for hkl in all_hkl])
    margin = 1e-7 * q2_max
    if np.any(np.abs(q2 - q2_max) < margin):
        return
    distinct = q2[np.concatenate(([True], np.diff(q2) > 2e-9 * q2[1:]))] if len(q2) else q2
    assert found.multiplicity.sum() == len(q2)
    np.testing.assert_allclose(found.q2_inv_ang2, distinct, rtol=1e-8)


def test_corundum_and_quartz_by_heart() -> None:
    lines = reflections_within(LATTICES["hR"], metric.x_from_cell(LATTICES["hR"], CORUNDUM), 0.31)
    assert [0, 1, 2] in lines.hkl.tolist()
    assert lines.q2_inv_ang2[lines.hkl.tolist().index([0, 1, 2])] ** -0.5 == pytest.approx(3.480, abs=1e-3)
    lines = reflections_within(LATTICES["hP"], metric.x_from_cell(LATTICES["hP"], QUARTZ), 0.1)
    assert lines.hkl.tolist() == [[0, 0, 1], [1, 0, 0], [1, 0, 1]]
    assert lines.multiplicity.tolist() == [2, 6, 12]


def test_coincident_lines_merge_within_the_tolerance() -> None:
    lattice = LATTICES["tP"]
    x = np.array([0.01, 0.010001])
    apart = reflections_within(lattice, x, 0.011)
    merged = reflections_within(lattice, x, 0.011, tolerance_inv_ang2=1e-5)
    assert (len(apart.hkl), len(merged.hkl)) == (2, 1)
    assert merged.multiplicity.tolist() == [6]


def test_no_line_below_the_first() -> None:
    assert reflections_within(LATTICES["cF"], np.array([0.01]), 0.029).hkl.shape == (0, 3)


def test_an_absurd_number_of_reflections_is_refused() -> None:
    with pytest.raises(TooLarge):
        reflections_within(LATTICES["cP"], np.array([1e-8]), 1.0)
