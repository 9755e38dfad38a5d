"""Compiled arithmetic of cells against brute force and plain formulas."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from app.crystallography import metric
from app.crystallography.cell import UnitCell
from app.crystallography.lattice import LATTICES
from app.indexing.search.cells import (
    FLATTEST,
    Limits,
    design_row,
    form_from_x,
    minors,
    nearest,
    possible,
    reflections,
)
from app.indexing.search.row import row_of
from tests.indexing.search.lattice_lines import random_cell

lattices = pytest.mark.parametrize("bravais", LATTICES)
WIDE = Limits(1.0, 200.0, 1.0, 1e6)
HOLOHEDRY = {
    "cubic": "P m -3 m",
    "rhombohedral": "R -3 m:H",
    "hexagonal": "P 6/m m m",
    "tetragonal": "P 4/m m m",
    "orthorhombic": "P m m m",
    "monoclinic": "P 1 2/m 1",
    "triclinic": "P -1",
}


def _form(bravais: str, x: np.ndarray) -> np.ndarray:
    form = np.empty(6)
    form_from_x(x, row_of(bravais).terms, form)
    return form


def _form_of(cell: UnitCell) -> np.ndarray:
    return metric.form_from_cell(cell)


def _reflections(bravais: str, x: np.ndarray, q2_max: float, room: int = 4096) -> tuple[int, np.ndarray, np.ndarray]:
    row, q2, hkl = row_of(bravais), np.full(room, np.nan), np.zeros((room, 3), np.int64)
    count = reflections(_form(bravais, x), row.domain, row.allowed, q2_max, q2, hkl)
    return count, q2[: max(count, 0)], hkl[: max(count, 0)]


def _random_cases(bravais: str) -> list[tuple[np.ndarray, float]]:
    rng = np.random.default_rng(5)
    volumes = rng.uniform(30.0, 900.0, 4)
    # About as many reflections as a pattern has lines, up to a few times more.
    return [(random_cell(bravais, rng, v), float((rng.uniform(10, 80) / v) ** (2 / 3))) for v in volumes]


def _brute_force(bravais: str, x: np.ndarray, q2_max: float) -> tuple[np.ndarray, np.ndarray]:
    size = int(np.ceil(max(metric.cell_from_x(LATTICES[bravais], x).constants[:3]) * q2_max**0.5)) + 1
    box = np.stack(np.meshgrid(*[np.arange(-size, size + 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
    box = box[box.any(axis=1) & LATTICES[bravais].allowed(box)]
    q2 = LATTICES[bravais].design(box) @ x
    return box[q2 <= q2_max], q2[q2 <= q2_max]


def _orbits(bravais: str, hkl: np.ndarray) -> set[tuple[int, int, int]]:
    operations = gemmi.SpaceGroup(HOLOHEDRY[LATTICES[bravais].system]).operations().sym_ops
    return {max(tuple(op.apply_to_hkl(one)) for op in operations) for one in hkl.tolist()}


@lattices
def test_every_equivalent_set_of_reflections_has_its_member(bravais: str) -> None:
    for x, q2_max in _random_cases(bravais):
        count, q2, hkl = _reflections(bravais, x, q2_max)
        every, every_q2 = _brute_force(bravais, x, q2_max)
        assert LATTICES[bravais].allowed(hkl).all()
        np.testing.assert_allclose(q2, LATTICES[bravais].design(hkl) @ x, rtol=1e-12)
        np.testing.assert_allclose(np.unique(q2.round(10)), np.unique(every_q2.round(10)), atol=2e-10)
        assert _orbits(bravais, hkl) == _orbits(bravais, every)
        assert len(np.unique(hkl, axis=0)) == count


@pytest.mark.parametrize("bravais", [one for one in LATTICES if one != "hR"])
def test_no_set_has_two_members(bravais: str) -> None:
    for x, q2_max in _random_cases(bravais):
        count, _, hkl = _reflections(bravais, x, q2_max)
        assert len(_orbits(bravais, hkl)) == count


def test_rhombohedral_sets_have_two_members_in_the_plane_of_a_and_b_alone() -> None:
    for x, q2_max in _random_cases("hR"):
        count, _, hkl = _reflections("hR", x, q2_max)
        twice = (hkl[:, 2] == 0) & (hkl[:, 0] > hkl[:, 1])
        assert count - len(_orbits("hR", hkl)) == twice.sum()


def test_too_many_reflections_are_said_to_be_so_and_nothing_is_overrun() -> None:
    x = np.array([0.001])
    enough = _reflections("cP", x, 0.1)[0]
    assert _reflections("cP", x, 0.1, room=enough)[0] == enough
    row, q2, hkl = row_of("cP"), np.full(enough, -7.0), np.full((enough, 3), -7)
    few = enough - 1
    assert reflections(_form("cP", x), row.domain, row.allowed, 0.1, q2[:few], hkl[:few]) == -1
    assert q2[few] == -7.0
    assert hkl[few].tolist() == [-7] * 3


def test_no_reflection_below_the_first() -> None:
    assert _reflections("cF", np.array([0.01]), 0.0299)[0] == 0


@lattices
def test_form_and_design_row(bravais: str) -> None:
    rng = np.random.default_rng(1)
    lattice = LATTICES[bravais]
    x, hkl = rng.uniform(0.01, 0.1, lattice.n_params), rng.integers(-9, 10, (20, 3))
    np.testing.assert_allclose(_form(bravais, x), x @ lattice.terms, rtol=1e-14)
    row = np.zeros(lattice.n_params)
    for one in hkl:
        design_row(one, row_of(bravais).terms, row)
        np.testing.assert_array_equal(row, lattice.design(one))


def test_minors_give_volume_and_axes() -> None:
    cell = UnitCell(5.1, 6.7, 8.3, 81.0, 103.0, 97.0)
    det, *principal = minors(_form_of(cell))
    assert det**-0.5 == pytest.approx(gemmi.UnitCell(*cell.constants).volume)
    np.testing.assert_allclose(np.sqrt(np.array(principal) / det), cell.constants[:3])


def test_bounds_are_those_of_the_conventional_cell() -> None:
    form = _form_of(UnitCell(5.0, 7.0, 9.0, 90.0, 100.0, 90.0))
    volume = 5.0 * 7.0 * 9.0 * np.sin(np.radians(100.0))
    assert possible(form, 1.0, Limits(4.99, 9.01, volume - 0.1, volume + 0.1))
    assert not possible(form, 1.0, Limits(5.01, 9.01, 1.0, 1e6))
    assert not possible(form, 1.0, Limits(4.99, 8.99, 1.0, 1e6))
    assert not possible(form, 1.0, Limits(1.0, 50.0, volume + 0.1, 1e6))
    assert not possible(form, 1.0, Limits(1.0, 50.0, 1.0, volume - 0.1))
    assert possible(form, 2.0, Limits(1.0, 50.0, 1.0, volume / 2 + 0.1))


@pytest.mark.parametrize(
    "form",
    [
        [0.01, 0.01, -0.01, 0.0, 0.0, 0.0],
        [0.01, 0.01, 0.0, 0.0, 0.0, 0.0],
        [0.01, 0.01, 0.01, 0.0, 0.0, 0.021],
        [0.01, 0.01, 0.01, 0.019, 0.019, 0.019],
        [np.nan] * 6,
        [0.01, 0.01, np.nan, 0.0, 0.0, 0.0],
        [0.01, 0.01, 0.01, 0.0, np.nan, 0.0],
        [np.inf, 0.01, 0.01, 0.0, 0.0, 0.0],
    ],
)
def test_what_is_no_cell_is_not_possible(form: list[float]) -> None:
    assert not possible(np.array(form), 1.0, WIDE)


def test_flat_cells_are_not_possible() -> None:
    limit = np.degrees(np.arcsin(np.sqrt(FLATTEST)))
    flat, enough = (_form_of(UnitCell(8.0, 8.0, 8.0, 90.0, 180.0 - limit * share, 90.0)) for share in (0.9, 1.1))
    assert not possible(flat, 1.0, WIDE)
    assert possible(enough, 1.0, WIDE)


def _nearest(q2: np.ndarray, lines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    delta, index = np.full(len(lines) + 1, 99.0), np.full(len(lines) + 1, 99)
    nearest(q2, len(q2), lines, len(lines), delta, index)
    assert delta[-1] == 99.0
    assert index[-1] == 99
    return delta[:-1], index[:-1]


@pytest.mark.parametrize("n_refs", [1, 2, 7, 200])
@pytest.mark.parametrize("n_lines", [1, 6, 40])
def test_the_nearest_reflection_is_the_nearest(n_refs: int, n_lines: int) -> None:
    rng = np.random.default_rng(n_refs + n_lines)
    for _ in range(20):
        # Powers put some lines close together, with no reflection between them.
        q2, lines = rng.uniform(0, 1, n_refs), np.sort(rng.uniform(0, 1, n_lines) ** 3)
        delta, index = _nearest(q2, lines)
        difference = lines[:, None] - q2
        np.testing.assert_array_equal(np.abs(delta), np.abs(difference).min(axis=1))
        np.testing.assert_array_equal(delta, difference[np.arange(n_lines), index])


def test_equal_lines_have_the_same_nearest_reflection() -> None:
    delta, index = _nearest(np.array([0.3, 0.1]), np.array([0.1, 0.12, 0.12, 0.29, 0.29]))
    assert index.tolist() == [1, 1, 1, 0, 0]
    np.testing.assert_allclose(delta, [0.0, 0.02, 0.02, -0.01, -0.01])


def test_without_reflections_none_is_near() -> None:
    for count in (0, -1):
        delta, index = np.zeros(3), np.full(3, 17)
        nearest(np.zeros(5), count, np.array([0.1, 0.2, 0.3]), 3, delta, index)
        assert np.isinf(delta).all()
        assert not index.any()
