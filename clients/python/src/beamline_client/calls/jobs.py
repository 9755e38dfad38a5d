"""Long work: submit it, follow it, cancel it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote

from beamline_client.answers.indexing import BatchAnswer, FilesAnswer, SolveAnswer
from beamline_client.answers.jobs import Job, JobList, JobSummary, State
from beamline_client.calls.indexing import batch_request, files_request, solve_file_request, solve_request
from beamline_client.decoding import decoded
from beamline_client.encoding import File, query
from beamline_client.errors import BeamlineError, JobCancelled, UnexpectedAnswer, problem_error, problem_from_json
from beamline_client.flow import (
    Action,
    Flow,
    Listen,
    Request,
    Service,
    Tell,
    as_record,
    asked,
    exchange,
    follow,
    job_from,
    keyed,
)
from beamline_client.inputs import Lines, Question, SearchOptions, SolveFileOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack

R = TypeVar("R")

RESULTS: Final[Mapping[str, type[Any]]] = {
    "indexing.solve": SolveAnswer,
    "indexing.batch": BatchAnswer,
    "indexing.files": FilesAnswer,
}
"""What the jobs of each kind answer; results of others stay plain data."""


def submit_solve(service: Service, **question: Unpack[Question]) -> Flow[Job[SolveAnswer]]:
    """Submit a search for the cells of a list of lines, and do not wait.

    Args:
        question: as of `Client.solve`.

    Raises:
        ProblemError: the service refuses; `Busy` where too many jobs wait.
        ServiceUnreachable: there is no answer.
    """
    return _submitted(service, solve_request(**question))


def submit_solve_file(service: Service, file: File, **options: Unpack[SolveFileOptions]) -> Flow[Job[SolveAnswer]]:
    """The same for a measured pattern; arguments and errors as of `Client.solve_file`."""
    return _submitted(service, solve_file_request(file, **options))


def submit_solve_batch(
    service: Service, patterns: Sequence[Lines], **options: Unpack[SearchOptions]
) -> Flow[Job[BatchAnswer]]:
    """The same for many lists of lines; arguments and errors as of `Client.solve_batch`."""
    return _submitted(service, batch_request(patterns, **options))


def submit_solve_files(service: Service, *files: File, **options: Unpack[SolveFileOptions]) -> Flow[Job[FilesAnswer]]:
    """The same for many measured patterns; arguments and errors as of `Client.solve_files`."""
    return _submitted(service, files_request(*files, **options))


def _submitted(service: Service, request: Request) -> Flow[Job[Any]]:
    """Submit with a key, so that a lost answer costs nothing."""
    response = yield from exchange(service, keyed(request).saying(Prefer="respond-async"))
    if response.status_code != 202:
        raise UnexpectedAnswer(f"expected status 202 with a job, found {response.status_code}")
    return _typed(job_from(response))


def get(service: Service, job: Job[R] | str) -> Flow[Job[R]]:
    """A job and how it stands.

    Args:
        job: the job, or its id.

    Raises:
        NotFound: there is none, or it is somebody else's.
        Gone: its result is no longer kept.
    """
    return asked(service, Request("GET", _path(job)), lambda response: _typed(job_from(response)))


def cancel(service: Service, job: Job[R] | str) -> Flow[Job[R]]:
    """Cancel a job; one that has finished stays as it is.

    Raises:
        NotFound: there is none, or it is somebody else's.
    """
    return asked(service, Request("DELETE", _path(job)), lambda response: _typed(job_from(response)))


def show(
    service: Service, *, state: State | None = None, kind: str | None = None, limit: int | None = None
) -> Flow[list[JobSummary]]:
    """The newest jobs of whoever has the key; with the scope ``admin`` those of all.

    Raises:
        Unauthenticated: there is no key.
    """
    asking = Request("GET", "/jobs", query({"state": state, "kind": kind, "limit": limit}))
    return asked(service, asking, lambda response: as_record(JobList)(response).jobs)


def events(
    service: Service, job: Job[R] | str, *, last_event_id: str | None = None, timeout_s: float | None = None
) -> Flow[Job[R]]:
    """Iterate over the states of a job, as they change, to the last one. Connections that break are opened again.

    Leaving the loop does not cancel the job.

    Args:
        job: the job, or its id.
        last_event_id: where an earlier listener has stopped.
        timeout_s: how long to follow it [s].

    Raises:
        JobNotFinished: not within that time.
        NotFound: there is none, or it is somebody else's.
        ServiceUnreachable: the service was away for longer than `Retry.away_s`.
    """

    def tell(state: Job[Any]) -> Iterable[Action]:
        return (Tell(_typed(state)),)

    return follow(service, _id(job), tell, timeout_s=timeout_s, last_event_id=last_event_id)


def wait(
    service: Service, job: Job[R] | str, *, on_progress: Listen | None = None, timeout_s: float | None = None
) -> Flow[R]:
    """Wait for the result of a job. Being interrupted does not cancel it.

    Args:
        job: the job, or its id.
        on_progress: called with the `Job` at every change.
        timeout_s: how long to wait [s].

    Raises:
        JobNotFinished: not within that time.
        JobCancelled: it has no result.
        ProblemError: why it failed.
        ServiceUnreachable: the service was away for longer than `Retry.away_s`.
    """

    def tell(state: Job[Any]) -> Iterable[Action]:
        if on_progress is not None:
            on_progress(_typed(state))
        return ()

    return result((yield from follow(service, _id(job), tell, timeout_s=timeout_s)))


def result(job: Job[R]) -> R:
    """The result of a job that has finished.

    Raises:
        JobCancelled: it was cancelled.
        ProblemError: it failed.
        BeamlineError: it has not finished.
    """
    ended = _ENDS.get(job.state)
    if ended is not None:
        raise ended(job)
    found: Any = _typed(job).result
    return found


def _failed(job: Job[Any]) -> BeamlineError:
    return problem_error(problem_from_json(job.problem or {}))


_ENDS: Final[Mapping[str, Callable[[Job[Any]], BeamlineError]]] = {
    "failed": _failed,
    "cancelled": lambda job: JobCancelled(job.id),
    "queued": lambda job: BeamlineError(f"the job {job.id} has not finished"),
    "running": lambda job: BeamlineError(f"the job {job.id} has not finished"),
}


def _typed(job: Job[Any]) -> Job[Any]:
    """The same with its result as a dataclass, where its kind is known."""
    kind = RESULTS.get(job.kind)
    is_plain = isinstance(job.result, dict)
    return replace(job, result=decoded(kind, job.result)) if kind is not None and is_plain else job


def _id(job: Job[Any] | str) -> str:
    return quote(job if isinstance(job, str) else job.id, safe="")


def _path(job: Job[Any] | str) -> str:
    return f"/jobs/{_id(job)}"
