"""What the soak takes for wrong is wrong, and what it lets pass is not."""

from __future__ import annotations

import time

import pytest

from benchmarks.soak.gauges import Gauges
from benchmarks.soak.ledger import AFTERMATH_S, Ledger
from benchmarks.soak.questions import difference, jobs
from benchmarks.soak.service import Usage
from benchmarks.soak.verdict import log_is_clean, nothing_grows


def watched(memory_mib: list[float], threads: int = 10) -> Gauges:
    times_s = [10.0 * number for number in range(len(memory_mib))]
    return Gauges(1, times_s, [Usage(value, 50, threads) for value in memory_mib])


def holds(gauges: Gauges) -> list[bool]:
    return [check.holds for check in nothing_grows(gauges)]


def test_memory_that_settles_and_wavers_is_flat() -> None:
    warming_up = [100.0 + number for number in range(20)]
    assert holds(watched(warming_up + [120.0 + number % 3 for number in range(60)])) == [True, True, True]


def test_memory_that_grows_all_the_time_is_not() -> None:
    assert holds(watched([100.0 + 0.5 * number for number in range(90)])) == [False, True, True]


def test_the_slope_is_told_by_the_hour() -> None:
    trend = watched([100.0 + number / 6 for number in range(90)]).trend("memory_mib")  # a sample every 10 s
    assert trend.per_hour == pytest.approx(60.0)


def test_a_process_that_is_gone_is_told() -> None:
    gauges = watched([100.0] * 90)
    gauges.is_gone = True
    assert holds(gauges) == [False]


@pytest.mark.parametrize(
    ("line", "clean"),
    [
        ('{"level":"info","event":"request"}', True),
        ('{"level":"warning","event":"a worker was ended","status":-9}', True),
        ('{"level":"warning","event":"the jobs database failed"}', False),
        ('{"level":"error","event":"request failed"}', False),
        ("Traceback (most recent call last):", False),
    ],
)
def test_lines_of_the_log_are_told_apart(line: str, clean: bool) -> None:
    assert log_is_clean(f'{{"level":"info","event":"service started"}}\n{line}\n').holds == clean


def test_a_broken_connection_is_explained_by_a_kill_shortly_before_alone() -> None:
    ledger = Ledger()
    ledger.excuse_or_complain("connection broke: x", time.monotonic())
    assert ledger.wrong_count == 1
    ledger.kills.append(time.monotonic())
    ledger.excuse_or_complain("connection broke: x", time.monotonic())
    ledger.excuse_or_complain("connection broke: x", time.monotonic() + 2 * AFTERMATH_S)
    assert (ledger.wrong_count, ledger.excused["connection broke"]) == (2, 1)


def test_answers_are_compared_but_for_durations_and_versions() -> None:
    first = {"model": {"name": "a", "version": 1}, "cells": [{"seconds": 1.0, "m20": 3}], "seconds": 2.0}
    again = {"model": {"name": "a", "version": 7}, "cells": [{"seconds": 9.0, "m20": 3}], "seconds": 3.0}
    other = {"model": {"name": "a", "version": 1}, "cells": [{"seconds": 1.0, "m20": 4}], "seconds": 2.0}
    assert difference(again, first) == ""
    assert difference(other, first) == "answer.cells[0].m20: 4, not 3"


@pytest.mark.parametrize(
    "other", [{}, {"a": [1]}, {"a": [1, True]}, {"a": [1, 2.001]}, {"a": [1, "2"]}, {"a": None}, []]
)
def test_another_answer_is_found_and_rounding_is_none(other: object) -> None:
    assert difference(other, {"a": [1, 2]})
    assert not difference({"a": [1, 2.000001]}, {"a": [1, 2]})


def test_no_question_has_the_name_of_another() -> None:
    names = [question.name for question in jobs()]
    assert len(names) == len(set(names)) > 5
