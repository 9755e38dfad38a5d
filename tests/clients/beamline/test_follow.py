"""A job is followed to its end through whatever happens to the connection."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from beamline_client import (
    Client,
    Job,
    JobCancelled,
    JobFailed,
    JobNotFinished,
    NotFound,
    Retry,
    ServiceUnreachable,
    blocking,
    flow,
)
from beamline_client.flow import Action, Open, Read, Service, Sleep, Tell

ID = "5f0c9be1"


def job(state: str, **told: Any) -> dict[str, Any]:
    summary = {"id": ID, "kind": "polarization.leave-one-out", "state": state, "priority": 0, "attempts": 1}
    times = {"created": "2026-06-05T16:03:00+00:00", "started": None, "finished": None}
    return {**summary, **times, "progress": None, "problem": None, "result": None, **told}


def event(number: int, state: str = "running", **told: Any) -> bytes:
    name = "progress" if state == "running" else state
    return f"event: {name}\ndata: {json.dumps(job(state, **told))}\nid: {number}\n\n".encode()


class Stream(httpx.SyncByteStream):
    """A stream that may break."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece


class Network:
    """Answers requests for events with one stream, or one answer, after another."""

    def __init__(self, *answers: Stream | httpx.Response | Exception, end: httpx.Response | None = None) -> None:
        self.answers = list(answers)
        self.end = end
        self.seen: list[str | None] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/events"):
            assert self.end is not None
            return self.end
        self.seen.append(request.headers.get("last-event-id"))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(200, stream=answer) if isinstance(answer, Stream) else answer


@pytest.fixture
def following(monkeypatch: pytest.MonkeyPatch) -> Callable[[Network], Client]:
    monkeypatch.setattr(blocking.time, "sleep", lambda _: None)
    return lambda network: Client("http://service", http=httpx.Client(transport=httpx.MockTransport(network)))


Following = Callable[[Network], Client]


def test_a_stream_that_breaks_is_resumed_where_it_was(following: Following) -> None:
    network = Network(
        Stream(event(1, progress=1), b"data: half an ev", httpx.ReadError("reset")),
        httpx.ConnectError("restarting"),
        httpx.Response(503, headers={"Retry-After": "1"}),
        Stream(event(2, progress=2), b": ping\n\n"),
        Stream(event(3, "done", result={"answer": 42})),
    )
    told: list[Job[Any]] = []
    result: Any = following(network).jobs.wait(ID, on_progress=told.append)
    assert result == {"answer": 42}
    assert [(one.state, one.progress) for one in told] == [("running", 1), ("running", 2), ("done", None)]
    assert network.seen == [None, "1", "1", "1", "2"]


def test_events_are_iterated_and_resumed(following: Following) -> None:
    network = Network(Stream(event(8), event(9, "done")))
    states = [one.state for one in following(network).jobs.events(ID, last_event_id="7")]
    assert states == ["running", "done"]
    assert network.seen == ["7"]


def test_where_nothing_more_will_come_the_job_itself_is_asked(following: Following) -> None:
    network = Network(httpx.Response(204), end=httpx.Response(200, json=job("done", result=1)))
    assert [one.result for one in following(network).jobs.events(ID, last_event_id="9")] == [1]


def test_why_a_job_failed_is_raised(following: Following) -> None:
    problem = {"type": "/problems/job-timed-out", "title": "The job took too long", "status": 500, "detail": "D"}
    with pytest.raises(JobFailed, match="The job took too long: D"):
        following(Network(Stream(event(1, "failed", problem=problem)))).jobs.wait(ID)


def test_a_cancelled_job_has_no_result(following: Following) -> None:
    with pytest.raises(JobCancelled, match=ID):
        following(Network(Stream(event(1, "cancelled")))).jobs.wait(ID)


def test_a_job_that_does_not_exist_is_told_at_once(following: Following) -> None:
    with pytest.raises(NotFound):
        following(network := Network(httpx.Response(404))).jobs.wait(ID)
    assert len(network.seen) == 1


class Clock:
    """Time that passes while a flow waits."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(flow, "time", clock)
    return clock


def driven(steps: flow.Flow[Any], clock: Clock, do: Callable[[Action], Any]) -> Any:
    """Run a flow; ``do`` gives outcomes or raises."""
    outcome: Any = None
    action = next(steps)
    try:
        while True:
            if isinstance(action, Sleep):
                clock.now_s += action.seconds
                outcome = None
            elif isinstance(action, Tell):
                outcome = None
            else:
                try:
                    outcome = do(action)
                except Exception as error:
                    action = steps.throw(error)
                    continue
            action = steps.send(outcome)
    except StopIteration as end:
        return end.value


@pytest.mark.parametrize("timeout_s", [3.0, 20.0, 100.0])
def test_the_time_to_wait_is_kept_to_a_second(timeout_s: float, clock: Clock) -> None:
    """A service that only says every 15 s that it is there, and a connection that waits as long as it may."""
    opened: list[tuple[float, float]] = []

    def do(action: Action) -> Any:
        if isinstance(action, Open):
            opened.append((clock.now_s, action.request.silence_s or 0.0))
            return httpx.Response(200)
        assert isinstance(action, Read)
        silence_s = opened[-1][1]
        clock.now_s += min(15.0, silence_s)
        if silence_s <= 15.0:
            raise httpx.ReadTimeout("silence")
        return b": ping\n\n"

    with pytest.raises(JobNotFinished):
        driven(flow.follow(Service(), ID, lambda _: (), timeout_s=timeout_s), clock, do)
    assert timeout_s <= clock.now_s <= timeout_s + 1.0
    assert len(opened) < 6


def test_progress_does_not_prolong_the_time(clock: Clock) -> None:
    def do(action: Action) -> Any:
        if isinstance(action, Open):
            return httpx.Response(200)
        clock.now_s += 0.3
        return event(int(clock.now_s * 10))

    with pytest.raises(JobNotFinished):
        driven(flow.follow(Service(), ID, lambda _: (), timeout_s=30.0), clock, do)
    assert 30.0 <= clock.now_s <= 31.0


def test_a_service_that_stays_away_is_given_up(clock: Clock) -> None:
    def do(action: Action) -> Any:
        raise httpx.ConnectError("nobody")

    with pytest.raises(ServiceUnreachable):
        driven(flow.follow(Service(Retry(away_s=100.0)), ID, lambda _: ()), clock, do)
    assert 100.0 <= clock.now_s <= 160.0


def test_a_quiet_job_is_followed_for_days(clock: Clock) -> None:
    """Comments alone keep the patience; a connection lost after a long silence of events is opened again."""
    state = {"opened": 0}

    def do(action: Action) -> Any:
        if isinstance(action, Open):
            state["opened"] += 1
            return httpx.Response(200)
        clock.now_s += 15.0
        if state["opened"] == 1 and clock.now_s > 86400.0:
            raise httpx.ReadError("reset")
        return event(1, "done", result=1) if state["opened"] == 2 else b": ping\n\n"

    assert driven(flow.follow(Service(), ID, lambda _: ()), clock, do).result == 1
