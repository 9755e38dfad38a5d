"""Indexing as a job: bytes in, bytes out, progress between; the work of a worker process.

Payload and result are JSON. The result is the public answer, so that the HTTP edge can pass it on as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import orjson

from app.errors import AppError
from app.indexing.answer import progress_content, result_content
from app.indexing.learned.models import NOTHING_LEARNED, Learned
from app.indexing.learned.shelf import Shelf, tried
from app.indexing.problem import OnProgress, PeakList, Progress, ShouldStop, SolveOptions, SolveResult
from app.indexing.question import Question, question_content, question_from_content

Report = Callable[[bytes], None]
WARM_UP_S: Final = 30.0
"""For loading what is compiled, which takes seconds on a busy machine; a search that is cut short loads half of it."""


class Solve(Protocol):
    """`app.indexing.solve.solve`."""

    def __call__(
        self,
        peaks: PeakList,
        options: SolveOptions,
        on_progress: OnProgress | None = None,
        should_stop: ShouldStop | None = None,
        *,
        learned: Learned = NOTHING_LEARNED,
    ) -> SolveResult: ...


SHELF: Final = Shelf()
"""The learned parts that this process has at hand for its jobs."""


def use_store(folder: str) -> None:
    """Take learned parts from this model store from now on; an empty text leaves it as it is."""
    if folder:
        SHELF.take_from(Path(folder))


def payload(question: Question) -> bytes:
    """Write one question for `run`."""
    return to_json(question_content(question))


def run(payload: bytes, report: Report, cancelled: ShouldStop) -> bytes:
    """Solve one pattern; the answer is that of `app.indexing.answer.result_content`."""
    return to_json(answered(question_from_content(orjson.loads(payload)), report, cancelled))


def answered(question: Question, report: Report, cancelled: ShouldStop) -> dict[str, Any]:
    """Solve one pattern and give the answer as plain data."""
    result = solved(question, _reporter(report), cancelled)
    return result_content(result, wavelength_ang=question.peaks.wavelength_ang, name=question.name)


def solved(
    question: Question, on_progress: OnProgress | None = None, should_stop: ShouldStop | None = None
) -> SolveResult:
    """Solve one pattern with its learned parts. Warnings of its lines stand before the solver's own."""
    solve = _solve()

    def solve_with(learned: Learned) -> SolveResult:
        return solve(question.peaks, question.options, on_progress, should_stop, learned=learned)

    result = tried(solve_with, SHELF.at_hand(question.models))
    return replace(result, warnings=(*question.warnings, *result.warnings))


def error_content(error: AppError, *way: str | int) -> dict[str, Any]:
    """Give an error of one pattern as plain data; ``way`` leads to the pattern in the request."""
    field = error.details.get("field")
    if not isinstance(field, list):
        return {"kind": error.kind, "detail": error.message, "errors": []}
    message = error.message.removeprefix(".".join(map(str, field)) + ": ")
    found = {"loc": [*way, *field], "msg": message, "type": error.kind.replace("-", "_")}
    return {"kind": error.kind, "detail": error.message, "errors": [found]}


def _reporter(report: Report) -> OnProgress:
    def on_progress(progress: Progress) -> None:
        report(to_json(progress_content(progress)))

    return on_progress


def _solve() -> Solve:
    """The solver, imported by the worker alone: the process that answers HTTP starts without its compiled code."""
    from app.indexing.solve import solve

    return solve


def to_json(content: Any) -> bytes:
    """Write plain data, arrays among it."""
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def warm_up(store: str = "") -> None:
    """Load what jobs need, so that the first is as fast as the second: compiled code, and the learned parts.

    Args:
        store: folder of the model store; empty where there is none.
    """
    use_store(store)
    cube = np.array([1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13]) / 16.0
    question = Question(PeakList(cube, wavelength_ang=1.5406), SolveOptions(max_seconds=WARM_UP_S))
    # Learned parts spare a search most of its code, which other lines will need.
    solved(question)
    if models := SHELF.default():
        solved(question.with_models(models))
