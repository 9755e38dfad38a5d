"""Powder indexing of many patterns over HTTP: a list of them, or files, as one job made of parts."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final

import anyio
import anyio.to_thread
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from app.api.indexing import (
    ACCEPTED,
    JOB_KINDS,
    MARGIN_S,
    WORKING_THREADS,
    Limits,
    PreferHeader,
    Work,
    check_options,
    finished,
    learned,
    located,
)
from app.api.indexing_files import SolveQuery, of_file
from app.api.indexing_models import Chosen, LearnedParts
from app.api.indexing_schema import (
    BATCH_EXAMPLES,
    BatchAnswer,
    BatchRequest,
    FilesAnswer,
    LinesIn,
    OptionsIn,
    RefusedPattern,
)
from app.api.jobs import IdempotencyKey
from app.api.negotiation import BINARY
from app.api.problems import BODY, documented
from app.api.schema import JSON, JsonBody
from app.api.seams import JobsOf
from app.api.uploads import File, form_body, form_files
from app.errors import AppError, TooLarge
from app.indexing import batch_job, files_job
from app.indexing.job import error_content
from app.indexing.question import Question, ask
from app.jobs.job import BATCH

FIELD: Final = "files"

_BODY: Final = JsonBody(BatchRequest, examples=BATCH_EXAMPLES)
_FILES: Final = form_body(
    {FIELD: {"type": "array", "items": {**BINARY}, "description": "Patterns, lists of lines, or zips of them."}},
    ("application/zip",),
)
_KINDS: Final = tuple(kind for kind in JOB_KINDS if kind != "not-acceptable")


class FilesQuery(SolveQuery):
    """What may be said beside many files: the same of all."""


def create_router(limits: Limits, parts: LearnedParts) -> APIRouter:
    """Make the router; the limits come from the settings, which only the application reads."""
    router = APIRouter(prefix="/indexing", tags=["indexing"])
    threads = anyio.CapacityLimiter(WORKING_THREADS)

    @router.post(
        "/solve/batch",
        summary="Index many patterns",
        response_model=BatchAnswer,
        responses={**ACCEPTED, **documented(*BODY, *_KINDS)},
        openapi_extra=_BODY.openapi,
    )
    async def solve_batch(
        asked: Annotated[BatchRequest, Depends(_BODY)],
        request: Request,
        jobs: JobsOf,
        prefer: PreferHeader = None,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Ranked cells of each pattern, in the order of the patterns; what is wrong with one is told in its place.

        Made for series: send `Prefer: respond-async` and look at the job, whose `progress` counts the patterns
        (`done`, `total`; on a GPU, groups of 64 of them). A single pattern is never behind a batch.
        """
        chosen = await learned(parts, asked, "body")
        work = await anyio.to_thread.run_sync(partial(_batch_work, asked, chosen, limits), limiter=threads)
        return await _answered(request, jobs, work, idempotency_key)

    @router.post(
        "/solve/files",
        summary="Index many measured patterns",
        response_model=FilesAnswer,
        responses={**ACCEPTED, **documented(*BODY, *_KINDS)},
        openapi_extra=_FILES,
        max_body_size=limits.upload_bytes,
    )
    async def solve_files(
        query: Annotated[FilesQuery, Query()],
        request: Request,
        jobs: JobsOf,
        prefer: PreferHeader = None,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Ranked cells of each file, in the order of the files; a file that cannot be read is told in its place.

        Send a form with many `files`, or one zip of them; each is what `/indexing/solve/file` takes, and the options
        are the same for all. Send `Prefer: respond-async` and look at the job, whose `progress` counts the files.
        """
        sent = (await form_files(request, query.filename, field=FIELD, most=limits.patterns))[FIELD]
        chosen = await learned(parts, query, "query")
        work = await anyio.to_thread.run_sync(partial(_files_work, sent, query, chosen, limits), limiter=threads)
        return await _answered(request, jobs, work, idempotency_key)

    return router


async def _answered(request: Request, jobs: JobsOf, work: Work, key: str | None) -> Response:
    result = await finished(request, jobs, work, key)
    return result if isinstance(result, Response) else Response(result, media_type=JSON)


def _batch_work(asked: BatchRequest, chosen: Chosen, limits: Limits) -> Work:
    size = batch_job.patterns_in_part(asked.device)
    questions = _questions(asked, limits, size)
    with_models = [
        one.with_models(chosen.models, chosen.warnings) if isinstance(one, Question) else one for one in questions
    ]
    return Work(
        "indexing.batch",
        b"{}",
        asked.max_seconds * len(questions) + MARGIN_S,
        asked=lambda: b"".join(batch_job.parts(questions, size)) + chosen.words,
        priority=BATCH,
        parts=batch_job.parts(with_models, size),
    )


def _questions(asked: BatchRequest, limits: Limits, size: int) -> list[Question | dict[str, Any]]:
    if len(asked.patterns) > limits.patterns:
        raise TooLarge(f"{len(asked.patterns)} patterns, at most {limits.patterns} are taken: split the request")
    try:
        check_options(asked, limits, min(size, len(asked.patterns)))
    except AppError as error:
        raise located(error, "body") from None
    return [_in_place(pattern, index, asked) for index, pattern in enumerate(asked.patterns)]


def _in_place(pattern: LinesIn | RefusedPattern, index: int, options: OptionsIn) -> Question | dict[str, Any]:
    way = ("body", "patterns", index)
    if isinstance(pattern, RefusedPattern):
        return pattern.content(*way)
    try:
        return ask(pattern.lines(), options.changes(), name=pattern.name or "")
    except AppError as error:
        return error_content(error, *way)


def _files_work(sent: list[File], query: FilesQuery, chosen: Chosen, limits: Limits) -> Work:
    try:
        check_options(query, limits)
        found = files_job.unpacked(sent, most=limits.patterns, total_bytes=limits.upload_bytes)
    except AppError as error:
        raise of_file(error, FIELD) from None
    options, changes, about = query.options(), query.changes(), files_job.payload(found)
    return Work(
        "indexing.files",
        about,
        query.max_seconds * len(found.files) + MARGIN_S,
        asked=lambda: about + b"".join(files_job.parts(found, options, changes)) + chosen.words,
        priority=BATCH,
        parts=files_job.parts(found, options, changes, chosen.models, chosen.warnings),
    )
