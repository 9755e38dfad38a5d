"""A job as server-sent events: told of every change in place of asking for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.exceptions import HTTPException

from app.api.jobs import JobId, job_json
from app.api.problems import documented
from app.api.seams import CallerOf, JobsOf
from app.jobs.job import JobRecord

router = APIRouter(prefix="/jobs", tags=["jobs"])

NOTHING_MORE: Final = 204
"""Tells a browser's EventSource not to come back."""

_EXAMPLE: Final = """\
event: progress
data: {"id":"5f0c9be1d7a24c6e","kind":"indexing.batch","state":"running","progress":{"done":3,"total":20}, ...}
id: 7

: ping

event: done
data: {"id":"5f0c9be1d7a24c6e","kind":"indexing.batch","state":"done","result":{"answers": ...}, ...}
id: 41

"""
_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Events until the job has finished; `data` is the JSON of `GET /jobs/{job_id}`.",
        "content": {"text/event-stream": {"example": _EXAMPLE}},
    },
    NOTHING_MORE: {"description": "`Last-Event-ID` is that of the last event: nothing more will come."},
}

LastEventId = Annotated[
    str | None,
    Header(description="Id of the last event that arrived; only what has changed since is sent.", examples=["41"]),
]


async def _changes(
    job_id: JobId, jobs: JobsOf, caller: CallerOf, last_event_id: LastEventId = None
) -> AsyncIterator[AsyncIterator[JobRecord]]:
    """The changes of a job. What is wrong with it is told before the stream begins."""
    seen = _revision(last_event_id)
    record = await jobs.get(job_id, caller.reads)
    if record.finished and record.revision == seen:
        raise HTTPException(NOTHING_MORE)
    async with aclosing(jobs.watch(job_id, seen)) as changes:
        yield changes


def _revision(event_id: str | None) -> int | None:
    """Read an id of ours; whatever else comes is as if none had come."""
    known = event_id is not None and event_id.isascii() and event_id.isdigit() and len(event_id) <= 18
    return int(event_id) if event_id is not None and known else None


@router.get(
    "/{job_id}/events",
    summary="Follow a job",
    response_class=EventSourceResponse,
    responses=_ANSWERS | documented("not-found", "gone", "invalid-input", "jobs-unavailable"),
)
async def follow_job(changes: Annotated[AsyncIterator[JobRecord], Depends(_changes)]) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: `progress` at once and with every change, then one `done`, `failed` or `cancelled`.

    Each has the JSON of `GET /jobs/{job_id}` as its `data`. The stream ends after the last. Ids make it resumable: a
    client that was cut off sends the last one as `Last-Event-ID`, as a browser's EventSource does. A comment comes
    every 15 s without an event. Leaving does not cancel the job.
    """
    async for record in changes:
        event = record.state if record.finished else "progress"
        yield ServerSentEvent(event=event, raw_data=job_json(record).decode(), id=str(record.revision))
