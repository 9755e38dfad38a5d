"""Long work over HTTP: asked for, looked at, cancelled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from httpx2 import Response
from pydantic import SecretStr
from starlette.responses import Response as Answer
from starlette.types import Message

from app.api.access_table import EVERYBODY, rows
from app.api.jobs import JobList, answer_or_accept
from app.api.prefer import Preference, preference
from app.api.seams import JobsOf
from app.jobs.engine import EngineOptions
from app.jobs.kinds import Kind
from app.jobs.service import Jobs
from app.main import create_app
from app.settings import Settings
from tests.api.test_problems import assert_problem
from tests.fakes import FakeRegistry
from tests.jobs.sample_kinds import KINDS

LONGEST_S = 20.0
SECRET = "the-key-of-the-operator"


def _add_endpoint(app: FastAPI) -> None:
    app.state.access_table |= rows(EVERYBODY, ["POST /work/{kind}"])

    @app.post("/work/{kind}")
    async def work(kind: str, jobs: JobsOf, request: Request) -> Answer:
        job_id = app.state.latest = await jobs.submit(kind, await request.body())
        answer = await answer_or_accept(request, jobs, job_id, max_wait_s=LONGEST_S)
        return answer if isinstance(answer, Answer) else Answer(answer.result, media_type="application/json")


def service(tmp_path_factory: pytest.TempPathFactory, *, max_queued: int = 100, **options: Any) -> TestClient:
    url = f"sqlite:///{tmp_path_factory.mktemp('jobs')}/jobs.sqlite3"
    jobs = Jobs(url, KINDS, EngineOptions(**options), max_queued=max_queued)
    app = create_app(Settings(admin_key=SecretStr(SECRET)), registry=FakeRegistry([]), jobs=jobs)
    app.state.latest = None
    _add_endpoint(app)
    return TestClient(app)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with service(tmp_path_factory, workers=2) as opened:
        yield opened


@pytest.fixture
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service whose jobs wait for ever."""
    with service(tmp_path_factory, workers=0, max_queued=1) as opened:
        yield opened


def post(client: TestClient, kind: str, payload: str = "null", prefer: str = "") -> Response:
    return client.post(f"/work/{kind}", content=payload, headers={"Prefer": prefer} if prefer else {})


def finished(client: TestClient, address: str) -> dict[str, Any]:
    end = time.monotonic() + LONGEST_S
    while (body := client.get(address).json())["state"] in ("queued", "running"):
        assert time.monotonic() < end
        time.sleep(0.02)
    return body


def test_a_short_job_answers_in_the_request(client: TestClient) -> None:
    response = post(client, "echo", '{"a_ang": 5.43}')
    assert (response.status_code, response.json()) == (200, {"a_ang": 5.43})


def test_a_patient_caller_gets_an_address_and_then_the_result(client: TestClient) -> None:
    response = post(client, "count", "0.3", prefer="respond-async")
    assert response.status_code == 202
    assert response.headers["preference-applied"] == "respond-async"
    assert int(response.headers["retry-after"]) >= 1
    address = response.headers["location"]
    assert address == f"/jobs/{response.json()['id']}"
    body = finished(client, address)
    assert body["state"] == "done"
    assert body["result"]["number"] > body["progress"]["number"] >= 0
    assert body["created"] <= body["started"] <= body["finished"]
    assert body["problem"] is None
    assert "retry-after" not in client.get(address).headers


def test_patience_is_followed(client: TestClient) -> None:
    assert post(client, "echo", "1", prefer="respond-async, wait=10").status_code == 200
    begun = time.monotonic()
    response = post(client, "stick", prefer="respond-async, wait=1")
    assert time.monotonic() - begun >= 1
    assert response.headers["preference-applied"] == "respond-async, wait=1"
    client.delete(response.headers["location"])


def test_progress_is_seen(client: TestClient) -> None:
    address = post(client, "stick", prefer="respond-async").headers["location"]
    end = time.monotonic() + LONGEST_S
    while (response := client.get(address)).json()["progress"] is None:
        assert time.monotonic() < end
    assert response.json()["state"] == "running"
    assert response.json()["progress"]["pid"] > 0
    assert "retry-after" in response.headers
    client.delete(address)


@pytest.mark.parametrize("kind", ["count", "stick"])
def test_a_job_is_cancelled_once_and_for_all(client: TestClient, kind: str) -> None:
    address = post(client, kind, "30", prefer="respond-async").headers["location"]
    for _ in range(2):
        response = client.delete(address)
        assert (response.status_code, response.json()["state"]) == (200, "cancelled")
    assert client.get(address).json()["state"] == "cancelled"


def test_a_failure_is_the_problem_of_the_request(client: TestClient) -> None:
    response = post(client, "refuse")
    assert assert_problem(response, "invalid-input")["detail"] == "peak 3 is negative"
    response = post(client, "crash")
    assert_problem(response, "internal-error")
    assert "secret" not in response.text


def test_a_failure_is_told_by_the_job(client: TestClient) -> None:
    told = finished(client, post(client, "refuse", prefer="respond-async").headers["location"])["problem"]
    assert (told["type"], told["status"], told["detail"]) == ("/problems/invalid-input", 422, "peak 3 is negative")
    assert "request_id" not in told


def test_the_request_of_a_job_that_somebody_cancels_is_a_conflict(client: TestClient) -> None:
    with ThreadPoolExecutor() as pool:
        before = client.app.state.latest  # type: ignore[attr-defined]
        waiting = pool.submit(post, client, "stick", "null", "wait=20")
        while (job_id := client.app.state.latest) == before:  # type: ignore[attr-defined]
            time.sleep(0.01)
        client.delete(f"/jobs/{job_id}")
        assert_problem(waiting.result(LONGEST_S), "conflict")


@pytest.mark.parametrize(("cancel", "state"), [(True, "cancelled"), (False, "done")])
def test_a_caller_who_hangs_up(client: TestClient, cancel: bool, state: str) -> None:
    jobs: Jobs = client.app.state.jobs  # type: ignore[attr-defined]

    async def hang_up() -> str:
        async def receive() -> Message:
            await asyncio.sleep(0.1)
            return {"type": "http.disconnect"}

        job_id = await jobs.submit("count", b"0.5")
        request = Request({"type": "http", "headers": []}, receive)
        answer = await answer_or_accept(request, jobs, job_id, max_wait_s=LONGEST_S, cancel_on_disconnect=cancel)
        assert isinstance(answer, Answer)
        return (await jobs.wait(job_id, LONGEST_S)).state

    assert asyncio.run(hang_up()) == state


def test_users_do_not_wait_for_each_other(client: TestClient) -> None:
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(post, client, "count", "1.0")
        fast = [pool.submit(post, client, "echo", str(number)) for number in range(4)]
        assert [answer.result(LONGEST_S).json() for answer in fast] == [0, 1, 2, 3]
        assert not slow.done()
        assert slow.result(LONGEST_S).status_code == 200


def test_a_full_queue_is_told_with_a_time(idle: TestClient) -> None:
    assert post(idle, "echo", prefer="respond-async").status_code == 202
    response = post(idle, "echo", prefer="respond-async")
    assert_problem(response, "too-many-requests")
    assert int(response.headers["retry-after"]) >= 1


def test_the_metrics_count_what_waits(idle: TestClient) -> None:
    post(idle, "echo", prefer="respond-async")
    assert 'beamline_jobs{state="queued"} 1.0' in idle.get("/metrics").text


def test_the_metrics_count_what_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.main.KINDS", KINDS)
    settings = Settings(job_workers=1, jobs_database=f"sqlite:///{tmp_path}/jobs.sqlite3")
    app = create_app(settings, registry=FakeRegistry([]))
    _add_endpoint(app)
    with TestClient(app) as client:
        post(client, "refuse")
        assert 'beamline_jobs_finished_total{kind="refuse",state="failed"} 1.0' in client.get("/metrics").text


def test_what_cannot_run_is_listed_and_keeps_nothing_waiting(tmp_path: Path) -> None:
    kinds = {"absent": Kind("tests.jobs.absent:run")}
    jobs = Jobs(f"sqlite:///{tmp_path}/jobs.sqlite3", kinds, EngineOptions(workers=1))
    with TestClient(create_app(Settings(), registry=FakeRegistry([]), jobs=jobs)) as client:
        end = time.monotonic() + LONGEST_S
        while (body := client.get("/health/ready").json())["jobs"]["ready"] == 0:
            assert time.monotonic() < end
        assert list(body["jobs"]["unavailable"]) == ["absent"]
        assert body["status"] == "ready"


# --- the list ---------------------------------------------------------------------------------------------------------

KEY = {"Authorization": f"Apikey {SECRET}"}


def test_who_has_no_key_gets_no_list(idle: TestClient) -> None:
    assert_problem(idle.get("/jobs"), "unauthenticated")
    assert_problem(idle.get("/jobs", headers={"Authorization": "Apikey wrong"}), "unauthenticated")


def test_the_newest_jobs_are_listed_first(idle: TestClient) -> None:
    ids = []
    for kind in ("echo", "count", "echo"):
        ids.append(post(idle, kind, prefer="respond-async").json()["id"])
        idle.delete(f"/jobs/{ids[-1]}")

    def listed(**query: Any) -> list[str]:
        response = idle.get("/jobs", params=query, headers=KEY)
        assert response.status_code == 200
        JobList.model_validate_json(response.content)
        return [job["id"] for job in response.json()["jobs"]]

    assert listed() == ids[::-1]
    assert listed(limit=1) == ids[-1:]
    assert listed(kind="count") == ids[1:2]
    assert listed(state="queued") == []
    assert listed(state="cancelled", kind="echo", limit=10) == [ids[2], ids[0]]


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "state=lost", "kind=" + "a" * 65])
def test_a_list_that_makes_no_sense_is_refused(idle: TestClient, query: str) -> None:
    assert_problem(idle.get(f"/jobs?{query}", headers=KEY), "invalid-input")


# --- what is not there ------------------------------------------------------------------------------------------------


def test_unknown_ids(client: TestClient) -> None:
    for ask in (client.get, client.delete):
        assert_problem(ask("/jobs/AAAAAAAAAAAAAAAAAAAAAAAA"), "not-found")
        assert_problem(ask("/jobs/" + "a" * 65), "invalid-input")
        assert_problem(ask("/jobs/%00"), "invalid-input")


def test_a_result_that_is_no_longer_kept_is_gone(tmp_path_factory: pytest.TempPathFactory) -> None:
    with service(tmp_path_factory, workers=1, retention_s=0.2, sweep_every_s=0.1) as client:
        address = post(client, "echo", prefer="respond-async").headers["location"]
        end = time.monotonic() + LONGEST_S
        while (response := client.get(address)).status_code == 200:
            assert time.monotonic() < end
            time.sleep(0.02)
        assert_problem(response, "gone")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], Preference()),
        (["respond-async"], Preference(respond_async=True)),
        (["respond-async, wait=5"], Preference(respond_async=True, wait_s=5)),
        (["wait=5", "Respond-Async"], Preference(respond_async=True, wait_s=5)),
        (['wait="5"; foo=bar, handling=lenient, wait=9'], Preference(wait_s=5)),
        (["wait=-1, wait=2"], Preference()),
        (["wait=1e3"], Preference()),
        (["wait=" + "9" * 5000], Preference()),
        (["respond-asyncs"], Preference()),
    ],
)
def test_the_prefer_header(headers: list[str], expected: Preference) -> None:
    assert preference(headers) == expected


def test_a_caller_cannot_wait_longer_than_the_service_lets() -> None:
    assert Preference(wait_s=1000).patience_s(30) == 30
    assert Preference().patience_s(30) == 30
    assert Preference(respond_async=True).patience_s(30) == 0
