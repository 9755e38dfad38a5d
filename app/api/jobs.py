"""Long work over HTTP: look at a job, cancel it, and how a router answers for one."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Header, Path, Query, Request
from pydantic import Field
from starlette.responses import Response

from app.api.prefer import Preference, preference
from app.api.problems import KINDS, documented, problem
from app.api.schema import JSON, Output
from app.api.seams import CallerOf, JobsOf
from app.errors import Unauthenticated
from app.jobs.job import Failure, JobRecord, State
from app.jobs.service import Jobs

RETRY_AFTER_S: Final = 1
"""When to look again at a job that has not finished."""
CLIENT_GONE: Final = 499
MOST_LISTED: Final = 1000

router = APIRouter(prefix="/jobs", tags=["jobs"])

JobId = Annotated[
    str,
    Path(
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
        description="As in the `Location` of the answer that accepted the job.",
        examples=["5f0c9be1d7a24c6e8b3f10a2c4d6e8f0"],
    ),
]

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=200,
        pattern=r"^[ -~]+$",
        description="Of your choice, such as a UUID: sent again with the same request it gives the same job, with "
        "another one 422. A job with a key is not cancelled by hanging up: ask again.",
        examples=["1f0c9f6e-5f0a-4f8f-9b2a-3c7d1f4f2f10"],
    ),
]
"""For every endpoint that submits jobs."""


class JobProblem(Output):
    """Why a job failed: the problem that the request would have been answered with; it may have further members."""

    type: Annotated[str, Field(description="Kind of problem: the address of its page on this service.")]
    title: Annotated[str, Field(description="The kind in one line, the same for every occurrence.")]
    status: Annotated[int, Field(description="HTTP status that the request would have been answered with.")]
    detail: Annotated[str, Field(description="What was found, what was expected and how to mend it.")]


class JobSummary(Output):
    """A job and how it stands, without its result."""

    id: Annotated[str, Field(description="Its owner, and who may administrate, may look at the job and cancel it.")]
    owner: Annotated[
        str | None,
        Field(
            description="Who submitted it; `null`: a caller without a key, so that whoever knows the id may do both.",
            examples=["key:d3-control"],
        ),
    ]
    kind: Annotated[str, Field(description="What it works on.", examples=["indexing.solve"])]
    state: Annotated[State, Field(description="`done`, `failed` and `cancelled` are final.")]
    priority: Annotated[int, Field(description="Higher ones are started first: 10 where somebody waits, 0 of batches.")]
    created: Annotated[datetime, Field(description="When it was submitted (UTC).")]
    started: Annotated[datetime | None, Field(description="When a worker took it (UTC); of the last attempt.")]
    finished: Annotated[datetime | None, Field(description="When it ended (UTC).")]
    attempts: Annotated[int, Field(description="Starts; more than one where a worker or the service died.")]
    progress: Annotated[
        Any,
        Field(
            description="What it last reported; what that holds depends on the kind. Of batches `done` and `total`.",
            examples=[{"done": 3, "total": 20}],
        ),
    ]
    problem: Annotated[JobProblem | None, Field(description="Of a job that failed.")]


class Job(JobSummary):
    """A job and how it stands."""

    result: Annotated[
        Any, Field(description="The answer, as the request itself would have given it; of a cancelled job what it had.")
    ]


class JobList(Output):
    """Jobs, the newest first."""

    jobs: list[JobSummary]


@router.get(
    "",
    summary="List jobs",
    response_model=JobList,
    responses=documented("invalid-input", "jobs-unavailable"),
)
async def list_jobs(
    jobs: JobsOf,
    caller: CallerOf,
    state: Annotated[State | None, Query(description="Only those in this state.")] = None,
    kind: Annotated[
        str | None, Query(max_length=64, description="Only those of this kind.", examples=["indexing.batch"])
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED, description="At most as many.")] = 100,
) -> Response:
    """The caller's newest jobs, without their results; with the scope `admin` those of all.

    Callers without a key get no list: an id lets them read and cancel the job. `python -m app jobs list` shows all.
    """
    if not caller.name:
        raise Unauthenticated(
            "Jobs are listed for callers with a key; whoever runs the service makes one: `python -m app keys create`."
        )
    found = await jobs.list(state=state, kind=kind, limit=limit, owner=caller.reads)
    return Response(orjson.dumps({"jobs": [summary(record) for record in found]}), media_type=JSON)


@router.get(
    "/{job_id}",
    summary="How a job stands",
    response_model=Job,
    responses=documented("not-found", "gone", "invalid-input", "jobs-unavailable"),
)
async def show_job(job_id: JobId, jobs: JobsOf, caller: CallerOf) -> Response:
    """Its state, its progress while it runs, and its result when it is done.

    Look again after as many seconds as `Retry-After` says, until the state is `done`, `failed` or `cancelled`. Results
    are kept for a day, or as the service's settings say; afterwards the answer is 410.
    """
    return job_answer(await jobs.get(job_id, caller.reads))


@router.delete(
    "/{job_id}",
    summary="Cancel a job",
    response_model=Job,
    responses={202: {"model": Job, "description": "It is being cancelled"}}
    | documented("not-found", "gone", "invalid-input", "jobs-unavailable"),
)
async def cancel_job(job_id: JobId, jobs: JobsOf, caller: CallerOf) -> Response:
    """Cancel it: within a second it no longer runs. A job that has finished stays as it is, so asking twice is safe."""
    record = await jobs.cancel(job_id, caller.reads)
    return job_answer(record, status=200 if record.finished else 202)


async def answer_or_accept(
    request: Request,
    jobs: Jobs,
    job_id: str,
    *,
    max_wait_s: float,
    cancel_on_disconnect: bool = True,
) -> JobRecord | Response:
    """Wait for a job for as long as the caller's ``Prefer`` header has patience.

    Args:
        request: the request that the job answers; its body has been read.
        max_wait_s: patience of a caller who names none, and the most of any. ``respond-async`` alone asks for none.
        cancel_on_disconnect: cancel the job where the caller hangs up before there is an answer.

    Returns:
        The record of a job that is done; else the response to give: 202 with the job's address where patience has
        ended, the problem where the job failed or was cancelled.
    """
    preferred = preference(request.headers.getlist("prefer"))
    record = await _wait(request, jobs, job_id, preferred.patience_s(max_wait_s))
    if record is None:
        if cancel_on_disconnect:
            await jobs.cancel(job_id)
        return Response(status_code=CLIENT_GONE)
    if record.state == "done":
        return record
    if record.failure is not None:
        return failure_answer(record.failure)
    if record.state == "cancelled":
        return problem("conflict", "The job was cancelled before it was done.", members={"job": job_id})
    return _accepted(request, record, preferred)


async def _wait(request: Request, jobs: Jobs, job_id: str, patience_s: float) -> JobRecord | None:
    """Give the record as it is when the job or patience ends; None where the caller hangs up."""
    if patience_s <= 0:
        return await jobs.get(job_id)
    finished = asyncio.ensure_future(jobs.wait(job_id, patience_s))
    hung_up = asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait({finished, hung_up}, return_when=asyncio.FIRST_COMPLETED)
        return finished.result() if finished.done() else None
    finally:
        finished.cancel()
        hung_up.cancel()


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _accepted(request: Request, record: JobRecord, preferred: Preference) -> Response:
    address = f"{request.scope.get('root_path', '')}/jobs/{record.id}"
    headers = {"Location": address}
    if preferred.applied:
        headers["Preference-Applied"] = preferred.applied
    return job_answer(record, status=202, headers=headers)


def job_answer(record: JobRecord, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Answer with a record; its progress and its result are put into the body as they are."""
    sent = dict(headers or {})
    if not record.finished:
        sent["Retry-After"] = str(RETRY_AFTER_S)
    return Response(job_json(record), status, sent, JSON)


def job_json(record: JobRecord) -> bytes:
    """Write a record as the model `Job` has it."""
    return orjson.dumps(summary(record) | {"result": record.result and orjson.Fragment(record.result)})


def summary(record: JobRecord) -> dict[str, Any]:
    """Give a record as the model `JobSummary` has it, as plain data that orjson writes."""
    return {
        "id": record.id,
        "owner": record.principal or None,
        "kind": record.kind,
        "state": record.state,
        "priority": record.priority,
        "created": _time(record.created_s),
        "started": _time(record.started_s),
        "finished": _time(record.finished_s),
        "attempts": record.attempts,
        "progress": record.progress and orjson.Fragment(record.progress),
        "problem": record.failure and orjson.Fragment(bytes(failure_answer(record.failure, of_request=False).body)),
    }


def _time(unix_s: float | None) -> datetime | None:
    return None if unix_s is None else datetime.fromtimestamp(unix_s, UTC)


def failure_answer(failure: Failure, *, of_request: bool = True) -> Response:
    """The problem for a failed job; not ``of_request``, it names no request."""
    kind = failure.kind if failure.kind in KINDS else "internal-error"
    return problem(kind, failure.detail, members=failure.details, of_request=of_request)
