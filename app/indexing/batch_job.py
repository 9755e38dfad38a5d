"""Many patterns as one job made of parts: each part solves one of them, or as many as a GPU searches together.

An entry of a part is a question or the error of a pattern that was refused; every answer stands in its entry's place.
Payloads and results are JSON, see `app.indexing.job`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, Protocol

import orjson
import structlog

from app.errors import AppError
from app.indexing.answer import result_content
from app.indexing.job import SHELF, Report, answered, error_content, to_json, use_store
from app.indexing.problem import PeakList, ShouldStop, SolveOptions, SolveResult, UsedModel
from app.indexing.question import Question, question_content, question_from_content

GPU_PATTERNS: Final = 64
"""Patterns of one part where a GPU searches them together."""

_log = structlog.stdlib.get_logger("app.indexing")


class SolveMany(Protocol):
    """`app.indexing.batch.solve_many` with its device and processes chosen."""

    def __call__(
        self,
        peaks: Sequence[PeakList],
        options: Sequence[SolveOptions],
        *,
        models: Sequence[Sequence[UsedModel]],
        on_done: Callable[[int, SolveResult | Exception], None],
        should_stop: ShouldStop,
    ) -> object: ...


warm_up = use_store
"""What is compiled is warmed up by `app.indexing.job`."""


def patterns_in_part(device: str) -> int:
    """How many patterns of a batch are one part: one, or as many as a GPU takes where there is one to use."""
    from app.indexing.walk.kernels import gpu_ready

    return GPU_PATTERNS if device == "gpu" or (device == "auto" and gpu_ready()) else 1


def parts(questions: Sequence[Question | Mapping[str, Any]], size: int = 1) -> list[bytes]:
    """Write questions as the parts of a job, ``size`` in each; a mapping is the `error_content` of a refused one."""
    entries = [
        {"question": question_content(one)} if isinstance(one, Question) else {"refused": dict(one)}
        for one in questions
    ]
    return [to_json(entries[at : at + size]) for at in range(0, len(entries), size)]


def run(payload: bytes, report: Report, cancelled: ShouldStop) -> bytes:
    """Solve the patterns of one part, together where there is a GPU; gives the list of their answers."""
    entries = orjson.loads(payload)
    together = _solve_many(entries) if len(entries) > 1 else None
    if together is not None:
        return to_json(_together(entries, together, cancelled))
    return to_json([_in_place(entry, report, cancelled) for entry in entries])


def join(_payload: bytes, results: Sequence[bytes]) -> bytes:
    """Put the answers of all parts together; each part's result is a list."""
    return b'{"answers":[' + b",".join(result[1:-1] for result in results) + b"]}"


def in_place(question: Question, report: Report, cancelled: ShouldStop) -> dict[str, Any]:
    """One answer of many: ``result`` or ``error``, the other is None."""
    try:
        return {"result": answered(question, report, cancelled), "error": None}
    except AppError as error:
        return {"result": None, "error": error_content(error)}
    except Exception as error:
        return {"result": None, "error": failed(error)}


def _in_place(entry: Mapping[str, Any], report: Report, cancelled: ShouldStop) -> dict[str, Any]:
    if "refused" in entry:
        return {"result": None, "error": entry["refused"]}
    return in_place(question_from_content(entry["question"]), report, cancelled)


def failed(error: Exception) -> dict[str, Any]:
    """What is told of an error that nobody foresaw; the log has the rest."""
    _log.error("a pattern of a batch failed", exc_info=error)
    return error_content(AppError("the solver failed on this pattern"))


def _together(
    entries: Sequence[Mapping[str, Any]], solve_many: SolveMany, cancelled: ShouldStop
) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = [{"result": None, "error": entry.get("refused")} for entry in entries]
    places = [index for index, entry in enumerate(entries) if "question" in entry]
    questions = [question_from_content(entries[index]["question"]) for index in places]

    def on_done(number: int, answer: SolveResult | Exception) -> None:
        answers[places[number]] = _content_of(questions[number], answer)

    solve_many(
        [question.peaks for question in questions],
        [question.options for question in questions],
        models=[question.models for question in questions],
        on_done=on_done,
        should_stop=cancelled,
    )
    return answers


def _content_of(question: Question, answer: SolveResult | Exception) -> dict[str, Any]:
    if isinstance(answer, SolveResult):
        answer = replace(answer, warnings=(*question.warnings, *answer.warnings))
        content = result_content(answer, wavelength_ang=question.peaks.wavelength_ang, name=question.name)
        return {"result": content, "error": None}
    return {"result": None, "error": error_content(answer) if isinstance(answer, AppError) else failed(answer)}


def _solve_many(entries: Sequence[Mapping[str, Any]]) -> SolveMany | None:
    """The solver of many patterns at once, where there is a GPU and no pattern is to stay away from it."""
    devices = {entry["question"]["options"].get("device") for entry in entries if "question" in entry}
    if not devices or "cpu" in devices:
        return None
    from app.indexing.batch import device_search, kept_finishers, solve_many

    search = device_search("auto")
    return partial(solve_many, search=search, finishers=kept_finishers(), shelf=SHELF) if search is not None else None
