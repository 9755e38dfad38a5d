"""Places in the answer, under each order, and a whole run with a made-up solver."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.crystallography.cell import UnitCell
from app.indexing.problem import PeakList, Solution, SolveOptions, SolveResult
from benchmarks.indexing import __main__ as command
from benchmarks.indexing.cases import Case, read_cases
from benchmarks.indexing.criterion import basis_of
from benchmarks.indexing.measure import now
from benchmarks.indexing.outcome import Found, judge
from benchmarks.indexing.peers.base import Peer, ask, found_of
from benchmarks.indexing.run import solve_case

TRUE = (4.0, 5.0, 6.0, 90.0, 90.0, 90.0)
OTHER = (4.4, 5.3, 6.6, 90.0, 90.0, 90.0)
DOUBLED = (5.0, 6.0, 8.0, 90.0, 90.0, 90.0)


def _lines(cell: tuple[float, ...]) -> np.ndarray:
    hkl = np.array([(h, k, m) for h in range(4) for k in range(4) for m in range(4) if h + k + m])
    q2 = np.sum((hkl @ np.linalg.inv(basis_of(cell)).T) ** 2, axis=1)
    return np.sort(np.degrees(2 * np.arcsin(1.5406 / 2 * np.sqrt(q2))))[:20]


CASE = Case("oP-1", "oP", TRUE, 1.5406, _lines(TRUE), None)


def test_the_place_is_that_of_the_first_right_cell_under_each_order() -> None:
    found = [Found("aP", OTHER, 40.0), Found("oP", TRUE, 30.0), Found("cP", OTHER, 12.0), Found("cF", OTHER, 9.0)]
    outcome = judge(CASE, found)
    assert outcome.rank_by == {"ours": 2, "m20": 2, "dicvol": 2}
    assert judge(CASE, found[1:]).rank == 1
    assert judge(CASE, [found[0], *found[3:], found[1]], rule="dicvol").rank == 1
    assert judge(CASE, found[2:]).rank == 0
    assert judge(CASE, []).first is None


def test_a_superlattice_that_explains_every_line_is_reported_apart() -> None:
    outcome = judge(CASE, [Found("oP", DOUBLED, 20.0)])
    assert (outcome.rank, outcome.derivative) == (0, 2)
    halved = judge(CASE, [Found("oP", (2.0, 5.0, 6.0, 90.0, 90.0, 90.0), 20.0)])
    assert (halved.rank, halved.derivative) == (0, 0)


def test_only_the_first_20_cells_count() -> None:
    assert judge(CASE, [Found("oP", OTHER)] * 20 + [Found("oP", TRUE)]).rank == 0


def test_a_hexagonal_cell_with_its_angles_in_the_wrong_places_is_understood() -> None:
    wrong, right = (3.0, 3.0, 5.0, 120.0, 90.0, 90.0), (3.0, 3.0, 5.0, 90.0, 90.0, 120.0)
    assert found_of("hP", wrong, 1.0).niggli == found_of("hP", right, 1.0).niggli


def test_a_solver_that_fails_is_an_outcome() -> None:
    def fails(peaks: PeakList, options: SolveOptions) -> SolveResult:
        raise RuntimeError("no luck")

    outcome = solve_case(CASE, fails, SolveOptions())
    assert outcome.rank == 0
    assert outcome.problem == "RuntimeError: no luck"


def test_processor_time_of_children_counts() -> None:
    start = now()
    subprocess.run([sys.executable, "-c", "x = sum(range(5_000_000))"], check=True)
    wall, cpu = now().since(start)
    assert cpu > 0
    assert wall > 0


def test_a_worker_that_dies_or_hangs_is_an_outcome() -> None:
    dies = Peer("dies", (sys.executable, "-c", "raise SystemExit(3)"), {}, {}, ("oP",))
    hangs = Peer("hangs", (sys.executable, "-c", "import time; time.sleep(60)"), {}, {}, ("oP",))
    assert "failed" in ask(dies, CASE, max_seconds=30.0).problem
    assert "stopped" in ask(hangs, CASE, max_seconds=0.5).problem


def test_a_worker_answers_with_cells() -> None:
    answer = json.dumps({"cells": [{"bravais": "oP", "cell": TRUE, "m20": 50.0}], "wall_s": 1.5, "cpu_s": 2.5})
    peer = Peer("made-up", (sys.executable, "-c", f"print('noise'); print('{answer}')"), {}, {}, ("oP",))
    outcome = ask(peer, CASE, max_seconds=30.0)
    assert (outcome.rank, outcome.wall_s, outcome.cpu_s) == (1, 1.5, 2.5)


def made_up_solver(peaks: PeakList, options: SolveOptions) -> SolveResult:
    cell = UnitCell(*TRUE)
    solution = Solution("oP", cell, cell, cell, 120.0, 50.0, None, None, None, 9.0, 1.0, 0.0, 20, 20, 20, ())
    return SolveResult((solution,), "certain", 0.9, (), 7, 0.1, options.seed, "cpu")


def test_the_command_prints_tables_and_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = {"id": "oP-1", "bravais": "oP", "niggli": TRUE, "wavelength": 1.5406}
    entries = [{**entry, "two_theta": _lines(TRUE).tolist()}, {**entry, "id": "oP-2", "two_theta": [20, 30, 40, 50]}]
    cases, out = tmp_path / "cases.json", tmp_path / "out.json"
    cases.write_text(json.dumps([*entries, {**entries[0], "id": "aP-1", "bravais": "aC", "niggli": OTHER}]))
    solver = f"{__name__}:made_up_solver"
    scenarios = ["--perturb", "none", "--perturb", "impurities=2", "--budgets", "0.1,1", "--misses"]
    files = ["--cases", str(cases), "--out", str(out), "--picture", str(tmp_path / "curve.png")]
    command.main(["--solver", solver, *files, *scenarios])
    printed = capsys.readouterr().out
    assert "aP-1: true cell not found; first oP 4 5 6 90 90 90" in printed
    assert "0.8-0.95: 2 of 3 are" in printed
    written = json.loads(out.read_text())
    plain, dirty = written["results"]
    assert plain["by_lattice"]["oP"]["first"] == plain["by_lattice"]["all"]["first"] == 2
    assert dirty["scenario"]["impurities"] == 2
    assert written["budgets"]["cases"]["0.1"]["n"] == 3
    assert (tmp_path / "curve.png").stat().st_size > 1000


def test_the_published_sets_are_read(shared_data: Path) -> None:
    for name, n in (("simulated", 70), ("measured", 73)):
        cases = read_cases(shared_data / "indexing" / f"{name}.json")
        assert len(cases) == n
        assert all(np.all(np.diff(case.two_theta_deg) > 0) for case in cases)
        assert all(judge(case, [Found(case.bravais, case.niggli)]).rank == 1 for case in cases)
        assert replace(cases[0]).peaks.q2_inv_ang2.shape == cases[0].two_theta_deg.shape
