"""Jobs with real worker processes, each over a database of its own unless a test shares one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest

from app.jobs.engine import EngineOptions
from app.jobs.job import JobRecord
from app.jobs.kinds import Kind
from app.jobs.records import Records
from app.jobs.service import Jobs
from tests.jobs.sample_kinds import KINDS

Value = TypeVar("Value")
Start = Callable[..., Jobs]
TIMEOUT_S = 20.0


class Clock:
    """Stands still unless a test moves it."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def run(coroutine: Coroutine[Any, Any, Value]) -> Value:
    return asyncio.run(coroutine)


def outcome(jobs: Jobs, kind: str, payload: bytes = b"null") -> JobRecord:
    """Submit a job and wait for its end."""

    async def to_its_end() -> JobRecord:
        return await jobs.wait(await jobs.submit(kind, payload), TIMEOUT_S)

    record = run(to_its_end())
    assert record.finished
    return record


async def progress(jobs: Jobs, job_id: str) -> bytes:
    """Wait until a job has reported something."""
    for _ in range(int(TIMEOUT_S / 0.02)):
        record = await jobs.get(job_id)
        if record.progress is not None:
            return record.progress
        await asyncio.sleep(0.02)
    raise TimeoutError("the job reported nothing")


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def records(database_url: str, clock: Clock) -> Iterator[Records]:
    opened = Records(database_url, clock=clock, steady=clock)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    """Two workers that several tests share."""
    shared = Jobs(f"sqlite:///{tmp_path_factory.mktemp('jobs')}/jobs.sqlite3", KINDS, EngineOptions(workers=2))
    shared.start()
    yield shared
    shared.stop()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start jobs over the database of this test; every call is a service process more."""
    started: list[Jobs] = []

    def begin(*, max_queued: int = 1000, kinds: Mapping[str, Kind] = KINDS, **options: Any) -> Jobs:
        url = f"sqlite:///{tmp_path}/jobs.sqlite3"
        service = Jobs(url, kinds, EngineOptions(**options), max_queued=max_queued)
        service.start()
        started.append(service)
        return service

    yield begin
    for service in started:
        service.stop()
