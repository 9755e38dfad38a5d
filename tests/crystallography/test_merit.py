"""Figures of merit against naive formulas, a calibration standard and refined measurements."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from app.crystallography import bragg, metric
from app.crystallography.cell import UnitCell
from app.crystallography.lattice import LATTICES
from app.crystallography.merit import Merit, figures_of_merit, match_lines
from app.crystallography.reflections import reflections_within
from app.errors import InvalidInput

CU_ANG = 1.540598


def _merit(bravais: str, cell: UnitCell, two_theta_deg: np.ndarray, wavelength_ang: float, window_deg: float) -> Merit:
    q2 = bragg.q2_from_two_theta(two_theta_deg=two_theta_deg, wavelength_ang=wavelength_ang)
    lattice = LATTICES[bravais]
    lines = reflections_within(lattice, metric.x_from_cell(lattice, cell), float(q2.max()) * 1.02)
    window = bragg.sigma_q2_from_sigma_two_theta(
        sigma_two_theta_deg=window_deg, q2_inv_ang2=q2, wavelength_ang=wavelength_ang
    )
    matched = match_lines(q2, lines.q2_inv_ang2, window)
    return figures_of_merit(q2, lines.q2_inv_ang2, matched, wavelength_ang=wavelength_ang)


def test_by_hand() -> None:
    """Cubic P, a = 10: lines at 0.01 N; three observed, one of them an impurity."""
    calculated = np.array([0.01, 0.02, 0.03, 0.04, 0.05])
    observed = np.array([0.0101, 0.0250, 0.0298, 0.0403])
    matched = match_lines(observed, calculated, 0.001)
    assert matched.tolist() == [0, -1, 2, 3]
    merit = figures_of_merit(observed, calculated, matched)
    assert (merit.n_lines, merit.n_unindexed, merit.n_possible) == (3, 1, 4)
    assert merit.mean_delta_q2_inv_ang2 == pytest.approx((0.0001 + 0.0002 + 0.0003) / 3)
    assert merit.m == pytest.approx(0.0403 / (2 * 0.0002 * 4))
    # Each calculated line to its nearest observed one, against four observed lines.
    assert merit.m_reversed == pytest.approx(0.0403 / (2 * (0.0001 + 0.005 + 0.0002 + 0.0003) / 4 * 4))
    assert merit.m_symmetric == pytest.approx(merit.m * merit.m_reversed)
    assert merit.f is None


def test_f_of_smith_and_snyder_by_hand() -> None:
    two_theta = np.array([20.01, 30.0, 39.98])
    calculated = bragg.q2_from_two_theta(two_theta_deg=np.array([20.0, 25.0, 30.0, 40.0]), wavelength_ang=CU_ANG)
    observed = bragg.q2_from_two_theta(two_theta_deg=two_theta, wavelength_ang=CU_ANG)
    merit = figures_of_merit(observed, calculated, np.array([0, 2, 3]), wavelength_ang=CU_ANG)
    assert merit.mean_delta_two_theta_deg == pytest.approx(0.01)
    assert merit.f == pytest.approx(1 / 0.01 * 3 / 4)


def test_only_the_first_lines_count() -> None:
    calculated = np.arange(1, 40) * 0.01
    observed = calculated + 1e-5
    merit = figures_of_merit(observed, calculated, np.arange(39), count=20)
    assert (merit.n_lines, merit.n_possible) == (20, 20)
    assert merit.m == pytest.approx(0.20001 / (2 * 1e-5 * 20))


def test_exact_lines_have_a_finite_merit() -> None:
    calculated = np.array([0.01, 0.02])
    merit = figures_of_merit(calculated, calculated, np.arange(2), wavelength_ang=1.0)
    assert merit.f is not None
    assert np.isfinite([merit.m, merit.m_reversed, merit.m_symmetric, merit.f]).all()


def test_nothing_indexed() -> None:
    merit = figures_of_merit(np.array([0.01]), np.array([0.5]), np.array([-1]), wavelength_ang=1.0)
    assert (merit.n_lines, merit.n_unindexed, merit.m, merit.f) == (0, 1, 0.0, 0.0)
    assert match_lines(np.array([0.01]), np.array([]), 1.0).tolist() == [-1]
    assert match_lines(np.array([0.01, 0.4]), np.array([0.2]), 0.25).tolist() == [0, 0]


def test_lines_out_of_order_are_refused() -> None:
    with pytest.raises(InvalidInput, match="ascending"):
        figures_of_merit(np.array([0.2, 0.1]), np.array([0.1]), np.array([-1, 0]))


def test_nearest_line_against_brute_force() -> None:
    generator = np.random.default_rng(3)
    calculated = np.sort(generator.uniform(0, 1, 50))
    observed = generator.uniform(-0.1, 1.1, 200)
    brute = np.abs(observed[:, None] - calculated).argmin(axis=1)
    np.testing.assert_array_equal(match_lines(observed, calculated, 9.0), brute)


def test_silicon_has_fifteen_lines_of_an_f_lattice_and_eleven_of_its_structure() -> None:
    """Silicon with a = 5.43088 and Cu K-alpha1: 222, 420, ... belong to the lattice and count as possible."""
    two_theta = np.array([28.443, 47.303, 56.123, 69.131, 76.377, 88.032, 94.954, 106.710, 114.094, 127.547, 136.897])
    squares = np.array([3, 8, 11, 16, 19, 24, 27, 32, 35, 40, 43])
    a_ang = 5.43088
    expected = 2 * np.degrees(np.arcsin(CU_ANG * np.sqrt(squares) / (2 * a_ang)))
    lattice_squares = [3, 4, 8, 11, 12, 16, 19, 20, 24, 27, 32, 35, 36, 40, 43]
    merit = _merit("cF", UnitCell(a_ang, a_ang, a_ang, 90, 90, 90), two_theta, CU_ANG, 0.05)
    assert (merit.n_lines, merit.n_unindexed, merit.n_possible) == (11, 0, len(lattice_squares))
    assert merit.mean_delta_two_theta_deg == pytest.approx(np.abs(two_theta - expected).mean(), abs=1e-6)
    assert merit.f == pytest.approx(11 / 15 / np.abs(two_theta - expected).mean(), rel=1e-3)


def test_measured_patterns_with_refined_cells(shared_data: Path) -> None:
    """The recorded M20 and N20 of the lists whose lines are all indexed, from another program."""
    cases = json.loads((shared_data / "indexing" / "measured.json").read_text())
    compared = 0
    for case in cases:
        whole = case["unindexed_first20"] == 0 and len(case["two_theta"]) >= 20 and case["bravais"] in LATTICES
        if not whole or case.get("cell_refined_here") is None:
            continue
        two_theta = np.array(case["two_theta"][:20]) - case["zero_shift_deg"]
        merit = _merit(case["bravais"], UnitCell(*case["cell_refined_here"]), two_theta, case["wavelength"], 0.2)
        assert merit.n_unindexed == 0
        assert abs(merit.n_possible - case["N20"]) <= 1, case["id"]
        compared += abs(merit.m / case["M20"] - 1) < 0.05
    assert compared >= 15
