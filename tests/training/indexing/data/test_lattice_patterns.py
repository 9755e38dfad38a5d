"""Random patterns obey geometry, extinction rules and the options."""

import gemmi
import numpy as np
import pytest

from app.crystallography import metric
from app.crystallography.lattice import LATTICES
from app.crystallography.reflections import MAX_INDEX
from training.indexing.data.lattice_patterns import (
    FOREIGN,
    PatternOptions,
    all_references,
    draw_patterns,
    extinctions,
    random_constants,
    reference_index,
)

SEED = 5


@pytest.mark.parametrize("symbol", LATTICES)
def test_lines_are_where_the_cell_puts_their_reflections(symbol: str) -> None:
    patterns = draw_patterns(symbol, 20, np.random.default_rng(SEED))
    hkl, _ = all_references(symbol)
    for x, ref, q2 in zip(patterns.x, patterns.ref, patterns.q2_inv_ang2, strict=True):
        present = ref != FOREIGN
        cell = gemmi.UnitCell(*metric.cell_from_x(LATTICES[symbol], x).constants)
        expected = [cell.calculate_1_d2(list(map(int, index))) for index in hkl[ref[present]]]
        np.testing.assert_allclose(q2[present], expected, rtol=1e-6)
        assert np.isnan(q2[~present]).all()
        assert (np.diff(q2[present]) > 0).all()


@pytest.mark.parametrize("symbol", LATTICES)
def test_cells_have_the_metric_of_their_lattice_and_axes_in_bounds(symbol: str) -> None:
    options = PatternOptions()
    constants = random_constants(LATTICES[symbol], 200, np.random.default_rng(SEED), options)
    assert len(constants) > 100
    assert metric.exists(constants).all()
    x = metric.x_from_constants(LATTICES[symbol], constants)
    np.testing.assert_allclose(metric.constants_from_x(LATTICES[symbol], x), constants, rtol=1e-8)
    assert constants[:, :3].min() >= options.length_ang[0]
    assert constants[:, :3].max() <= options.length_ang[1]


@pytest.mark.parametrize("symbol", LATTICES)
def test_each_reflection_finds_the_line_with_its_spacing(symbol: str) -> None:
    lattice, table = LATTICES[symbol], reference_index(symbol)
    hkl = np.random.default_rng(SEED).integers(-MAX_INDEX, MAX_INDEX + 1, (500, 3))
    rows = table[tuple((hkl + MAX_INDEX).T)]
    allowed = lattice.allowed(hkl) & hkl.any(axis=1)
    np.testing.assert_array_equal(rows >= 0, allowed)
    np.testing.assert_array_equal(all_references(symbol)[1][rows[allowed]], lattice.design(hkl[allowed]))


def test_extinctions_agree_with_known_groups() -> None:
    """Diamond lacks 200; Pa-3 keeps one of 021 and 012, half of their common line; Pn-3 keeps neither."""
    diamond = next(rule for rule in extinctions("cF") if rule.members[_row("cF", (2, 0, 0))] == 0)
    assert diamond.members[_row("cF", (1, 1, 1))] == 8
    assert {rule.members[_row("cP", (2, 1, 0))] for rule in extinctions("cP")} == {24, 12, 0}
    assert {rule.members[_row("aP", (1, 0, 0))] for rule in extinctions("aP")} == {2}


def test_all_cell_choices_of_a_monoclinic_glide_plane_occur() -> None:
    rules = extinctions("mP")
    lines = [(1, 0, 0), (0, 0, 1), (1, 0, 1)]
    seen = {tuple(bool(rule.members[_row("mP", line)]) for line in lines) for rule in rules}
    assert {(True, False, False), (False, True, False), (False, False, True)} <= seen


def test_foreign_lines_come_as_often_as_asked() -> None:
    def count(foreign: float) -> float:
        patterns = draw_patterns("oP", 300, np.random.default_rng(SEED), PatternOptions(foreign=foreign))
        return float((patterns.ref[:, :10] == FOREIGN).sum(axis=1).mean())

    clean = count(0.0)
    assert clean < 0.05
    assert count(1.0) - clean == pytest.approx(0.83, abs=0.2)


def test_the_same_generator_draws_the_same_patterns() -> None:
    first, second = (draw_patterns("mP", 10, np.random.default_rng(SEED)) for _ in range(2))
    np.testing.assert_array_equal(first.ref, second.ref)
    np.testing.assert_array_equal(first.x, second.x)


def _row(symbol: str, hkl: tuple[int, int, int]) -> int:
    return int(reference_index(symbol)[tuple(np.array(hkl) + MAX_INDEX)])
