"""Powder indexing over HTTP: from line positions, or from a measured pattern, to ranked unit cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final

import anyio
import anyio.to_thread
from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.responses import Response

from app.api.indexing_answers import MEDIA_TYPES, Format, Rows, written
from app.api.indexing_models import Chosen, LearnedParts
from app.api.indexing_schema import (
    EXAMPLES,
    LearnedIn,
    LinesIn,
    OptionsIn,
    SolveAnswer,
    SolveRequest,
)
from app.api.jobs import IdempotencyKey, Job, answer_or_accept
from app.api.negotiation import VARY, accepted
from app.api.problems import BODY, documented
from app.api.schema import JsonBody
from app.api.seams import JobsOf, caller_of
from app.errors import AppError
from app.indexing import job
from app.indexing.peaks import refused
from app.indexing.question import Question, ask, solve_options
from app.jobs.job import INTERACTIVE
from app.jobs.service import Jobs

MARGIN_S: Final = 30.0
"""Beyond ``max_seconds``, how long a caller without a ``Prefer`` header waits: for a worker, and for the last step."""

WORKING_THREADS: Final = 2
"""For files and pictures; others wait, so that the rest of the service always has threads."""

JOB_KINDS: Final = (
    "not-found",
    "not-acceptable",
    "model-unavailable",
    "conflict",
    "idempotency-conflict",
    "too-many-requests",
    "job-lost",
    "job-timed-out",
    "jobs-unavailable",
)
ACCEPTED: Final[dict[int | str, dict[str, Any]]] = {
    202: {
        "model": Job,
        "description": "Not ended within the caller's patience (`Prefer`): look at `Location` for the rest.",
        "headers": {"Location": {"description": "Address of the job.", "schema": {"type": "string"}}},
    }
}
_FORMATS: Final[dict[str, Any]] = {
    "text/csv": {"schema": {"type": "string"}},
    "chemical/x-cif": {"schema": {"type": "string"}},
    "image/png": {"schema": {"type": "string", "format": "binary"}},
    "image/svg+xml": {"schema": {"type": "string"}},
}
ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The ranked cells, in the form that `Accept` asks for.", "content": _FORMATS},
    **ACCEPTED,
}
_SOLVE_BODY: Final = JsonBody(SolveRequest, examples=EXAMPLES)

FormatQuery = Annotated[
    Format | None, Query(description="Form of the answer, for clients that cannot set `Accept`; wins over it.")
]

RowsQuery = Annotated[Rows, Query(description="Rows of the CSV: one for each cell, or for each line of each cell.")]
PreferHeader = Annotated[
    str | None,
    Header(
        description="`wait=N`: answer 202 with a job after N seconds. `respond-async`: at once. Left out: wait.",
        examples=["wait=5"],
    ),
]
"""For the documentation; `app.api.jobs` reads the header itself."""


@dataclass(frozen=True)
class Limits:
    """What one request may ask for.

    Attributes:
        max_seconds: longest search of one pattern [s].
        max_job_seconds: longest that one run of a worker may take [s].
        patterns: most patterns in one request.
        upload_bytes: largest upload [bytes].
    """

    max_seconds: float = 600.0
    max_job_seconds: float = 3600.0
    patterns: int = 1000
    upload_bytes: int = 64 * 1024 * 1024


def create_router(limits: Limits, parts: LearnedParts) -> APIRouter:
    """Make the router; the limits come from the settings, which only the application reads."""
    router = APIRouter(prefix="/indexing", tags=["indexing"])
    threads = anyio.CapacityLimiter(WORKING_THREADS)

    @router.post(
        "/solve",
        summary="Index a list of lines",
        response_model=SolveAnswer,
        responses={**ANSWERS, **documented(*BODY, *JOB_KINDS)},
        openapi_extra=_SOLVE_BODY.openapi,
    )
    async def solve_lines(
        asked: Annotated[SolveRequest, Depends(_SOLVE_BODY)],
        request: Request,
        jobs: JobsOf,
        format: FormatQuery = None,
        rows: RowsQuery = "cells",
        prefer: PreferHeader = None,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Unit cells that explain the lines, ranked by how probable each is.

        Waits for the answer, which `max_seconds` bounds. With `Prefer: wait=N` (seconds) or `Prefer: respond-async` a
        search that takes longer answers 202 with the address of a job, which shows the progress and then the same
        answer. Hanging up cancels the search. `Accept` chooses JSON, CSV, CIF or a picture.
        """
        form = format or accepted(request.headers.get("accept"), MEDIA_TYPES)
        question = _question(asked, asked, limits)
        chosen = await learned(parts, asked, "body")
        result = await finished(request, jobs, Work.of(question, chosen), idempotency_key)
        if isinstance(result, Response):
            return result
        writing = partial(written, result, form, question.peaks, rows=rows)
        content = result if form == "json" else await anyio.to_thread.run_sync(writing, limiter=threads)
        return Response(content, headers=VARY, media_type=MEDIA_TYPES[form])

    return router


@dataclass(frozen=True)
class Work:
    """A job to submit.

    Attributes:
        patience_s: how long a caller without a preference waits for it.
        asked: the caller's own words, without the versions that aliases name today: with the same key they ask for the
            same job, also when an alias has moved meanwhile.
    """

    kind: str
    payload: bytes
    patience_s: float
    asked: Callable[[], bytes]
    priority: int = INTERACTIVE
    parts: Sequence[bytes] = ()

    @classmethod
    def of(cls, question: Question, chosen: Chosen) -> Work:
        """The job of one pattern."""
        return cls(
            "indexing.solve",
            job.payload(question.with_models(chosen.models, chosen.warnings)),
            question.options.max_seconds + MARGIN_S,
            asked=lambda: job.payload(question) + chosen.words,
        )


async def finished(request: Request, jobs: Jobs, work: Work, key: str | None = None) -> bytes | Response:
    """Do a job: its result, or the answer to give in place of it.

    A caller who hangs up cancels the job, but not where it gave a key: with that it may ask again.
    """
    asked = None if key is None else await anyio.to_thread.run_sync(work.asked)
    owner = caller_of(request).name
    job_id = await jobs.submit(
        work.kind, work.payload, priority=work.priority, parts=work.parts, key=key, asked=asked, owner=owner
    )
    record = await answer_or_accept(request, jobs, job_id, max_wait_s=work.patience_s, cancel_on_disconnect=key is None)
    return record if isinstance(record, Response) else record.result or b"{}"


async def learned(parts: LearnedParts, asked: LearnedIn, where: str) -> Chosen:
    """Resolve the learned parts of a request, whose options stand in its ``body`` or ``query``.

    Raises:
        AppError: as `LearnedParts.chosen`, with the place of what is wrong.
    """
    try:
        return await parts.chosen(asked)
    except AppError as error:
        raise located(error, where) from None


def _question(lines: LinesIn, options: OptionsIn, limits: Limits) -> Question:
    try:
        check_options(options, limits)
        return ask(lines.lines(), options.changes(), name=lines.name or "")
    except AppError as error:
        raise located(error, "body") from None


def check_options(options: OptionsIn, limits: Limits, patterns: int = 1) -> None:
    """Check what all patterns of a request share.

    Args:
        patterns: how many are searched one after another, by one worker.

    Raises:
        InvalidInput: a search longer than the service allows, or options that exclude each other.
    """
    if options.max_seconds > limits.max_seconds:
        raise refused(
            ["max_seconds"], f"found {options.max_seconds:g}, this service allows at most {limits.max_seconds:g}"
        )
    if (seconds := options.max_seconds * patterns) > limits.max_job_seconds:
        found = "it" if patterns == 1 else f"{patterns} patterns of {options.max_seconds:g} s"
        raise refused(
            ["max_seconds"],
            f"{found} may take {seconds:g} s, and one worker may be busy for {limits.max_job_seconds:g} s at most: "
            "lower max_seconds",
        )
    solve_options(options.changes())


def located(error: AppError, *way: str | int) -> AppError:
    """The same error, with its field among ``errors`` as those of the schema are."""
    found = job.error_content(error, *way)["errors"]
    return type(error)(error.message, details={"errors": found}) if found else error
