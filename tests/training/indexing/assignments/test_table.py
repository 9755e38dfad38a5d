"""The table of low-order assignments: its layout, and that it solves cells it has not seen."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from app.crystallography import metric
from app.crystallography.bragg import dq2_d_two_theta
from app.crystallography.lattice import LATTICES
from app.crystallography.reduction import niggli, same_lattice
from app.crystallography.reflections import reflections_within
from training.indexing.__main__ import cli
from training.indexing.assignments.coverage import covered, first_solving
from training.indexing.assignments.equivalence import canonical_references
from training.indexing.assignments.table import (
    PLANS,
    QUALITY,
    Assignments,
    Occurrences,
    choose,
    find_assignments,
    line_choices,
    make_assignments,
    predicted_share,
    read_table,
    write_table,
)
from training.indexing.data.lattice_patterns import FOREIGN, Patterns, all_references, draw_patterns, random_constants

SHIPPED = Path(__file__).parents[4] / "app" / "indexing" / "assignments.npz"
MOST_BYTES = 4 * 1024 * 1024
PREFIX = 20_000
LEAST_SOLVED = {"t": 0.95, "h": 0.95, "c": 0.98, "o": 0.93, "m": 0.85, "a": 0.65}
"""By family: what a prefix of 20 000 rows must solve of 80 unseen patterns."""


@pytest.fixture(scope="module")
def shipped() -> dict[str, Assignments]:
    """The table in the repository."""
    return read_table(SHIPPED)


def test_the_file_is_small_and_complete(shipped: dict[str, Assignments]) -> None:
    assert SHIPPED.stat().st_size <= MOST_BYTES
    assert list(shipped) == list(LATTICES)


@pytest.mark.parametrize("symbol", LATTICES)
def test_the_layout_is_as_documented(symbol: str, shipped: dict[str, Assignments]) -> None:
    table, p = shipped[symbol], LATTICES[symbol].n_params
    assert (table.hkl.dtype, table.lines.dtype, table.refs.dtype) == (np.int8, np.uint8, np.uint8)
    assert table.lines.shape == table.refs.shape
    assert table.lines.shape[1:] == (p,)
    assert 0 < len(table.lines) <= PLANS[symbol[0]].rows
    assert np.diff(table.lines.astype(int), axis=1).min(initial=1) > 0
    assert table.lines.max() < PLANS[symbol[0]].n_lines
    assert table.refs.max() < len(table.hkl) <= 256
    assert LATTICES[symbol].allowed(table.hkl.astype(int)).all()


@pytest.mark.parametrize("symbol", LATTICES)
def test_no_assignment_is_singular_or_twice_in_the_list(symbol: str, shipped: dict[str, Assignments]) -> None:
    table = shipped[symbol]
    hkl = table.hkl.astype(int)[table.refs]
    determinants = np.linalg.det(LATTICES[symbol].design(hkl).astype(float))
    assert np.abs(determinants).min() > 0.5
    canonical = canonical_references(symbol, hkl)
    assert (canonical >= 0).all()
    rows = np.concatenate((table.lines, canonical), axis=1)
    assert len(np.unique(rows, axis=0)) == len(rows)


@pytest.mark.parametrize("symbol", LATTICES)
def test_a_prefix_recovers_the_cell_of_an_exact_pattern(symbol: str, shipped: dict[str, Assignments]) -> None:
    """Cells drawn at random, all lines that the centring allows, none missing: solve row after row and compare."""
    lattice = LATTICES[symbol]
    constants = random_constants(lattice, 40, np.random.default_rng(11))[:8]
    solved = [_recovered(symbol, x, shipped[symbol]) for x in metric.x_from_constants(lattice, constants)]
    assert np.mean(solved) >= (0.75 if symbol == "aP" else 0.85)


def _recovered(symbol: str, x: np.ndarray, table: Assignments) -> bool:
    lattice = LATTICES[symbol]
    q2_max = 4.0 * float(metric.volume_from_x(lattice, x) / lattice.centring.multiplicity) ** (-2 / 3)
    while len(q2 := reflections_within(lattice, x, q2_max).q2_inv_ang2) < 20:
        q2_max *= 1.5
    design = lattice.design(table.hkl.astype(int)).astype(float)[table.refs[:PREFIX]]
    solutions = np.linalg.solve(design, q2[table.lines[:PREFIX]][..., None])[..., 0]
    volume = metric.volume_from_x(lattice, solutions)
    right = np.isclose(volume, metric.volume_from_x(lattice, x), rtol=1e-6)
    true = niggli(metric.cell_from_x(lattice, x), lattice.centring.symbol)
    return any(
        same_lattice(true, niggli(metric.cell_from_x(lattice, solution), lattice.centring.symbol))
        for solution in solutions[right][:50]
    )


@pytest.mark.parametrize("symbol", LATTICES)
def test_a_prefix_solves_most_unseen_patterns(symbol: str, shipped: dict[str, Assignments]) -> None:
    prefix = Assignments(shipped[symbol].hkl, shipped[symbol].lines[:PREFIX], shipped[symbol].refs[:PREFIX])
    (share,) = covered(first_solving(symbol, prefix, 80, seed=77), (PREFIX,))
    assert share >= LEAST_SOLVED[symbol[0]]


def test_the_best_assignments_come_first() -> None:
    """Keys 7 and 8 solve 3 and 2 patterns; 9 solves the 3 of 7 but for one, so that 8, with new ones, comes before."""
    where = {7: (0, 1, 2), 9: (0, 1), 8: (3, 4), 6: (5,)}
    key, owner = np.array([(k, o) for k, owners in where.items() for o in owners]).T
    occurrences = Occurrences(key, owner, np.full(len(key), 255, np.uint8), 6)
    assert choose(occurrences, 10).tolist() == [7, 8, 9]
    assert choose(occurrences, 1).tolist() == [7]


@pytest.mark.parametrize("symbol", ["cF", "hR", "oC", "mC", "aP"])
def test_found_assignments_solve_their_pattern(symbol: str) -> None:
    lattice, patterns = LATTICES[symbol], draw_patterns(symbol, 5, np.random.default_rng(2))
    chunk = find_assignments(symbol, patterns, lattice.n_params + 3)
    rows = np.random.default_rng(0).permutation(len(chunk.owner))[:20]
    choices = line_choices(symbol, lattice.n_params + 3)
    for row in rows:
        owner = chunk.owner[row]
        q2 = patterns.q2_inv_ang2[owner, choices[chunk.choice[row]]]
        x = np.linalg.solve(all_references(symbol)[1][chunk.refs[row]], q2)
        cells = [metric.cell_from_x(lattice, terms) for terms in (x, patterns.x[owner])]
        one, other = (niggli(cell, lattice.centring.symbol) for cell in cells)
        assert same_lattice(one, other, length_tolerance=1e-5, angle_tolerance_deg=1e-3)


def test_the_predicted_share_is_that_of_simulated_errors() -> None:
    """Solve many times with normal errors of the lines and count the lines predicted within the tolerance."""
    patterns = draw_patterns("oP", 6, np.random.default_rng(4))
    clean = np.flatnonzero((patterns.ref != FOREIGN).all(axis=1))[:1]
    one = Patterns(patterns.x[clean], patterns.ref[clean], patterns.q2_inv_ang2[clean])
    design, q2 = all_references("oP")[1], one.q2_inv_ang2[0]
    slope = dq2_d_two_theta(q2_inv_ang2=q2, wavelength_ang=1.5406)
    lines = next(c for c in line_choices("oP", 6) if abs(np.linalg.det(design[one.ref[0, c]])) > 0.5)
    errors = QUALITY.sigma_deg * np.random.default_rng(5).standard_normal((4000, 3))
    x = np.linalg.solve(design[one.ref[0, lines]], (q2[lines] + errors * slope[lines]).T)
    missed = np.abs(design[one.ref[0]] @ x - q2[:, None]) / slope[:, None] > QUALITY.tolerance_deg
    expected = predicted_share(design, one, np.array([0]), lines[None])
    assert expected[0] == pytest.approx(1 - missed.mean(), abs=0.01)


def test_the_same_seed_makes_the_same_file(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("one.npz", "two.npz")]
    for path in paths:
        write_table(path, {symbol: make_assignments(symbol, 60, seed=3) for symbol in ("tP", "mC")})
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_command_replaces_one_lattice_and_reports(tmp_path: Path) -> None:
    out = tmp_path / "table.npz"
    common = ["assignments", "--patterns", "40", "--held-out", "20", "--out", str(out)]
    assert CliRunner().invoke(cli, [*common, "--lattice", "cF", "--lattice", "tI"]).exit_code == 0
    before = read_table(out)
    result = CliRunner().invoke(cli, [*common, "--lattice", "cF", "--seed", "9"])
    assert result.exit_code == 0
    assert "cF" in result.output
    np.testing.assert_array_equal(read_table(out)["tI"].refs, before["tI"].refs)
    assert "tI" in CliRunner().invoke(cli, ["coverage", "--in", str(out), "--held-out", "20"]).output
