"""Indexing as a job: bytes in, bytes out, progress between; the work of a worker process.

Payload and result are JSON. The result is the public answer, so that the HTTP edge can pass it on as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, Protocol

import numpy as np
import orjson
import structlog

from app.errors import AppError
from app.indexing.answer import progress_content, result_content
from app.indexing.problem import OnProgress, PeakList, Progress, ShouldStop, SolveOptions, SolveResult
from app.indexing.question import Question, question_content, question_from_content

Report = Callable[[bytes], None]
WARM_UP_S: Final = 1.0

_log = structlog.stdlib.get_logger("app.indexing")


class Solve(Protocol):
    """`app.indexing.solve.solve`."""

    def __call__(
        self,
        peaks: PeakList,
        options: SolveOptions,
        on_progress: OnProgress | None = None,
        should_stop: ShouldStop | None = None,
    ) -> SolveResult: ...


class SolveMany(Protocol):
    """`app.indexing.batch.solve_many` with its device and processes chosen."""

    def __call__(
        self,
        peaks: Sequence[PeakList],
        options: Sequence[SolveOptions],
        *,
        on_done: Callable[[int, SolveResult | Exception], None],
        should_stop: ShouldStop,
    ) -> object: ...


def payload(question: Question) -> bytes:
    """Write one question for `run`."""
    return _bytes(question_content(question))


def batch_payload(questions: Sequence[Question | Mapping[str, Any]]) -> bytes:
    """Write questions for `run_batch`; a mapping is the `error_content` of a pattern that was refused."""
    return _bytes(
        [
            {"question": question_content(one)} if isinstance(one, Question) else {"refused": dict(one)}
            for one in questions
        ]
    )


def run(payload: bytes, report: Report, cancelled: ShouldStop) -> bytes:
    """Solve one pattern; the answer is that of `app.indexing.answer.result_content`."""
    return _bytes(answered(question_from_content(orjson.loads(payload)), report, cancelled))


def run_batch(payload: bytes, report: Report, cancelled: ShouldStop) -> bytes:
    """Solve patterns, together where there is a GPU; the answers keep their order, and an error stays in its place."""
    entries = orjson.loads(payload)
    together = _solve_many(entries)
    if together is not None:
        return _bytes({"answers": _together(entries, together, report, cancelled)})
    answers: list[dict[str, Any]] = []
    for index, entry in enumerate(entries):
        if cancelled():
            break
        answers.append(_in_place(entry, _BatchReport(report, index, len(entries)), cancelled))
        report(_bytes({"patterns_done": index + 1, "patterns": len(entries), "current": None}))
    return _bytes({"answers": answers})


def _together(
    entries: Sequence[Mapping[str, Any]], solve_many: SolveMany, report: Report, cancelled: ShouldStop
) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = [{"result": None, "error": entry.get("refused")} for entry in entries]
    places = [index for index, entry in enumerate(entries) if "question" in entry]
    questions = [question_from_content(entries[index]["question"]) for index in places]
    done = len(entries) - len(places)

    def on_done(number: int, answer: SolveResult | Exception) -> None:
        nonlocal done
        done += 1
        answers[places[number]] = _content_of(questions[number], answer)
        report(_bytes({"patterns_done": done, "patterns": len(entries), "current": None}))

    options = [question.options for question in questions]
    solve_many([question.peaks for question in questions], options, on_done=on_done, should_stop=cancelled)
    return answers


def _content_of(question: Question, answer: SolveResult | Exception) -> dict[str, Any]:
    """One answer of a batch: ``result`` or ``error``, the other is None."""
    if isinstance(answer, SolveResult):
        answer = replace(answer, warnings=(*question.warnings, *answer.warnings))
        content = result_content(answer, wavelength_ang=question.peaks.wavelength_ang, name=question.name)
        return {"result": content, "error": None}
    if not isinstance(answer, AppError):
        _log.error("a pattern of a batch failed", exc_info=answer)
        answer = AppError("the solver failed on this pattern")
    return {"result": None, "error": error_content(answer)}


def answered(question: Question, report: Report, cancelled: ShouldStop) -> dict[str, Any]:
    """Solve one pattern and give the answer as plain data."""
    result = solved(question, _reporter(report), cancelled)
    return result_content(result, wavelength_ang=question.peaks.wavelength_ang, name=question.name)


def solved(
    question: Question, on_progress: OnProgress | None = None, should_stop: ShouldStop | None = None
) -> SolveResult:
    """Solve one pattern; what is to know of its lines stands before the solver's own warnings."""
    result = _solve()(question.peaks, question.options, on_progress, should_stop)
    return replace(result, warnings=(*question.warnings, *result.warnings))


def _in_place(entry: Mapping[str, Any], report: Report, cancelled: ShouldStop) -> dict[str, Any]:
    """One answer of a batch: ``result`` or ``error``, the other is None."""
    if "refused" in entry:
        return {"result": None, "error": entry["refused"]}
    try:
        return {"result": answered(question_from_content(entry["question"]), report, cancelled), "error": None}
    except AppError as error:
        return {"result": None, "error": error_content(error)}
    except Exception:
        _log.exception("a pattern of a batch failed")
        return {"result": None, "error": error_content(AppError("the solver failed on this pattern"))}


def error_content(error: AppError, *way: str | int) -> dict[str, Any]:
    """Give an error of one pattern as plain data; ``way`` leads to the pattern in the request."""
    field = error.details.get("field")
    if not isinstance(field, list):
        return {"kind": error.kind, "detail": error.message, "errors": []}
    message = error.message.removeprefix(".".join(map(str, field)) + ": ")
    found = {"loc": [*way, *field], "msg": message, "type": error.kind.replace("-", "_")}
    return {"kind": error.kind, "detail": error.message, "errors": [found]}


class _BatchReport:
    """Tells the progress of one pattern as part of that of all."""

    def __init__(self, report: Report, index: int, count: int) -> None:
        self._report = report
        self._index = index
        self._count = count

    def __call__(self, progress: bytes) -> None:
        current = orjson.Fragment(progress)
        self._report(_bytes({"patterns_done": self._index, "patterns": self._count, "current": current}))


def _reporter(report: Report) -> OnProgress:
    def on_progress(progress: Progress) -> None:
        report(_bytes(progress_content(progress)))

    return on_progress


def _solve() -> Solve:
    """The solver, imported by the worker alone: the process that answers HTTP starts without its compiled code."""
    from app.indexing.solve import solve

    return solve


def _solve_many(entries: Sequence[Mapping[str, Any]]) -> SolveMany | None:
    """The solver of many patterns at once, where there is a GPU and no pattern is to stay away from it."""
    devices = {entry["question"]["options"].get("device") for entry in entries if "question" in entry}
    if not devices or "cpu" in devices:
        return None
    from app.indexing.batch import device_search, kept_finishers, solve_many

    search = device_search("auto")
    return partial(solve_many, search=search, finishers=kept_finishers()) if search is not None else None


def _bytes(content: Any) -> bytes:
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def warm_up() -> None:
    """Solve something small, so that the compiled code is loaded and the first job is as fast as the second."""
    cube = np.array([1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13]) / 16.0
    _solve()(PeakList(cube, wavelength_ang=1.5406), SolveOptions(max_seconds=WARM_UP_S))
