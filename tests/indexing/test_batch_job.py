"""A batch of patterns in parts: answers in the order of the questions, errors in their place."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.errors import InvalidInput
from app.indexing import batch_job, job
from app.indexing.peaks import Given
from app.indexing.question import Question, ask
from tests import indexing_fakes as fakes

CUBE = Given("d_ang", 4.0 / np.array([1, 2, 3, 4, 5, 6, 8, 9.5]) ** 0.5, wavelength_ang=1.54)


@pytest.fixture(autouse=True)
def _fake_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "_solve", lambda: fakes.solve)


def question(seed: int, name: str) -> Question:
    return ask(CUBE, {"seed": seed}, name=name)


def answers(questions: list[Any], size: int) -> list[dict[str, Any]]:
    """Do every part, and put the answers together."""
    parts = batch_job.parts(questions, size)
    results = [batch_job.run(part, lambda _: None, lambda: False) for part in parts]
    return json.loads(batch_job.join(b"{}", results))["answers"]


@pytest.mark.parametrize("size", [1, 2, 64])
def test_a_batch_keeps_its_order_and_an_error_its_place(size: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        ask(Given("d_ang", [1.0]), {})
    refused = job.error_content(caught.value, "body", "patterns", 1)
    questions = [
        question(1, "a"),
        refused,
        question(fakes.REFUSED_SEED, "c"),
        question(fakes.BROKEN_SEED, "d"),
        question(2, "e"),
    ]
    found = answers(questions, size)
    assert [entry["result"] and entry["result"]["name"] for entry in found] == ["a", None, None, None, "e"]
    kinds = [entry["error"] and entry["error"]["kind"] for entry in found]
    assert kinds == [None, "invalid-input", "invalid-input", "internal-error", None]
    assert found[1]["error"]["errors"][0]["loc"] == ["body", "patterns", 1, "d_ang"]
    assert found[1]["error"]["errors"][0]["msg"].startswith("1 lines; indexing needs")


def test_an_answer_of_a_batch_is_that_of_the_pattern_alone() -> None:
    asked = question(3, "alone")
    (entry,) = answers([asked], 1)
    assert entry["result"] == json.loads(job.run(job.payload(asked), lambda _: None, lambda: False))


def test_a_part_goes_to_the_gpu_together(monkeypatch: pytest.MonkeyPatch) -> None:
    def solve_many(peaks: Any, options: Any, *, models: Any, on_done: Any, should_stop: Any) -> None:
        for number in reversed(range(len(peaks))):
            on_done(number, ZeroDivisionError() if number == 1 else fakes.solve(peaks[number], options[number]))

    monkeypatch.setattr(batch_job, "_solve_many", lambda entries: solve_many)
    questions = [replace(ask(CUBE, {}, name=name), warnings=(name,)) for name in ("a", "b", "c")]
    refused = job.error_content(InvalidInput("too few lines"))
    found = answers([questions[0], refused, *questions[1:]], 64)
    assert found[1]["error"]["detail"] == "too few lines"
    assert found[2]["error"]["detail"] == "the solver failed on this pattern"
    assert [found[index]["result"]["name"] for index in (0, 3)] == ["a", "c"]
    assert found[3]["result"]["warnings"][0] == "c"


@pytest.mark.parametrize("device", ["auto", "cpu", "gpu"])
def test_patterns_are_solved_one_by_one_without_a_gpu(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.indexing.batch.gpu_ready", lambda: False)
    found = answers([ask(CUBE, {"device": device})] * 2, 2)
    assert [one["result"]["device"] for one in found] == ["cpu", "cpu"]


def test_patterns_share_a_part_only_where_a_gpu_searches_them_together(monkeypatch: pytest.MonkeyPatch) -> None:
    for ready in (True, False):
        monkeypatch.setattr("app.indexing.walk.kernels.gpu_ready", lambda ready=ready: ready)
        assert batch_job.patterns_in_part("cpu") == 1
        assert (batch_job.patterns_in_part("auto") > 1) is ready
        assert batch_job.patterns_in_part("gpu") > 1
