"""No accepted job is lost: killed workers, killed services, several services over one database."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import orjson

from app.jobs.engine import EngineOptions
from app.jobs.job import JobRecord
from app.jobs.service import Jobs
from tests.jobs.conftest import TIMEOUT_S, Start, outcome, progress, run, until
from tests.jobs.sample_kinds import KINDS

REPOSITORY = Path(__file__).resolve().parents[2]

SERVICE = """
import asyncio, sys
from app.jobs.engine import EngineOptions
from app.jobs.service import Jobs
from tests.jobs.conftest import progress
from tests.jobs.sample_kinds import KINDS

async def main(url, payload):
    jobs = Jobs(url, KINDS, EngineOptions(workers=1))
    jobs.start()
    running = await jobs.submit("stick_once", payload.encode())
    waiting = await jobs.submit("echo", b'"patience"')
    print(running, waiting, (await progress(jobs, running)).decode(), flush=True)
    await asyncio.sleep(60)

asyncio.run(main(*sys.argv[1:]))
"""


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


async def until_end(jobs: Jobs, *job_ids: str) -> list[JobRecord]:
    return list(await asyncio.gather(*(jobs.wait(job_id, TIMEOUT_S) for job_id in job_ids)))


def test_a_job_whose_worker_is_killed_finishes_on_another(start: Start, tmp_path: Path) -> None:
    jobs = start(workers=2)

    async def kill() -> JobRecord:
        job_id = await jobs.submit("stick_once", orjson.dumps(str(tmp_path / "mark")))
        os.kill(orjson.loads(await progress(jobs, job_id))["pid"], signal.SIGKILL)
        return await jobs.wait(job_id, TIMEOUT_S)

    record = run(kill())
    assert (record.state, record.result, record.attempts) == ("done", b'"second time"', 2)


def test_a_job_that_kills_its_workers_fails_in_the_end(start: Start) -> None:
    jobs = start(workers=1, max_attempts=2)
    record = outcome(jobs, "die")
    assert record.failure is not None
    assert (record.state, record.attempts, record.failure.kind) == ("failed", 2, "job-lost")
    assert outcome(jobs, "echo").state == "done"


def test_what_a_stopped_service_was_running_is_run_when_it_starts_again(start: Start, tmp_path: Path) -> None:
    first = start(workers=1)

    async def leave_two() -> tuple[str, str]:
        running = await first.submit("stick_once", orjson.dumps(str(tmp_path / "mark")))
        await progress(first, running)
        return running, await first.submit("echo", b"1")

    left = run(leave_two())
    first.stop()
    first.start()
    records = run(until_end(first, *left))
    assert [(record.state, record.attempts) for record in records] == [("done", 1), ("done", 1)]


def test_what_a_killed_service_was_running_is_run_by_the_next(start: Start, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SERVICE, f"sqlite:///{tmp_path}/jobs.sqlite3", f'"{tmp_path}/mark"']
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        running, waiting, told = service.stdout.readline().split()
        service.kill()
    until(lambda: not runs(orjson.loads(told)["pid"]))  # no worker outlives its service
    records = run(until_end(start(workers=1), running, waiting))
    assert [record.result for record in records] == [b'"second time"', b'"patience"']
    assert [record.attempts for record in records] == [2, 1]


def test_services_share_the_jobs_of_one_database(start: Start) -> None:
    office, engine_room = start(workers=0), start(workers=1)

    async def use() -> None:
        assert (await office.wait(await office.submit("echo", b"1"), TIMEOUT_S)).result == b"1"
        stuck = await office.submit("stick", b"null")
        await progress(office, stuck)
        assert (await office.cancel(stuck)).state == "cancelled"
        assert (await engine_room.get(stuck)).state == "cancelled"

    run(use())


def test_a_worker_stops_what_was_given_to_another_service(start: Start, tmp_path: Path) -> None:
    jobs = start(workers=1)

    async def lose() -> None:
        job_id = await jobs.submit("stick", b"null")
        pid = orjson.loads(await progress(jobs, job_id))["pid"]
        with sqlite3.connect(tmp_path / "jobs.sqlite3") as database:
            database.execute("UPDATE beamline_jobs_2 SET owner = 'elsewhere 1 1 a'")
        database.close()
        for _ in range(100):
            if not runs(pid):
                return
            await asyncio.sleep(0.05)
        raise AssertionError("the worker runs on")

    run(lose())


def test_a_locked_database_delays_the_end_of_a_job_and_loses_nothing(start: Start, tmp_path: Path) -> None:
    jobs = start(workers=1)

    async def lock() -> JobRecord:
        job_id = await jobs.submit("count", b"0.6")
        await progress(jobs, job_id)
        database = sqlite3.connect(tmp_path / "jobs.sqlite3", isolation_level=None)
        database.execute("BEGIN IMMEDIATE")
        await asyncio.sleep(0.9)
        assert not (await jobs.get(job_id)).finished
        database.execute("ROLLBACK")
        database.close()
        return await jobs.wait(job_id, TIMEOUT_S)

    assert run(lock()).state == "done"


def test_a_database_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    obstacle = tmp_path / "state"
    obstacle.touch()
    jobs = Jobs(f"sqlite:///{obstacle}/jobs.sqlite3", KINDS, EngineOptions(workers=1))
    jobs.start()

    async def submit() -> JobRecord:
        asking = asyncio.ensure_future(jobs.submit("echo", b"1"))
        await asyncio.sleep(0.6)
        obstacle.unlink()
        return await jobs.wait(await asking, TIMEOUT_S)

    assert run(submit()).result == b"1"
    jobs.stop()
