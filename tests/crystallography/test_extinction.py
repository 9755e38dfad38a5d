"""Extinction classes against gemmi and International Tables; ranking on patterns of known space group."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from app.crystallography import metric
from app.crystallography.cell import UnitCell
from app.crystallography.extinction import rank_extinctions
from app.crystallography.extinction_classes import extinction_classes
from app.crystallography.lattice import LATTICES
from app.crystallography.reflections import sphere
from app.errors import InvalidInput
from tests.crystallography.cells import CORUNDUM, EXAMPLES, NAC

# Beyond the box that the classes were made with.
BOX = np.random.default_rng(1).integers(-13, 14, (3000, 3)).astype(np.int32)
BOX = np.concatenate([BOX, BOX * [1, 1, 0], BOX * [0, 1, 1], BOX * [1, 0, 1], BOX[:, [0, 0, 2]], BOX * [0, 0, 1]])
BOX = np.ascontiguousarray(BOX[BOX.any(axis=1)], dtype=np.int32)

TABLES = [
    ("aP", "P -1", "P -"),
    ("mP", "P 1 21/c 1", "P 1 21/c 1"),
    ("mP", "P 1 21/n 1", "P 1 21/n 1"),
    ("mP", "P 1 2/m 1", "P 1 - 1"),
    ("mP", "P 1 21 1", "P 1 21 1"),
    ("mC", "C 1 2/c 1", "C 1 c 1"),
    ("oP", "P n m a", "P n - a"),
    ("oP", "P b n m", "P b n -"),
    ("oP", "P b c a", "P b c a"),
    ("oP", "P 21 21 21", "P 21 21 21"),
    ("oP", "P m n 21", "P - n -"),
    ("oC", "C m c m", "C - c -"),
    ("oC", "C 2 2 21", "C - - 21"),
    ("oI", "I m m a", "I - - (ab)"),
    ("oF", "F d d d", "F d d d"),
    ("oF", "F d d 2", "F d d -"),
    ("tP", "P 42/m n m", "P - n -"),
    ("tP", "P 41 21 2", "P 41 21 -"),
    ("tP", "P 42/n m c", "P n - c"),
    ("tI", "I 41/a m d", "I a - d"),
    ("tI", "I 41/a", "I 41/a - -"),
    ("hP", "P 63/m m c", "P - - c"),
    ("hP", "P 32 2 1", "P 62 - -"),
    ("hP", "P 61", "P 61 - -"),
    ("hR", "R -3 c", "R - c"),
    ("cP", "P a -3", "P a - -"),
    ("cP", "P n -3 m", "P n - -"),
    ("cP", "P 21 3", "P 21,42 - -"),
    ("cI", "I a -3 d", "I a - d"),
    ("cF", "F d -3 m", "F d - -"),
    ("cF", "F m -3 m", "F - - -"),
]


@pytest.mark.parametrize(("bravais", "group", "symbol"), TABLES)
def test_symbols_of_international_tables(bravais: str, group: str, symbol: str) -> None:
    found = [one.symbol for one in extinction_classes(bravais) if group in one.space_groups]
    assert found == [symbol]


@pytest.mark.parametrize("bravais", LATTICES)
def test_a_class_has_the_absences_of_all_its_groups(bravais: str) -> None:
    lattice = LATTICES[bravais]
    patterns = set()
    for one in extinction_classes(bravais):
        forbidden = one.forbidden(BOX)
        patterns.add(forbidden.tobytes())
        assert forbidden[~lattice.allowed(BOX)].all()
        for name in one.space_groups:
            other = gemmi.find_spacegroup_by_name(name, *EXAMPLES["hP"].constants[3::2])
            np.testing.assert_array_equal(other.operations().systematic_absences(BOX), forbidden)
    assert len(patterns) == len(extinction_classes(bravais))


@pytest.mark.parametrize("bravais", LATTICES)
def test_symbols_are_unique_and_the_first_forbids_nothing(bravais: str) -> None:
    classes = extinction_classes(bravais)
    assert len({one.symbol for one in classes}) == len(classes)
    assert classes[0].n_extinct == 0


def test_every_space_group_type_is_on_one_lattice() -> None:
    names = {name for bravais in LATTICES for one in extinction_classes(bravais) for name in one.space_groups}
    numbers = {gemmi.find_spacegroup_by_name(name, 90, 120).number for name in names}
    assert numbers == set(range(1, 231))


def _pattern(bravais: str, cell: UnitCell, group: str, count: int) -> np.ndarray:
    """The first distinct lines that a space group allows."""
    lattice = LATTICES[bravais]
    hkl, q2 = sphere(lattice, metric.x_from_cell(lattice, cell), (400 / metric.volume(cell)) ** (2 / 3))
    absent = gemmi.find_spacegroup_by_name(group, 90, 120).operations().systematic_absences(hkl.astype(np.int32))
    return np.unique(q2[~absent].round(10))[:count]


@pytest.mark.parametrize(("bravais", "group", "symbol"), TABLES)
def test_a_complete_pattern_shows_its_symbol(bravais: str, group: str, symbol: str) -> None:
    lines = _pattern(bravais, EXAMPLES[bravais], group, 60)
    ranked = rank_extinctions(bravais, EXAMPLES[bravais], lines, 1e-6)
    assert ranked[0].symbol == symbol
    assert group in ranked[0].space_groups
    assert ranked[0].n_forbidden == 0


def test_missing_lines_and_an_impurity_do_not_hide_the_symbol() -> None:
    cell = EXAMPLES["oP"]
    lines = _pattern("oP", cell, "P n m a", 60)
    hkl, q2 = sphere(LATTICES["oP"], metric.x_from_cell(LATTICES["oP"], cell), 0.3)
    forbidden_line = q2[(hkl == [1, 2, 0]).all(axis=1)]
    some = np.random.default_rng(2).random(len(lines)) > 0.15
    ranked = rank_extinctions("oP", cell, np.sort(np.concatenate([lines[some], forbidden_line])), 1e-6)
    found = next(one for one in ranked if one.symbol == "P n - a")
    assert found.n_forbidden == 1
    assert ranked.index(found) < 3


def test_a_strong_forbidden_line_counts_more_than_a_weak_one() -> None:
    lines = _pattern("cI", NAC, "I a -3", 20)
    extra = 2 / NAC.a_ang**2  # 110, which the a-glide forbids
    both = np.sort(np.append(lines, extra))
    strong = np.where(both == extra, 100.0, 10.0)
    weak = np.where(both == extra, 0.1, 10.0)

    def place(intensity: np.ndarray) -> int:
        ranked = [one.symbol for one in rank_extinctions("cI", NAC, both, 1e-6, intensity=intensity)]
        return ranked.index("I a - -") if "I a - -" in ranked else len(ranked)

    assert place(weak) <= place(strong)


def test_an_overlapped_forbidden_line_is_no_evidence_against() -> None:
    """003 of corundum is forbidden by R-3c; in a window that holds 012 too it is not."""
    lattice = LATTICES["hR"]
    x = metric.x_from_cell(lattice, CORUNDUM)
    hkl, q2 = sphere(lattice, x, 0.6)
    absent = gemmi.SpaceGroup("R -3 c").operations().systematic_absences(hkl.astype(np.int32))
    allowed = np.unique(q2[~absent].round(10))
    wide = rank_extinctions("hR", CORUNDUM, np.sort(np.append(allowed, q2[absent][0])), 0.05)
    narrow = rank_extinctions("hR", CORUNDUM, np.sort(np.append(allowed, q2[absent][0])), 1e-7)
    forbidden = {one.symbol: one.n_forbidden for one in narrow}
    assert forbidden["R - c"] == 1
    assert {one.symbol: one.n_forbidden for one in wide}["R - c"] == 0


def test_lines_of_another_phase_say_nothing() -> None:
    lines = _pattern("cF", EXAMPLES["cF"], "F d -3 m", 20)
    with_others = np.sort(np.append(lines, [0.0345, 0.0789]))
    assert rank_extinctions("cF", EXAMPLES["cF"], with_others, 1e-6) == rank_extinctions(
        "cF", EXAMPLES["cF"], lines, 1e-6
    )


def test_without_lines_there_is_nothing_to_rank() -> None:
    with pytest.raises(InvalidInput):
        rank_extinctions("cF", EXAMPLES["cF"], np.array([]), 1e-6)


def test_lines_below_the_first_reflection_rank_by_strictness_only() -> None:
    ranked = rank_extinctions("cP", UnitCell(3, 3, 3, 90, 90, 90), np.array([1e-3]), 1e-6)
    assert ranked[0].symbol == "P - - -"
