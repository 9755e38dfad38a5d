"""The command line of long work: `python -m app jobs --help`. It uses the database that the settings name."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import orjson
import typer

from app.cli_settings import read_settings
from app.errors import InvalidInput, NotFound
from app.jobs.engine import EngineOptions
from app.jobs.job import BATCH, JobRecord
from app.jobs.kinds import KINDS
from app.jobs.onlooker import Onlooker
from app.jobs.service import Jobs
from app.logs import configure_logs

if TYPE_CHECKING:
    from app.settings import Settings

jobs = typer.Typer(
    name="jobs", help="List, follow, cancel and submit long work, or lend it this machine.", no_args_is_help=True
)

State = Literal["queued", "running", "done", "failed", "cancelled"]
Value = TypeVar("Value")
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="As `list` and `submit` print it.")]


@jobs.command("list")
def list_jobs(
    state: Annotated[State | None, typer.Option(help="Only those in this state.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only those of this kind.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most as many.")] = 20,
) -> None:
    """List the newest jobs."""
    found = _ask(lambda service: service.list(state=state, kind=kind, limit=limit))
    for record in found:
        typer.echo(_line(record))
    if not found:
        typer.echo("no jobs", err=True)


@jobs.command()
def show(
    job_id: IdArgument,
    result: Annotated[bool, typer.Option("--result", help="Print the result alone, as it is.")] = False,
) -> None:
    """Print a job as JSON, as `GET /jobs/ID` answers. With --result, exit status 1 where there is none."""
    record = _ask(lambda service: service.get(job_id))
    if not result:
        _write(_json(record))
    elif record.result is not None:
        _write(record.result)
    else:
        raise NotFound(f"the job is {record.state} and has no result")


@jobs.command()
def watch(job_id: IdArgument) -> None:
    """Print a line at each change until the job has finished. Exit status 1 unless it is done."""
    if _ask(lambda service: _watched(service, job_id)) != "done":
        raise typer.Exit(1)


@jobs.command()
def cancel(job_id: IdArgument) -> None:
    """Cancel a job; one that has finished stays as it is."""
    typer.echo(_line(_ask(lambda service: service.cancel(job_id))))


@jobs.command()
def submit(
    kind: Annotated[str, typer.Argument(help="What it works on: " + ", ".join(sorted(KINDS)) + ".")],
    payload: Annotated[Path, typer.Argument(metavar="PAYLOAD.json", help="What the kind's function is called with.")],
    parts: Annotated[
        Path | None, typer.Option(metavar="PARTS.jsonl", help="One part a line; the payload is for joining them.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Submitted again with the same key, the same work is the same job.")
    ] = None,
    priority: Annotated[int, typer.Option(help="Higher ones are started first; what users wait for has 10.")] = BATCH,
) -> None:
    """Submit a job and print its id."""
    if kind not in KINDS:
        raise InvalidInput(f"there is no kind of job {kind[:64]!r}; known are {', '.join(sorted(KINDS))}")
    content = _checked(_read(payload), payload.name)
    lines = [] if parts is None else [line for line in _read(parts).splitlines() if line.strip()]
    pieces = [_checked(line, f"{parts and parts.name}, part {number}") for number, line in enumerate(lines, 1)]
    if parts is not None and not (pieces and KINDS[kind].join):
        raise InvalidInput("there is no part in the file" if not pieces else f"{kind} is not made of parts")
    typer.echo(_ask(lambda service: service.submit(kind, content, priority=priority, parts=pieces, key=key)))


@jobs.command()
def run(
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Worker processes; default BEAMLINE_JOB_WORKERS or 2.")
    ] = None,
) -> None:
    """Run jobs without serving over HTTP, until Ctrl-C: another machine lends its cores to the same database.

    What still runs at the end goes back into the queue.
    """
    settings = read_settings()
    if workers is not None:
        settings = settings.model_copy(update={"job_workers": workers})
    configure_logs(level=settings.log_level, form=settings.log_format)
    # Here, so that the other commands start without what only these need.
    import structlog

    from app.main import open_jobs
    from app.metrics import Metrics

    log = structlog.stdlib.get_logger("app.jobs")
    service = open_jobs(settings, Metrics())
    with _asked_to_stop() as stop:
        service.start()
        log.info("running jobs", workers=service.status().workers)
        try:
            stop.wait()
        finally:
            service.stop()
    log.info("no longer running jobs")


@contextmanager
def _asked_to_stop() -> Iterator[Event]:
    """Ctrl-C, or the signal of a supervisor."""
    asked = Event()
    before = [(number, signal.signal(number, lambda *_: asked.set())) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield asked
    finally:
        for number, handler in before:
            signal.signal(number, handler)


# --- the database -----------------------------------------------------------------------------------------------------


def _ask(question: Callable[[Jobs], Awaitable[Value]]) -> Value:
    """Ask the database once, without running anything."""
    settings = read_settings()
    configure_logs(level="error", form=settings.log_format)
    service = _looking(settings)
    service.start()
    try:
        return asyncio.run(_awaited(question(service)))
    finally:
        service.stop()


async def _awaited(answer: Awaitable[Value]) -> Value:
    return await answer


def _looking(settings: Settings) -> Jobs:
    limit = settings.job_queue
    return Jobs(settings.jobs_database, KINDS, EngineOptions(workers=0), max_queued=limit, engine=Onlooker())


async def _watched(service: Jobs, job_id: str) -> str:
    state = "queued"
    async for record in service.watch(job_id):
        typer.echo(_line(record))
        state = record.state
    return state


# --- what is printed and read -----------------------------------------------------------------------------------------


def _line(record: JobRecord) -> str:
    created = datetime.fromtimestamp(record.created_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    told = _progress(record.progress) if record.failure is None else record.failure.detail
    return f"{record.id}  {record.state:9}  {created}  {record.kind:24}  {told}".rstrip()


def _progress(progress: bytes | None) -> str:
    found = orjson.loads(progress) if progress else None
    if isinstance(found, dict) and {"done", "total"} <= set(found):
        return f"{found['done']}/{found['total']}"
    return "" if progress is None else progress.decode()[:100]


def _json(record: JobRecord) -> bytes:
    from app.api.jobs import job_json

    return job_json(record)


def _write(content: bytes) -> None:
    typer.get_binary_stream("stdout").write(content + b"\n")


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise NotFound(f"there is no file {path.name[:80]!r}")
    return path.read_bytes()


def _checked(content: bytes, what: str) -> bytes:
    """Refuse here what no worker could read."""
    try:
        orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"{what[:100]} is not JSON: {error}") from None
    return content.strip()
