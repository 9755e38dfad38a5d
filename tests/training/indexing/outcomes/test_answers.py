"""Patterns under drawn conditions, and the answers that are kept of them."""

import gzip
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.crystallography.bragg import two_theta_from_q2
from app.errors import InvalidInput
from app.indexing.problem import PeakList, SolveResult
from tests import indexing_results
from tests.training.indexing.crystals import CORUNDUM, HALITE
from training.indexing.data.powder import Lines
from training.indexing.outcomes.answers import (
    Case,
    content_of,
    evaluation_cases,
    is_right,
    outcome_from,
    outcome_of,
    read_outcomes,
    run_cases,
)
from training.indexing.outcomes.conditions import Conditions, draw_conditions, listed
from training.indexing.outcomes.sources import EvaluationCase, Known, Truth, arranged, choose, grouped, lines_of

LINES = Lines(np.linspace(10.0, 80.0, 40), np.linspace(100.0, 1.0, 40))
RNG = np.random.default_rng


def angles(peaks: PeakList) -> np.ndarray:
    return two_theta_from_q2(q2_inv_ang2=peaks.q2_inv_ang2, wavelength_ang=1.5406)


def case(name: str = "1-0") -> Case:
    truth = Truth("amcsd-1", "amcsd-1", "cP", indexing_results.CUBE.constants)
    return Case(name, truth, Conditions(cpu_s=3.0), indexing_results.peaks())


def solver(*_: Any) -> SolveResult:
    return replace(indexing_results.result(), stopped="cancelled")


def test_under_perfect_conditions_the_lines_are_as_they_were() -> None:
    peaks = listed(LINES, Conditions(), RNG(0))
    assert angles(peaks) == pytest.approx(LINES.two_theta_deg)
    assert peaks.intensity == pytest.approx(LINES.intensity)
    assert peaks.wavelength_ang == 1.5406
    assert peaks.sigma_q2_inv_ang2 is None


def test_a_list_of_d_has_no_wavelength() -> None:
    peaks = listed(LINES, Conditions(tells_wavelength=False, intensities=False), RNG(0))
    assert peaks.wavelength_ang is None
    assert peaks.intensity is None


def test_the_list_has_as_many_lines_as_asked_for_with_foreign_ones_among_them() -> None:
    peaks = listed(LINES, Conditions(n_lines=20, impurities=5), RNG(0))
    own = np.isclose(angles(peaks)[:, None], LINES.two_theta_deg, atol=1e-6).any(axis=1)
    assert len(own) == 20
    assert own.sum() == 15
    assert own[0]


def test_foreign_lines_of_a_structure_are_its_strongest() -> None:
    foreign = Lines(np.array([12.0, 15.0, 19.1, 24.0]), np.array([5.0, 100.0, 80.0, 1.0]))
    peaks = listed(LINES, Conditions(n_lines=12, impurities=2, foreign="structure"), RNG(0), foreign)
    assert all(np.isclose(angles(peaks), place, atol=1e-6).any() for place in (15.0, 19.1))


def test_a_zero_shift_moves_every_line() -> None:
    peaks = listed(LINES, Conditions(zero_shift_deg=0.1), RNG(0))
    assert angles(peaks) - LINES.two_theta_deg == pytest.approx(0.1, abs=1e-9)


def test_noise_has_its_size_and_lines_stay_in_order() -> None:
    many = Lines(np.linspace(10.0, 170.0, 4000), np.ones(4000))
    peaks = listed(many, Conditions(sigma_deg=0.005), RNG(0))
    error = angles(peaks) - many.two_theta_deg
    assert np.median(np.abs(error)) / 0.6745 == pytest.approx(0.005, rel=0.1)
    assert all(a <= b for a, b in pairwise(peaks.q2_inv_ang2))


def test_weak_lines_are_lost_first() -> None:
    peaks = listed(LINES, Conditions(lost=0.3), RNG(0))
    kept = np.isclose(angles(peaks)[:, None], LINES.two_theta_deg, atol=1e-6).any(axis=0)
    assert kept[0]
    assert kept[:20].sum() > kept[20:].sum()
    assert kept.sum() == pytest.approx(28, abs=6)


def test_conditions_that_are_drawn() -> None:
    drawn = [draw_conditions(RNG([1, i])) for i in range(400)]
    assert draw_conditions(RNG([1, 0])) == drawn[0]
    assert {one.n_lines for one in drawn} == set(range(8, 31))
    assert {one.impurities for one in drawn} == set(range(7))
    assert max(abs(one.zero_shift_deg) for one in drawn) <= 0.12
    assert max(one.sigma_deg for one in drawn) <= 0.04
    for options in ("tells_wavelength", "intensities", "sigmas"):
        assert {getattr(one, options) for one in drawn} == {True, False}


def test_lines_of_a_structure_end_where_there_are_enough() -> None:
    lines = lines_of(HALITE, Conditions())
    a = 5.6402
    assert angles_of_cube(a, 3) == pytest.approx(lines.two_theta_deg[0], abs=1e-4)
    assert angles_of_cube(a, 4) == pytest.approx(lines.two_theta_deg[1], abs=1e-4)
    assert len(lines_of(CORUNDUM, Conditions(wavelength_ang=0.5)).two_theta_deg) >= 30


def angles_of_cube(a: float, n: int) -> float:
    return np.degrees(2 * np.arcsin(1.5406 * np.sqrt(n) / (2 * a)))


def test_near_duplicates_share_a_group_through_others() -> None:
    cells = np.array(
        [[5.0, 6.0, 7.0, 90, 90, 90], [5.1, 6, 7, 90, 90, 90], [5.2, 6, 7, 90, 90, 90], [9, 9, 9, 90, 90, 90]]
    )
    groups = grouped(["oP", "oP", "oP", "oP"], cells)
    assert groups[0] == groups[1] == groups[2] != groups[3]
    assert len(set(grouped(["oP", "mP", "oP", "oP"], cells))) == 4


def test_many_structures_of_a_mineral_count_once() -> None:
    quartz = [Known(i, 0, "hP", (4.9, 4.9, 5.4, 90, 90, 120), 113.0) for i in range(99)]
    other = Known(1000, 1, "hP", (8.0, 8.0, 9.0, 90, 90, 120), 500.0)
    shelves = arranged([*quartz, other])
    drawn = [choose(shelves, RNG(i)).group for i in range(200)]
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.12)


def test_right_is_the_same_lattice_within_the_limits() -> None:
    cube = indexing_results.CUBE
    assert is_right(replace(cube, a_ang=cube.a_ang * 1.01), cube.constants)
    assert not is_right(replace(cube, a_ang=cube.a_ang * 1.02), cube.constants)
    assert not is_right(replace(cube, c_ang=cube.c_ang * 2), cube.constants)


def test_what_a_solver_answers_is_judged_and_comes_back(tmp_path: Path) -> None:
    outcomes = list(run_cases([case()], tmp_path, solver=solver))
    assert outcomes[0].right == (True, False)
    assert outcomes[0].result.stopped == "deadline"
    again = read_outcomes(tmp_path)
    assert len(again) == 1
    assert again[0].right == (True, False)
    assert again[0].case.truth == outcomes[0].case.truth
    assert again[0].result.solutions[0].lines[3].hkl == outcomes[0].result.solutions[0].lines[3].hkl
    assert again[0].case.peaks.q2_inv_ang2 == pytest.approx(outcomes[0].case.peaks.q2_inv_ang2)


def test_a_run_that_was_broken_off_loses_its_last_answer_only(tmp_path: Path) -> None:
    list(run_cases([case("1-0"), case("1-1")], tmp_path, solver=solver))
    (path,) = tmp_path.glob("part-*")
    path.write_bytes(path.read_bytes()[:-40])
    assert [one.case.name for one in read_outcomes(tmp_path)] == ["1-0"]
    list(run_cases([case("1-1")], tmp_path, solver=solver))
    assert {one.case.name for one in read_outcomes(tmp_path)} == {"1-0", "1-1"}


def test_the_later_answer_to_a_case_counts(tmp_path: Path) -> None:
    list(run_cases([case()], tmp_path / "1", solver=solver))
    list(run_cases([case()], tmp_path / "2", solver=lambda *_: replace(indexing_results.result(), solutions=())))
    assert read_outcomes(tmp_path / "1", tmp_path / "2")[0].right == ()


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "part-1.jsonl.gz").write_bytes(gzip.compress(b'{"a": 1}\n'))
    with pytest.raises(InvalidInput, match="no outcomes"):
        read_outcomes(tmp_path)


def test_contents_survive() -> None:
    outcome = outcome_of(case(), solver)
    content = content_of(outcome)
    assert content_of(outcome_from(content)) == content


def test_cases_of_an_evaluation_set_are_shifted_and_joined_by_foreign_lines() -> None:
    truth = Truth("x", "x", "cP", indexing_results.CUBE.constants)
    (plain,) = evaluation_cases([EvaluationCase(truth, 1.5406, LINES)])
    (worse,) = evaluation_cases([EvaluationCase(truth, 1.5406, LINES)], impurities=5, zero_shift_deg=0.1)
    assert len(plain.peaks.q2_inv_ang2) == 40
    assert len(worse.peaks.q2_inv_ang2) == 45
    assert plain.name != worse.name
