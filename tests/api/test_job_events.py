"""A job followed as server-sent events, over real sockets."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, Request
from starlette.responses import Response as Answer

from app.api.access_table import EVERYBODY, rows
from app.api.seams import JobsOf
from app.jobs.engine import EngineOptions
from app.jobs.service import Jobs
from app.main import create_app
from app.settings import Settings
from tests.api.live import LONGEST_S, live
from tests.api.test_problems import assert_problem
from tests.fakes import FakeRegistry
from tests.jobs.sample_kinds import KINDS


@dataclass
class Served:
    """A service in a thread of its own."""

    app: FastAPI
    client: httpx2.Client
    address: tuple[str, int]
    loop: list[asyncio.AbstractEventLoop] = field(default_factory=list)

    @property
    def jobs(self) -> Jobs:
        return self.app.state.jobs

    def submit(self, kind: str, payload: str = "null") -> str:
        return self.client.post(f"/submit/{kind}", content=payload).json()["id"]

    def job(self, job_id: str) -> dict[str, Any]:
        return self.client.get(f"/jobs/{job_id}").json()


@contextmanager
def serving(folder: Path, **options: Any) -> Iterator[Served]:
    jobs = Jobs(f"sqlite:///{folder}/jobs.sqlite3", KINDS, EngineOptions(**options))
    app = create_app(Settings(), registry=FakeRegistry([]), jobs=jobs)
    app.state.access_table |= rows(EVERYBODY, ["POST /submit/{kind}"])
    loop: list[asyncio.AbstractEventLoop] = []

    @app.post("/submit/{kind}")
    async def submit(kind: str, jobs: JobsOf, request: Request) -> Answer:
        loop[:] = [asyncio.get_running_loop()]
        return Answer(json.dumps({"id": await jobs.submit(kind, await request.body())}))

    with live(app) as service:
        yield Served(app, service.client, service.address, loop)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("jobs"), workers=2) as service:
        yield service


Event = dict[str, str]


def events(lines: Iterator[str]) -> Iterator[Event]:
    """Read a stream as the standard says: fields up to an empty line; comments as ``comment``."""
    event: Event = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            event[name or "comment"] = value.removeprefix(" ")
        else:
            yield event
            event = {}


@contextmanager
def following(served: Served, job_id: str, last_event_id: str | None = None) -> Iterator[Iterator[Event]]:
    headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    with served.client.stream("GET", f"/jobs/{job_id}/events", headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-cache"
        yield events(response.iter_lines())


def test_progress_comes_as_it_is_made_and_the_result_at_the_end(served: Served) -> None:
    job_id = served.submit("count", "0.8")
    with following(served, job_id) as stream:
        found = list(stream)
    assert [event["event"] for event in found] == ["progress"] * (len(found) - 1) + ["done"]
    revisions = [int(event["id"]) for event in found]
    assert revisions == sorted(set(revisions))
    told = [json.loads(event["data"]) for event in found]
    numbers = [job["progress"]["number"] for job in told if job["progress"]]
    assert len(numbers) > 2
    assert numbers == sorted(numbers)
    assert told[-1] == served.job(job_id)
    assert told[-1]["result"]["number"] > 0


@pytest.mark.parametrize(("kind", "state"), [("refuse", "failed"), ("crash", "failed"), ("echo", "done")])
def test_a_job_that_has_finished_is_one_event(served: Served, kind: str, state: str) -> None:
    job_id = served.submit(kind)
    with following(served, job_id) as stream:
        assert [event["event"] for event in stream][-1] == state
    with following(served, job_id) as stream:
        (event,) = stream
    assert event["event"] == state
    assert json.loads(event["data"]) == served.job(job_id)


def test_a_cancelled_job_ends_its_streams(served: Served) -> None:
    job_id = served.submit("stick")
    with following(served, job_id) as stream:
        assert next(stream)["event"] == "progress"
        served.client.delete(f"/jobs/{job_id}")
        assert list(stream)[-1]["event"] == "cancelled"


def test_a_stream_goes_on_where_it_was_cut(served: Served) -> None:
    job_id = served.submit("count", "1.0")
    with following(served, job_id) as stream:
        first = next(stream)
    with following(served, job_id, first["id"]) as stream:
        rest = list(stream)
    assert int(first["id"]) < int(rest[0]["id"])
    assert rest[-1]["event"] == "done"
    assert served.client.get(f"/jobs/{job_id}/events", headers={"Last-Event-ID": rest[-1]["id"]}).status_code == 204


@pytest.mark.parametrize("last", ["", "-1", "x", "1e3", "9" * 4000, "٣"])
def test_an_id_that_is_not_ours_is_as_none(served: Served, last: str) -> None:
    job_id = served.submit("echo", '"a"')
    headers = {"Last-Event-ID": last.encode()}
    response = served.client.get(f"/jobs/{job_id}/events", headers=headers)  # type: ignore[arg-type]
    assert response.text.count("event: done") == 1


def test_what_is_wrong_is_told_before_the_stream(served: Served, tmp_path: Path) -> None:
    assert_problem(served.client.get("/jobs/AAAAAAAAAAAAAAAAAAAAAAAA/events"), "not-found")  # type: ignore[arg-type]
    assert_problem(served.client.get("/jobs/%00/events"), "invalid-input")  # type: ignore[arg-type]
    with serving(tmp_path, workers=1, retention_s=0.2, sweep_every_s=0.1) as short:
        job_id = short.submit("echo")
        end = time.monotonic() + LONGEST_S
        while (response := short.client.get(f"/jobs/{job_id}/events")).status_code == 200:
            assert time.monotonic() < end
        assert_problem(response, "gone")  # type: ignore[arg-type]


def test_a_comment_comes_while_nothing_happens(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastapi.routing._PING_INTERVAL", 0.05)
    job_id = served.submit("stick")
    with following(served, job_id) as stream:
        found: list[Event] = []
        while not any("comment" in event for event in found):
            found.append(next(stream))
    assert served.job(job_id)["state"] == "running"
    served.client.delete(f"/jobs/{job_id}")


def test_what_another_service_runs_is_followed(served: Served, tmp_path: Path) -> None:
    with serving(tmp_path, workers=0) as idle, serving(tmp_path, workers=1):
        with following(idle, idle.submit("count", "0.5")) as stream:
            found = list(stream)
        assert found[-1]["event"] == "done"
        assert any(json.loads(event["data"])["progress"] for event in found)


# --- leaving ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Held:
    """What a service holds: tasks of its event loop, sockets of its process, who listens to jobs."""

    tasks: int
    sockets: int
    listeners: int


def held(served: Served) -> Held:
    gc.collect()
    tasks = len(asyncio.all_tasks(served.loop[0]))
    return Held(tasks, sum(map(_is_socket, Path("/proc/self/fd").iterdir())), len(served.jobs._watching._listeners))


def _is_socket(descriptor: Path) -> bool:
    with suppress(OSError):  # closed in the meantime
        return str(descriptor.readlink()).startswith("socket:")
    return False


def storm(served: Served, job_id: str, clients: int) -> None:
    """Begin to follow from many sockets, and leave without a word as soon as each has had the beginning."""
    request = f"GET /jobs/{job_id}/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    sockets = [socket.create_connection(served.address, LONGEST_S) for _ in range(clients)]
    for one in sockets:
        one.sendall(request)
    for number, one in enumerate(sockets):
        with closing(one):
            if number % 2:
                assert one.recv(64).startswith(b"HTTP/1.1 200")


def test_a_storm_of_clients_that_leave_leaves_nothing_behind(served: Served) -> None:
    job_id = served.submit("stick")
    with following(served, job_id) as stream:
        next(stream)
    while served.job(job_id)["state"] != "running":
        time.sleep(0.02)
    end, before = time.monotonic() + LONGEST_S, held(served)
    while before.listeners:
        assert time.monotonic() < end
        before = held(served)
    for _ in range(5):
        storm(served, job_id, 100)
    end = time.monotonic() + LONGEST_S
    while (after := held(served)) != before:
        assert time.monotonic() < end, (before, after)
        time.sleep(0.05)
    assert served.job(job_id)["state"] == "running"
    with following(served, job_id) as stream:
        assert next(stream)["event"] == "progress"
        served.client.delete(f"/jobs/{job_id}")
        assert list(stream)[-1]["event"] == "cancelled"


# --- documentation ----------------------------------------------------------------------------------------------------


def test_the_stream_is_documented(served: Served) -> None:
    operation = served.client.get("/openapi.json").json()["paths"]["/jobs/{job_id}/events"]["get"]
    assert "text/event-stream" in operation["responses"]["200"]["content"]
    assert {"200", "204", "404", "410", "422", "503"} <= set(operation["responses"])
    assert {"job_id", "last-event-id"} == {parameter["name"] for parameter in operation["parameters"]}
