"""The matrix of learned parts: what is compared with what, and what the figures mean."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from app.crystallography.cell import UnitCell
from app.indexing.learned.models import NOTHING_LEARNED, Learned
from app.indexing.problem import PeakList, Progress, Solution, SolveOptions, SolveResult
from benchmarks.indexing import __main__ as command
from benchmarks.indexing import matrix_command
from benchmarks.indexing.cases import Case
from benchmarks.indexing.matrix import run_matrix, tried
from benchmarks.indexing.matrix_report import (
    cell_of,
    draw_matrix,
    expected_error,
    lattice_table,
    pair_table,
    scenario_table,
)
from benchmarks.indexing.variants import ALL, OFF, Variant, variants
from training.paired import gains, ratio

TRUE = (4.0, 5.0, 6.0, 90.0, 90.0, 90.0)
OTHER = (4.4, 5.3, 6.6, 90.0, 90.0, 90.0)
ANGLES = np.array([20.0, 30.0, 35.0, 41.0, 44.0, 52.0])


class Odds:
    def probabilities(self, peaks: PeakList) -> np.ndarray:
        raise NotImplementedError


ODDS = Learned(odds=Odds())
OFF_VARIANT, ON_VARIANT = Variant(OFF, NOTHING_LEARNED), Variant("odds", ODDS)


def _case(name: str) -> Case:
    return Case(name, "oP", TRUE, 1.5406, ANGLES, None)


def _solution(niggli: tuple[float, ...]) -> Solution:
    cell = UnitCell(*niggli)
    return Solution("oP", cell, cell, cell, 120.0, 30.0, None, None, None, 50.0, 1.0, 0.0, 6, 6, 9, ())


def _result(*cells: tuple[float, ...], confidence: float = 0.9) -> SolveResult:
    return SolveResult(tuple(_solution(cell) for cell in cells), "certain", confidence, (), 7, 0.1, 0, "cpu")


def solve_learned_only(
    peaks: PeakList,
    options: SolveOptions,
    on_progress=None,  # noqa: ANN001
    should_stop=None,  # noqa: ANN001
    learned: Learned = NOTHING_LEARNED,
) -> SolveResult:
    """Right with learned parts, wrong without."""
    return _result(TRUE if learned.odds else OTHER, confidence=0.9)


@pytest.mark.parametrize(("won", "lost"), [(0, 0), (5, 0), (3, 4), (12, 3), (1, 1)])
def test_mcnemar_is_the_binomial_test_of_the_cases_that_differ(won: int, lost: int) -> None:
    new = [True] * won + [False] * lost + [True, False]
    old = [False] * won + [True] * lost + [True, False]
    found = gains(new, old)
    assert (found.won, found.lost) == (won, lost)
    expected = stats.binomtest(won, won + lost).pvalue if won + lost else 1.0
    assert found.p_value == pytest.approx(expected)


def test_the_interval_of_a_ratio_covers_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for seed in range(120):
        old = np.exp(rng.normal(0.0, 1.0, 40))
        interval = ratio(old * 0.7 * np.exp(rng.normal(0.0, 0.3, 40)), old, seed=seed)
        assert interval.low <= interval.value <= interval.high
        covered += interval.low <= 0.7 <= interval.high
    assert 0.87 < covered / 120 < 0.995


def test_a_ratio_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="0 and 0"):
        ratio(np.empty(0), np.empty(0))


def test_expected_error_of_a_forecast() -> None:
    right = np.array([True] * 7 + [False] * 3)
    assert expected_error(np.full(10, 0.72), right) == pytest.approx(0.02)
    assert expected_error(np.array([1.0, 0.0]), np.array([True, False])) == 0.0
    assert expected_error(np.array([1.0, 0.0]), np.array([False, True])) == 1.0


def test_every_case_meets_every_variant_before_the_next_and_the_order_turns() -> None:
    cases = [_case(f"oP-{i}") for i in range(3)]
    trials = list(run_matrix({"a": cases}, [OFF_VARIANT, ON_VARIANT], solve_learned_only, SolveOptions()))
    ids = [trial.outcome.case_id for trial in trials]
    assert ids[::2] == ids[1::2]
    assert set(ids) == {case.id for case in cases}
    assert [trial.variant for trial in trials] == [OFF, "odds", "odds", OFF, OFF, "odds"]
    assert all(trial.right == (trial.variant == "odds") for trial in trials)


def test_scenarios_take_turns() -> None:
    sets = {"a": [_case(f"oP-{i}") for i in range(3)], "b": [_case("oP-9")]}
    trials = run_matrix(sets, [OFF_VARIANT], solve_learned_only, SolveOptions())
    assert [trial.scenario for trial in trials] == ["a", "b", "a", "a"]


def test_the_time_to_the_true_cell_is_that_of_its_first_lead() -> None:
    leaders = [OTHER, TRUE, TRUE]

    def solve(peaks, options, on_progress, should_stop=None, learned=NOTHING_LEARNED):  # noqa: ANN001, ANN202
        for cell in leaders:
            time.sleep(0.02)
            on_progress(Progress((), ("oP",), 1, 0.0, _solution(cell)))
        return _result(leaders[-1])

    trial = tried("a", _case("oP-1"), OFF_VARIANT, solve, SolveOptions())
    assert trial.true_wall_s is not None
    assert 0.04 <= trial.true_wall_s <= trial.outcome.wall_s - 0.02
    leaders[:] = [TRUE, OTHER]
    lost = tried("a", _case("oP-1"), OFF_VARIANT, solve, SolveOptions())
    assert lost.true_wall_s is lost.true_cpu_s is None


def test_variants_are_what_the_store_holds() -> None:
    found, skipped = variants(["all", "odds", "regression"], Path("store"), lambda _: (ODDS, ()))
    assert [one.name for one in found] == [OFF, ALL, "odds"]
    assert found[0].learned == NOTHING_LEARNED
    assert found[1].learned is ODDS
    assert found[2].learned.odds is ODDS.odds
    assert len(skipped) == 1
    assert "regression" in skipped[0]
    with pytest.raises(ValueError, match="luck"):
        variants(["luck"], Path("store"), lambda _: (ODDS, ()))


def test_a_store_without_learned_parts_leaves_the_solver_alone(tmp_path: Path) -> None:
    found, skipped = variants(["all", "odds"], tmp_path)
    assert [one.name for one in found] == [OFF]
    assert len(skipped) == 1


def test_the_tables_hold_the_counts(tmp_path: Path) -> None:
    cases = [_case(f"oP-{i}") for i in range(4)]
    trials = list(run_matrix({"clean": cases}, [OFF_VARIANT, ON_VARIANT], solve_learned_only, SolveOptions()))
    rows = scenario_table(trials).splitlines()
    assert rows[2].startswith("| clean | off | 4 | 0 (0%) | 0 |")
    assert rows[3].startswith("| clean | odds | 4 | 4 (100%) | 4 |")
    assert pair_table(trials).splitlines()[2].startswith("| clean | odds | 4 | 0 | 0.12 |")
    assert lattice_table(trials).splitlines()[2].startswith("| oP | 4 | 0, ")
    on = [trial for trial in trials if trial.variant == "odds"]
    assert cell_of(on).brier == pytest.approx(0.01)
    assert cell_of(on).expected_error == pytest.approx(0.1)
    draw_matrix(trials, tmp_path / "matrix.png")
    assert (tmp_path / "matrix.png").stat().st_size > 1000


def test_the_command_puts_simulated_cases_through_the_scenarios(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = {"id": "oP-1", "bravais": "oP", "niggli": TRUE, "wavelength": 1.5406, "two_theta": ANGLES.tolist()}
    (tmp_path / "made.json").write_text(json.dumps([entry | {"sigma_2theta": 0.01}]))
    (tmp_path / "seen.json").write_text(json.dumps([entry]))
    monkeypatch.setattr(
        matrix_command,
        "variants",
        lambda names, store: variants(names, store, lambda _: (ODDS, ["indexing-x: broken"])),
    )
    files = [str(tmp_path / name) for name in ("made.json", "seen.json")]
    solver = ["--solver", "tests.benchmarks.indexing.test_matrix:solve_learned_only"]
    monkeypatch.setattr(matrix_command, "load_solver", lambda _: solve_learned_only)
    command.main(["--learned", "off,odds,indices", "--cases", *files, "--out", str(tmp_path / "out.json"), *solver])
    shown = capsys.readouterr().out
    assert "indices: skipped" in shown
    assert "indexing-x: broken" in shown
    written = json.loads((tmp_path / "out.json").read_text())
    scenarios = {trial["scenario"] for trial in written["trials"]}
    assert "seen" in scenarios
    assert "made, 5 impurities" in scenarios
    assert len(scenarios) == 7
    assert len(written["trials"]) == 14
    assert {pair["variant"] for pair in written["pairs"]} == {"odds"}
    command.main(["--learned", "all", "--cases", *files, "--out", str(tmp_path / "less.json"), "--minutes", "0"])
    assert len(json.loads((tmp_path / "less.json").read_text())["trials"]) == 2
