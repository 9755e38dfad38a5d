"""The solver from lines to ranked cells, on a pattern of each Bravais lattice."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from app.crystallography import metric
from app.crystallography.bragg import q2_from_two_theta
from app.crystallography.cell import UnitCell
from app.crystallography.reduction import same_lattice
from app.errors import InvalidInput
from app.indexing.problem import BRAVAIS, PeakList, Progress, SolveOptions, SolveResult
from app.indexing.search.low_order import LowOrder
from app.indexing.solve import Round, solve
from tests.indexing.synthetic import is_lattice, pattern

QUICK = ((Round(LowOrder()),),)
"""One round alone: seconds do not decide what it finds."""
FEW = ("cP", "tP", "oP", "mP")
"""Lattices where all would take long and tell no more."""
LONG = SolveOptions(max_seconds=300.0)


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    """Compile beforehand, so that no deadline passes meanwhile."""
    solve(pattern("cP"), LONG)


def _quick(peaks: PeakList, **options: object) -> SolveResult:
    return solve(peaks, replace(LONG, **options), rounds=QUICK)


def _without_times(result: SolveResult) -> SolveResult:
    return replace(result, seconds=0.0, searches=tuple(replace(one, seconds=0.0) for one in result.searches))


@pytest.mark.parametrize("bravais", BRAVAIS)
def test_every_lattice_is_found_first(bravais: str) -> None:
    result = _quick(pattern(bravais, seed=1))
    assert is_lattice(result.solutions[0], bravais)
    assert result.solutions[0].n_indexed == 20
    assert result.confidence > 0.5


def test_the_defaults_do() -> None:
    result = solve(pattern("tI", seed=2))
    assert is_lattice(result.solutions[0], "tI")


@pytest.mark.parametrize("bravais", ["cI", "hR", "oP", "mC"])
def test_with_foreign_lines_and_a_zero_shift(bravais: str) -> None:
    result = _quick(pattern(bravais, foreign=2, zero_deg=-0.05, noise_deg=0.008, seed=3))
    best = result.solutions[0]
    assert is_lattice(best, bravais)
    assert best.zero_shift_deg == pytest.approx(-0.05, abs=0.03)


def test_without_a_wavelength() -> None:
    best = _quick(PeakList(pattern("oP").q2_inv_ang2)).solutions[0]
    assert is_lattice(best, "oP")
    assert best.zero_shift_deg == 0.0
    assert best.f20 is None


def test_errors_and_intensities_may_be_given() -> None:
    peaks = pattern("tI")
    sigma = np.linspace(0.5, 2.0, 20) * 1e-4 * peaks.q2_inv_ang2
    assert is_lattice(_quick(replace(peaks, sigma_q2_inv_ang2=sigma, intensity=np.arange(20.0))).solutions[0], "tI")


@pytest.mark.parametrize(("count", "max_peaks"), [(7, 40), (10, 40), (41, 41), (64, 65), (100, 100), (100, 8)])
def test_few_and_many_lines(count: int, max_peaks: int) -> None:
    result = _quick(pattern("tP", count=count, noise_deg=0.004), max_peaks=max_peaks, lattices=FEW)
    assert is_lattice(result.solutions[0], "tP")
    assert result.solutions[0].n_lines == min(count, max_peaks)


def test_six_lines_have_an_answer() -> None:
    assert _quick(pattern("tP", count=6)).solutions


@pytest.mark.parametrize("n_cores", [1, 2, 5])
def test_threads_do_not_change_the_answer(n_cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    peaks = pattern("mP", foreign=1)
    expected = _without_times(_quick(peaks, lattices=FEW))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(n_cores)))
    assert _without_times(_quick(peaks, lattices=FEW)) == expected


def test_the_answer_is_in_order_and_consistent() -> None:
    result = _quick(pattern("oI", foreign=1))
    odds = [one.log_odds for one in result.solutions]
    assert odds == sorted(odds, reverse=True)
    assert sum(one.weight for one in result.solutions) == pytest.approx(1.0)
    assert 0.0 <= result.confidence <= result.solutions[0].weight
    for i, one in enumerate(result.solutions):
        assert all(0 <= j < len(result.solutions) and j != i for j in one.relatives)
        assert one.extinctions
        assert one.found_by
        assert one.n_indexed <= one.n_lines == 21
        assert not any(same_lattice(one.niggli, other.niggli) for other in result.solutions[:i])
    assert result.n_candidates == sum(one.n_candidates for one in result.searches)
    assert {one.lattice for one in result.searches} == set(BRAVAIS)
    assert (result.seed, result.device) == (0, "cpu")


def test_the_second_look_is_only_taken_where_the_first_leaves_doubt() -> None:
    rounds = (*QUICK, *QUICK)
    sure = solve(pattern("cI"), LONG, rounds=rounds)
    assert sure.stopped == "certain"
    assert len(sure.searches) == len(BRAVAIS)
    rng = np.random.default_rng(0)
    noise = PeakList(np.sort(rng.uniform(0.01, 0.25, 20)), wavelength_ang=1.5406)
    unsure = solve(noise, replace(LONG, lattices=("cP", "tP", "oP")), rounds=rounds)
    assert unsure.stopped == "complete"
    assert len(unsure.searches) == 6


def test_chance_is_not_believed() -> None:
    rng = np.random.default_rng(4)
    noise = PeakList(np.sort(rng.uniform(0.01, 0.25, 20)), wavelength_ang=1.5406)
    assert _quick(noise, lattices=FEW).confidence < 0.1
    assert _quick(noise, max_solutions=1, lattices=FEW).confidence < 0.1


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("true", "asked"), [("cP", "tP"), ("cP", "aP"), ("oP", "mP"), ("tI", "oI"), ("hP", "oC")])
def test_a_lattice_is_found_in_the_reading_that_is_asked_for(true: str, asked: str) -> None:
    result = _quick(pattern(true), lattices=(asked,))
    found = [one for one in result.solutions if is_lattice(replace(one, bravais=true), true)]
    assert found
    assert {one.bravais for one in result.solutions} == {asked}
    assert {one.lattice for one in result.searches} == {asked}


def test_axes_and_volume_keep_their_bounds_in_the_answer() -> None:
    bounds = {"min_length_ang": 5.0, "max_length_ang": 12.0, "max_volume_ang3": 540.0}
    for bravais in ("oP", "mP"):
        result = _quick(pattern(bravais), lattices=FEW, **bounds)
        assert is_lattice(result.solutions[0], bravais)
        for one in result.solutions:
            lengths = one.cell.constants[:3]
            assert min(lengths) >= 5.0
            assert max(lengths) <= 12.0
            assert metric.volume(one.niggli) <= 540.0
    short, small = (
        _quick(pattern("oP"), lattices=FEW, **one).solutions
        for one in ({"max_length_ang": 10.0}, {"max_volume_ang3": 300.0})
    )
    assert all(max(one.cell.constants[:3]) <= 10.0 for one in short)
    assert all(metric.volume(one.niggli) <= 300.0 for one in small)


@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_no_more_lines_stay_unindexed_than_allowed(allowed: int) -> None:
    peaks = pattern("oP", count=28, foreign=2, noise_deg=0.006, seed=6)
    for one in _quick(peaks, max_impurities=allowed, lattices=FEW).solutions:
        assert sum(line.hkl is None for line in one.lines[:20]) <= allowed


def test_a_zero_shift_stays_within_what_is_looked_for() -> None:
    peaks = pattern("oP", zero_deg=0.08)
    assert all(abs(one.zero_shift_deg) < 1e-4 for one in _quick(peaks, zero_shift_deg=0.0, lattices=FEW).solutions)
    assert all(abs(one.zero_shift_deg) <= 0.04 for one in _quick(peaks, zero_shift_deg=0.04, lattices=FEW).solutions)


def test_a_wide_zero_shift_at_small_angles_is_survived() -> None:
    rng = np.random.default_rng(0)
    angles = np.sort(rng.uniform(0.15, 2.0, 20))
    peaks = PeakList(q2_from_two_theta(two_theta_deg=angles, wavelength_ang=0.1), wavelength_ang=0.1)
    result = _quick(peaks, zero_shift_deg=1.0, lattices=("cP", "tP", "oP"))
    for one in result.solutions:
        assert all(line.q2_calculated_inv_ang2 is None or line.q2_calculated_inv_ang2 > 0 for line in one.lines)


@pytest.mark.parametrize("count", [1, 3])
def test_as_many_solutions_as_wanted(count: int) -> None:
    every, few = (_quick(pattern("oP"), max_solutions=n, lattices=FEW) for n in (20, count))
    assert [one.cell for one in few.solutions] == [one.cell for one in every.solutions[:count]]
    assert few.confidence == every.confidence
    assert few.stopped == every.stopped
    assert all(j < count for one in few.solutions for j in one.relatives)


# --- time -------------------------------------------------------------------------------------------------------------


def test_the_deadline_ends_the_search() -> None:
    result = solve(pattern("aP"), SolveOptions(max_seconds=0.05))
    assert result.stopped == "deadline"


def test_the_caller_ends_the_search() -> None:
    result = solve(pattern("oP"), LONG, should_stop=lambda: True)
    assert result.stopped == "cancelled"
    assert result.solutions == ()
    assert result.confidence == 0.0


def test_the_best_so_far_is_the_answer_of_a_search_that_was_cancelled() -> None:
    done: list[Progress] = []
    options = replace(LONG, lattices=("oP", "tP"))
    result = solve(pattern("oP"), options, done.append, lambda: len(done) >= 2, rounds=(*QUICK, *QUICK))
    assert result.stopped == "cancelled"
    assert is_lattice(result.solutions[0], "oP")
    assert len(result.searches) == 2


def test_progress_only_ever_grows() -> None:
    seen: list[Progress] = []
    rng = np.random.default_rng(0)
    noise = PeakList(np.sort(rng.uniform(0.01, 0.25, 20)), wavelength_ang=1.5406)
    lattices = ("cF", "hP", "oP")
    result = solve(noise, replace(LONG, lattices=lattices), seen.append, rounds=(*QUICK, *QUICK))
    assert len(seen) == 8, "after each lattice of each round, and each ranking"
    assert all(one.lattices == lattices for one in seen)
    assert seen[2].lattices_done == seen[-1].lattices_done == lattices
    for before, after in pairwise(seen):
        assert set(before.lattices_done) <= set(after.lattices_done)
        assert before.n_candidates <= after.n_candidates
        assert before.seconds <= after.seconds
    assert seen[-1].n_candidates == result.n_candidates
    assert seen[0].best is None
    assert seen[-1].best is not None


def test_an_error_of_the_caller_comes_back_to_him() -> None:
    def broken(_: Progress) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        solve(pattern("cP"), replace(LONG, lattices=("cP",)), broken)


# --- misuse -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lattices", [("cX",), (), ("cP", "xx")])
def test_an_unknown_lattice_is_refused(lattices: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInput, match="lattices"):
        solve(pattern("cP"), SolveOptions(lattices=lattices))


@pytest.mark.parametrize(
    "q2",
    [[], [0.01, 0.02, 0.03, 0.04, 0.05], [0.0, *np.arange(1, 9) / 100], [0.1, *np.arange(1, 9) / 100], [np.nan] * 8],
)
def test_lines_that_are_none_are_refused(q2: list[float]) -> None:
    with pytest.raises(InvalidInput, match="q2_inv_ang2"):
        solve(PeakList(np.array(q2)))


def test_lines_that_coincide_are_survived() -> None:
    q2 = np.repeat(pattern("cP", count=10).q2_inv_ang2, 2)
    for lines in (q2, np.full(8, 0.02)):
        result = _quick(PeakList(lines, wavelength_ang=1.5406), lattices=("cP", "oP", "aP"))
        assert all(np.isfinite(one.log_odds) for one in result.solutions)


# --- measured patterns ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case_id", ["mcm_al2o3", "pat_34", "powdr_rockjock_almandine_garnet"])
def test_measured_patterns(case_id: str, shared_data: Path) -> None:
    cases = json.loads((shared_data / "indexing" / "measured.json").read_text())
    case = next(one for one in cases if one["id"] == case_id)
    q2 = q2_from_two_theta(two_theta_deg=np.sort(case["two_theta"]), wavelength_ang=case["wavelength"])
    best = solve(PeakList(q2, wavelength_ang=case["wavelength"])).solutions[0]
    assert best.bravais == case["bravais"]
    assert same_lattice(best.niggli, UnitCell(*case["niggli_cell"]), length_tolerance=0.005, angle_tolerance_deg=0.5)
