"""Jobs that are left, cancelled and interrupted, at a service whose queue nobody works on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from app.main import create_app
from app.settings import Settings
from beamline_client import AsyncClient, Client, Job, JobCancelled, JobNotFinished
from tests.api.live import live
from tests.fakes import FakeRegistry

LONG: Any = {"patterns": [{"d_ang": [9.1, 7.3, 6.2, 5.9, 4.4, 3.77, 3.1]}] * 3}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    database = f"sqlite:///{tmp_path_factory.mktemp('jobs')}/jobs.sqlite3"
    app = create_app(Settings(job_workers=0, jobs_database=database), registry=FakeRegistry())
    with live(app) as running:
        yield str(running.client.base_url)


@pytest.fixture
def service(address: str) -> Iterator[Client]:
    with Client(address) as client:
        yield client


def test_a_job_is_submitted_followed_and_cancelled(service: Client) -> None:
    job = service.jobs.submit_solve_batch(**LONG)
    assert job.state in ("queued", "running")
    with pytest.raises(JobNotFinished):
        service.jobs.wait(job, timeout_s=0.3)
    assert service.jobs.get(job).id == service.jobs.get(job.id).id == job.id
    states = []
    for state in service.jobs.events(job):
        states.append(state.state)
        service.jobs.cancel(job)
    assert states[-1] == "cancelled"
    with pytest.raises(JobCancelled):
        service.jobs.wait(job)


class Interrupted(BaseException):
    """As KeyboardInterrupt, which pytest keeps for itself."""


def test_who_is_interrupted_cancels_the_search(service: Client) -> None:
    jobs: list[str] = []

    def interrupt(job: Job[Any]) -> None:
        jobs.append(job.id)
        raise Interrupted

    with pytest.raises(Interrupted):
        service.solve_batch(**LONG, on_progress=interrupt)
    assert [service.jobs.get(job).state for job in jobs] == ["cancelled"]


def test_a_task_that_is_cancelled_cancels_the_search(address: str, service: Client) -> None:
    jobs: list[str] = []

    async def ask() -> None:
        async with AsyncClient(address) as client:
            heard = asyncio.Event()

            def listen(job: Job[Any]) -> None:
                jobs.append(job.id)
                heard.set()

            task = asyncio.create_task(client.solve_batch(**LONG, on_progress=listen))
            await heard.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(ask())
    assert [service.jobs.get(job).state for job in jobs] == ["cancelled"]


@pytest.mark.parametrize("moment", ["submitting", "following"])
def test_an_interruption_at_the_connection_cancels_too(
    service: Client, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Ctrl-C does while the client waits for bytes."""
    http: Any = vars(service)["_http"]
    sends, jobs = http.send, []

    def send(request: Any, **options: Any) -> Any:
        if request.url.path.endswith("/events"):
            raise Interrupted
        answer = sends(request, **options)
        if request.method == "POST":
            jobs.append(answer.json()["id"])
            if moment == "submitting" and len(jobs) == 1:
                raise Interrupted
        return answer

    monkeypatch.setattr(http, "send", send)
    with pytest.raises(Interrupted):
        service.solve_batch(**LONG, on_progress=lambda _: None)
    monkeypatch.undo()
    assert len(set(jobs)) == 1
    assert service.jobs.get(jobs[0]).state == "cancelled"
