"""What happens between a method and the network, once for the blocking and the asynchronous client.

A flow is a generator: it yields what it wants done (send a request, sleep, open a stream) and gets the outcome, or the
error, back. It does nothing by itself, so the two clients only differ in how they do these few actions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Final, TypeAlias, TypeVar
from uuid import uuid4

import httpx

from beamline_client.answers.jobs import Job
from beamline_client.decoding import decoded_json
from beamline_client.errors import (
    BeamlineError,
    JobNotFinished,
    ProblemError,
    ServiceUnreachable,
    UnexpectedAnswer,
    problem_error,
    problem_from_answer,
)
from beamline_client.events import EventDecoder
from beamline_client.retry import Retry, is_later, may_resend

R = TypeVar("R")

OK: Final = 200
ACCEPTED: Final = 202
NOTHING_MORE: Final = 204
WAIT_S: Final = 20
"""How long a request waits for its job; then the job is followed. Shorter than any proxy's patience."""
SILENCE_S: Final = 45.0
"""A stream of events says something every 15 s; after this it is taken for lost."""
EVERY_S: Final = 15.0
LAST_WISH_S: Final = 2.0
"""How long the end of an interrupted call may take."""


@dataclass(frozen=True)
class Request:
    """A request to send.

    Attributes:
        path: from the address of the service on.
        repeatable: doing it twice is as good as once, so it may be sent again where no answer came.
        silence_s: longest silence of the service [s]; None: as the client is set.
        retry: try again later where the service says so.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    content: bytes | None = None
    files: Sequence[tuple[str, tuple[str, bytes]]] = ()
    repeatable: bool = True
    silence_s: float | None = None
    retry: bool = True

    def saying(self, **headers: str) -> Request:
        """The same with further headers, ``_`` standing for ``-``."""
        return replace(
            self, headers={**self.headers, **{name.replace("_", "-"): text for name, text in headers.items()}}
        )


@dataclass(frozen=True)
class Send:
    """Send a request; the outcome is the whole answer."""

    request: Request
    last_wish: bool = False


@dataclass(frozen=True)
class Sleep:
    """Wait [s]."""

    seconds: float


@dataclass(frozen=True)
class Open:
    """Open a stream; the outcome is the answer, whole unless its status is 200. One is open at a time."""

    request: Request


@dataclass(frozen=True)
class Read:
    """Read on; the outcome is what came, None at the end of the stream."""


@dataclass(frozen=True)
class Tell:
    """Give a value to whoever iterates."""

    value: Any


Action: TypeAlias = Send | Sleep | Open | Read | Tell
Flow: TypeAlias = Generator[Action, Any, R]


@dataclass(frozen=True)
class Service:
    """What all calls of one client share."""

    retry: Retry = field(default_factory=Retry)


def exchange(service: Service, request: Request) -> Flow[httpx.Response]:
    """Send a request until there is an answer, as often as the client is set.

    Raises:
        ProblemError: the service refuses.
        ServiceUnreachable: there is no answer.
        UnexpectedAnswer: the answer leads elsewhere.
    """
    for attempt in count(1):
        asked_s: float | None = None
        try:
            response: httpx.Response = yield Send(request)
        except httpx.TransportError as lost:
            error: BeamlineError = unreachable(lost)
            again = may_resend(lost, repeatable=request.repeatable)
        else:
            refusal = _refusal(response)
            if refusal is None:
                return response
            error, asked_s = refusal, refusal.retry_after_s
            again = is_later(refusal, repeatable=request.repeatable)
        pause_s = service.retry.pause_s(attempt, asked_s) if again and request.retry else None
        if pause_s is None:
            raise error
        yield Sleep(pause_s)
    raise AssertionError("the loop above ends by itself")


def _refusal(response: httpx.Response) -> ProblemError | None:
    """The problem in an answer, if it is one.

    Raises:
        UnexpectedAnswer: a redirect.
    """
    if response.is_success:
        return None
    if response.is_error:
        return problem_error(problem_from_answer(response.status_code, response.headers, response.content))
    where = response.headers.get("location", "nowhere")[:200]
    raise UnexpectedAnswer(f"status {response.status_code} leads to {where}: is this the address of the service?")


def unreachable(error: httpx.TransportError) -> ServiceUnreachable:
    """An error of the connection in words; the original is its cause."""
    told = ServiceUnreachable(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
    told.__cause__ = error
    return told


def asked(service: Service, request: Request, decode: Callable[[httpx.Response], R]) -> Flow[R]:
    """Ask, and read the answer."""
    return decode((yield from exchange(service, request)))


def as_record(kind: type[R]) -> Callable[[httpx.Response], R]:
    """Reads an answer into a dataclass."""
    return lambda response: decoded_json(kind, response.content)


# --- jobs -------------------------------------------------------------------------------------------------------------

Listen: TypeAlias = Callable[[Job[Any]], object]


def keyed(request: Request) -> Request:
    """The same with an Idempotency-Key of its own: sent again, it is the same job."""
    return request.saying(Idempotency_Key=str(uuid4()))


def done(
    service: Service, request: Request, decode: Callable[[httpx.Response], R], on_progress: Listen | None = None
) -> Flow[R]:
    """Ask for what a job answers, and wait for it. Where the caller is interrupted, the job is cancelled.

    Raises:
        ProblemError: the service refuses, or the job failed.
        ServiceUnreachable: there is no answer.
    """
    request = keyed(request)
    prefer = "respond-async" if on_progress else f"wait={WAIT_S}"
    try:
        while True:
            response = yield from exchange(service, request.saying(Prefer=prefer))
            if response.status_code != ACCEPTED:
                return decode(response)
            yield from follow(service, job_from(response).id, _listening(on_progress))
            prefer = f"wait={WAIT_S}"
    except (Exception, GeneratorExit):
        raise
    except BaseException:  # interrupted, or cancelled
        yield from _cancel_at_once(request)
        raise


def _listening(listen: Listen | None) -> Callable[[Job[Any]], Iterable[Action]]:
    def tell(job: Job[Any]) -> Iterable[Action]:
        if listen is not None:
            listen(job)
        return ()

    return tell


def _cancel_at_once(request: Request) -> Flow[None]:
    """Cancel what a request with a key has begun, if it can still be told."""
    try:
        response = yield Send(replace(request.saying(Prefer="respond-async"), silence_s=LAST_WISH_S), last_wish=True)
        if response is not None and response.status_code == ACCEPTED:
            cancelling = Request("DELETE", f"/jobs/{job_from(response).id}", silence_s=LAST_WISH_S)
            yield Send(cancelling, last_wish=True)
    except (httpx.TransportError, BeamlineError):
        pass


def job_from(response: httpx.Response) -> Job[Any]:
    """Read a job; its result is plain data."""
    return decoded_json(Job[Any], response.content)


def follow(
    service: Service,
    job_id: str,
    tell: Callable[[Job[Any]], Iterable[Action]],
    *,
    timeout_s: float | None = None,
    last_event_id: str | None = None,
) -> Flow[Job[Any]]:
    """Follow a job's events to its end, whatever happens to the connection: what was heard is not told again.

    Args:
        tell: makes of each state of the job what is to be done; called with the last one too.
        timeout_s: how long to follow it [s].
        last_event_id: where an earlier listener has stopped.

    Raises:
        JobNotFinished: not within that time.
        ProblemError: there is no such job, or it may not be seen.
        ServiceUnreachable: the service was away for longer than the client is set to bear.
    """
    listening = _Listening(job_id, last_event_id, timeout_s, service.retry)
    while True:
        try:
            job = yield from _heard(service, listening, tell)
        except ProblemError as problem:  # noqa: PERF203  it waits for a network
            if not is_later(problem, repeatable=True):
                raise
            yield Sleep(listening.pause_s(problem, problem.retry_after_s))
        except httpx.TransportError as lost:
            yield Sleep(listening.pause_s(unreachable(lost)))
        else:
            if job is not None:
                return job
            if not listening.is_late:
                yield Sleep(listening.pause_s(ServiceUnreachable("the stream of events ended before the job")))


def _heard(
    service: Service, listening: _Listening, tell: Callable[[Job[Any]], Iterable[Action]]
) -> Flow[Job[Any] | None]:
    """Listen until the job has finished; None where the stream, or patience with it, ends before."""
    response: httpx.Response = yield Open(listening.request())
    if response.status_code == NOTHING_MORE:
        job = job_from((yield from exchange(service, Request("GET", listening.path))))
        yield from tell(job)
        return job
    if (error := _refusal(response)) is not None:
        raise error
    decoder = EventDecoder()
    while not listening.is_late and (chunk := (yield Read())) is not None:
        listening.alive()
        for event in decoder.feed(chunk):
            job = listening.heard(event.data, event.id)
            yield from tell(job)
            if job.has_finished:
                return job
    return None


class _Listening:
    """How far a listener has come, and how patient it still is."""

    def __init__(self, job_id: str, seen: str | None, timeout_s: float | None, retry: Retry) -> None:
        self._job_id = job_id
        self.path = f"/jobs/{job_id}"
        self._seen = seen
        self._timeout_s = timeout_s
        self._retry = retry
        self._began_s = self._contact_s = time.monotonic()
        self._silence_s = SILENCE_S
        self._attempt = 0

    @property
    def _left_s(self) -> float:
        if self._timeout_s is None:
            return float("inf")
        return self._began_s + self._timeout_s - time.monotonic()

    def request(self) -> Request:
        """What opens the stream where it was left."""
        self._check_time()
        self._silence_s = min(SILENCE_S, max(self._left_s, 0.001))
        seen = {} if self._seen is None else {"Last-Event-ID": self._seen}
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store", **seen}
        return Request("GET", f"{self.path}/events", headers=headers, silence_s=self._silence_s)

    @property
    def is_late(self) -> bool:
        """The stream may stay silent beyond the end of the time: it is to be opened again, less patiently."""
        left_s = self._left_s
        return left_s < EVERY_S and self._silence_s > left_s + 1.0

    def alive(self) -> None:
        """Something came, if only a comment."""
        self._contact_s = time.monotonic()
        self._attempt = 0

    def heard(self, data: str, event_id: str | None) -> Job[Any]:
        """Read an event."""
        job = decoded_json(Job[Any], data.encode())
        self._seen = event_id if event_id is not None else self._seen
        return job

    def pause_s(self, error: BeamlineError, asked_s: float | None = None) -> float:
        """How long to wait after the stream was lost.

        Raises:
            JobNotFinished, BeamlineError: it has been too long.
        """
        self._check_time()
        if time.monotonic() - self._contact_s > self._retry.away_s + self._silence_s:
            raise error
        self._attempt += 1
        patient = replace(self._retry, attempts=self._attempt + 1, longest_pause_s=10.0)
        pause_s = patient.pause_s(self._attempt, asked_s)
        return min(10.0 if pause_s is None else pause_s, max(self._left_s, 0.0))

    def _check_time(self) -> None:
        if self._left_s <= 0:
            raise JobNotFinished(self._job_id, self._timeout_s or 0.0)
