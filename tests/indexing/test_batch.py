"""Many patterns at once: order, errors, options and stopping; the device's part is the CPU's search here."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from app.errors import InvalidInput
from app.indexing import batch
from app.indexing.batch import Finishers, solve_many
from app.indexing.learned.shelf import Shelf
from app.indexing.problem import PeakList, SolveOptions, SolveResult, UsedModel
from app.indexing.search.dense import Task
from app.indexing.search.generator import Effort
from app.indexing.search.low_order import LowOrder
from app.model_registry.store import ModelStore
from tests import indexing_fakes as fakes
from tests.indexing_learned import NAME, probability_of_each, publish_probability

CUBIC = ("cF", "cI", "cP")
OPTIONS = SolveOptions(lattices=CUBIC, device="cpu", max_seconds=30.0)
SIDES_ANG = (4.0, 5.1, 6.3, 7.2, 8.4)


class CpuSearch:
    """Stands in for `app.indexing.search.device_search.DeviceSearch`."""

    options = SimpleNamespace(most_patterns=2)

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def n_assignments(self, bravais: str) -> int:
        return 7

    def propose(self, bravais: str, tasks: Sequence[Task]) -> list[np.ndarray]:
        self.sizes.append(len(tasks))
        return [LowOrder().propose(bravais, task.observed, task.limits, Effort()).x for task in tasks]


def cube(side_ang: float) -> PeakList:
    n = np.array([1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 16, 17])
    return PeakList(n / side_ang**2, wavelength_ang=1.0)


CUBES = [cube(side) for side in SIDES_ANG]


def sides(answers: Sequence[Any]) -> list[float]:
    return [answer.solutions[0].cell.a_ang for answer in answers]


@pytest.mark.parametrize("search", [None, CpuSearch()], ids=["cpu", "device"])
def test_answers_keep_the_order_of_the_patterns(search: Any) -> None:
    told: list[int] = []
    answers = solve_many(CUBES, OPTIONS, search=search, follow_up=False, on_done=lambda index, _: told.append(index))
    assert sides(answers) == pytest.approx(SIDES_ANG, rel=1e-3)
    assert sorted(told) == [0, 1, 2, 3, 4]
    assert {answer.device for answer in answers if isinstance(answer, SolveResult)} == {"gpu" if search else "cpu"}


@pytest.mark.parametrize("search", [None, CpuSearch()], ids=["cpu", "device"])
def test_a_bad_pattern_leaves_the_others_alone(search: Any) -> None:
    bad = [PeakList(np.array([0.1, 0.2])), PeakList(np.full(8, np.nan)), PeakList(np.empty(0))]
    answers = solve_many([CUBES[0], *bad, CUBES[1]], OPTIONS, search=search, follow_up=False)
    assert [isinstance(one, InvalidInput) for one in answers] == [False, True, True, True, False]
    assert sides((answers[0], answers[4])) == pytest.approx(SIDES_ANG[:2], rel=1e-3)


def test_a_batch_holds_as_many_patterns_as_the_device_takes() -> None:
    search: Any = CpuSearch()
    answers = solve_many(CUBES, OPTIONS, search=search, follow_up=False)
    assert search.sizes == [2] * 6 + [1] * 3
    first = answers[0]
    assert isinstance(first, SolveResult)
    assert first.n_candidates == 3 * 7


def test_each_pattern_may_have_its_own_options() -> None:
    each = [SolveOptions(lattices=("cP",)), SolveOptions(lattices=("cF", "cP"), max_solutions=1)]
    search: Any = CpuSearch()
    answers = solve_many(CUBES[:2], each, search=search, follow_up=False)
    assert [sorted({report.lattice for report in one.searches}) for one in answers] == [["cP"], ["cF", "cP"]]
    with pytest.raises(InvalidInput, match="2 for 3 patterns"):
        solve_many(CUBES[:3], each)


@pytest.mark.parametrize("search", [None, CpuSearch()], ids=["cpu", "device"])
def test_stopping_leaves_the_rest_unsolved(search: Any) -> None:
    done: list[int] = []
    answers = solve_many(
        CUBES,
        OPTIONS,
        search=search,
        follow_up=False,
        on_done=lambda index, _: done.append(index),
        should_stop=lambda: bool(done),
    )
    assert len(answers) == len(CUBES)
    assert {one.stopped for one in answers[2:] if isinstance(one, SolveResult)} == {"cancelled"}
    assert sides(answers[:1]) == pytest.approx(SIDES_ANG[:1], rel=1e-3)


def test_processes_finish_as_this_one_does() -> None:
    search: Any = CpuSearch()
    with Finishers(1) as finishers:
        peaks = [CUBES[0], PeakList(np.empty(0)), CUBES[1]]
        answers = solve_many(peaks, OPTIONS, search=search, follow_up=False, finishers=finishers)
    assert isinstance(answers[1], InvalidInput)
    assert sides((answers[0], answers[2])) == pytest.approx(SIDES_ANG[:2], rel=1e-3)


def test_what_is_in_doubt_is_followed_up() -> None:
    proposed = batch.Proposed({"cP": np.empty((0, 1))}, {"cP": 0})
    assert [len(rounds) for rounds in batch.rounds_with(proposed, follow_up=False)] == [1]
    search: Any = CpuSearch()
    search.propose = lambda bravais, tasks: [np.empty((0, 1))] * len(tasks)
    (left,) = solve_many(CUBES[:1], OPTIONS, search=search, follow_up=False)
    (followed,) = solve_many(CUBES[:1], OPTIONS, search=search)
    assert isinstance(left, SolveResult)
    assert not left.solutions
    assert sides([followed]) == pytest.approx(SIDES_ANG[:1], rel=1e-3)


def test_a_gpu_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "gpu_ready", lambda: False)
    with pytest.raises(InvalidInput, match="this machine has none"):
        solve_many(CUBES, SolveOptions(device="gpu"))
    assert batch.device_search("auto") is None
    assert solve_many([]) == ()


def test_no_framework_is_needed_until_a_device_is() -> None:
    code = (
        "import sys; sys.modules['tensorflow'] = None; sys.modules['ai_edge_litert'] = None\n"
        "import benchmarks.indexing.batch\n"
        "assert not {'keras', 'jax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# --- learned parts ----------------------------------------------------------------------------------------------------


class Here:
    """Finishes patterns at once, in this process."""

    stop = Event()

    def submit(self, *asked: Any, follow_up: bool, models: Sequence[UsedModel], store: Path | None) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(batch._finish(*asked, follow_up, tuple(models), store))
        return done


@pytest.mark.parametrize("finishers", [None, Here()], ids=["here", "in processes"])
def test_every_pattern_has_its_own_learned_parts(
    finishers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake(peaks: PeakList, options: SolveOptions, progress: Any, stop: Any, _rounds: Any, learned: Any) -> Any:
        return fakes.solve(peaks, options, progress, stop, learned=learned)

    monkeypatch.setattr(batch, "solve", fake)
    monkeypatch.setattr(batch, "_STOP", [Event()])
    store = ModelStore(tmp_path / "store")
    for share in (0.5, 0.9):
        publish_probability(store, share)
    wanted = [(UsedModel(NAME, 1),), (), (UsedModel(NAME, 2),), (UsedModel(NAME, 9),), ()]
    answers: Any = solve_many(CUBES, OPTIONS, models=wanted, shelf=Shelf(store.root), finishers=finishers)
    assert [answer.models for answer in answers] == [wanted[0], (), wanted[2], (), ()]
    known = [answer.solutions[0].probability for answer in answers]
    assert known == [pytest.approx(probability_of_each(0.5)), None, pytest.approx(probability_of_each(0.9)), None, None]
    assert "no version 9" in answers[3].warnings[-1]
