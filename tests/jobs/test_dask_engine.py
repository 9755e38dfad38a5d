"""Jobs on a Dask cluster, with a real scheduler and real workers as processes of their own."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.jobs.dask_engine import DaskEngine
from app.jobs.engine import EngineOptions
from app.jobs.job import BATCH, JobRecord
from app.jobs.kinds import Kind
from app.jobs.service import Jobs
from tests.jobs.conftest import run
from tests.jobs.dask_processes import REPOSITORY, TIMEOUT_S, DaskProcesses, free_port, outcome, progress, until
from tests.jobs.sample_kinds import KINDS

Connect = Callable[..., Jobs]

SERVICE = """
import asyncio, sys
from app.jobs.dask_engine import DaskEngine
from app.jobs.engine import EngineOptions
from app.jobs.service import Jobs
from app.logs import configure_logs
from tests.jobs.dask_processes import progress
from tests.jobs.sample_kinds import KINDS

async def main(url, scheduler, payload):
    options = EngineOptions()
    jobs = Jobs(url, KINDS, options, engine=DaskEngine(KINDS, options, scheduler))
    jobs.start()
    running = await jobs.submit("stick_once", payload.encode())
    print(running, (await progress(jobs, running)).decode(), flush=True)
    await asyncio.sleep(600)

configure_logs()  # to standard error
asyncio.run(main(*sys.argv[1:]))
"""


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def over(url: str, address: str, kinds: dict[str, Kind] = KINDS, **options: Any) -> Jobs:
    chosen = EngineOptions(**options)
    return Jobs(url, kinds, chosen, engine=DaskEngine(kinds, chosen, address))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskProcesses]:
    """A scheduler and two workers that several tests share."""
    processes = DaskProcesses(tmp_path_factory.mktemp("dask"))
    processes.scheduler()
    processes.worker()
    processes.worker()
    yield processes
    processes.stop()


@pytest.fixture(scope="module")
def jobs(cluster: DaskProcesses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    shared = over(f"sqlite:///{tmp_path_factory.mktemp('jobs')}/jobs.sqlite3", cluster.address)
    shared.start()
    until(lambda: shared.status().ready == 2)
    yield shared
    shared.stop()


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[DaskProcesses]:
    """A cluster in which a test may kill."""
    processes = DaskProcesses(tmp_path)
    yield processes
    processes.stop()


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Connect]:
    """Start jobs over the database of this test."""
    started: list[Jobs] = []

    def begin(address: str, **options: Any) -> Jobs:
        service = over(f"sqlite:///{tmp_path}/jobs.sqlite3", address, **options)
        service.start()
        started.append(service)
        return service

    yield begin
    for service in started:
        service.stop()


def test_answers_and_errors_are_those_of_the_embedded_engine(jobs: Jobs, tmp_path: Path) -> None:
    embedded = Jobs(f"sqlite:///{tmp_path}/jobs.sqlite3", KINDS, EngineOptions())
    embedded.start()
    payload = orjson.dumps({"peaks": list(range(100_000)), "name": "corundum α"})
    for kind in ("echo", "refuse", "crash", "wrong_type"):
        here, there = outcome(embedded, kind, payload), outcome(jobs, kind, payload)
        assert (here.state, here.result, here.failure) == (there.state, there.result, there.failure)
    embedded.stop()


def test_a_payload_above_what_dask_warns_of_travels(jobs: Jobs) -> None:
    payload = b'"' + b"x" * 12_000_000 + b'"'
    assert outcome(jobs, "echo", payload).result == payload


def test_a_job_runs_in_a_warm_process_beside_the_worker(jobs: Jobs, cluster: DaskProcesses) -> None:
    told = orjson.loads(outcome(jobs, "warmth").result or b"")
    assert told["warm"] == 1
    assert told["pid"] == told["session"]
    assert told["pid"] not in {process.pid for process in cluster.started}


def test_progress_is_seen_while_a_job_runs(jobs: Jobs) -> None:
    async def watch() -> None:
        job_id = await jobs.submit("count", b"30")
        seen: list[int] = []
        async for record in jobs.watch(job_id):
            if record.progress is not None:
                seen.append(orjson.loads(record.progress)["number"])
            if len(seen) == 3:
                await jobs.cancel(job_id)
        assert seen == sorted(set(seen[:3])) + seen[3:]

    run(watch())


def test_the_parts_of_a_job_run_on_all_workers_at_once(jobs: Jobs, tmp_path: Path) -> None:
    parts = [orjson.dumps([str(tmp_path), 2])] * 2

    async def submit() -> JobRecord:
        return await jobs.wait(await jobs.submit("meet", b"null", parts=parts, priority=BATCH), TIMEOUT_S)

    record = run(submit())
    assert (record.state, record.parts, record.parts_done) == ("done", 2, 2)


def test_a_single_job_overtakes_a_batch(jobs: Jobs) -> None:
    async def submit() -> None:
        parts = [b"%d" % number for number in range(200)]
        batch = await jobs.submit("echo", b"null", parts=parts, priority=BATCH)
        async for record in jobs.watch(batch):
            if record.parts_done:
                break
        single = await jobs.wait(await jobs.submit("echo", b"1"), TIMEOUT_S)
        whole = await jobs.wait(batch, TIMEOUT_S)
        assert (single.state, whole.state) == ("done", "done")
        assert single.finished_s < whole.finished_s  # type: ignore[operator]
        assert whole.parts_done == 200

    run(submit())


def test_a_long_part_of_a_batch_makes_room_for_a_single_job(jobs: Jobs) -> None:
    async def submit() -> None:
        batch = await jobs.submit("count", b"null", parts=[b"60"] * 3, priority=BATCH)
        async for record in jobs.watch(batch):
            if record.started_s is not None:
                break
        assert (await jobs.wait(await jobs.submit("echo", b"1"), TIMEOUT_S)).state == "done"
        assert (await jobs.get(batch)).state == "running"
        assert (await jobs.cancel(batch)).state == "cancelled"

    run(submit())


def test_a_job_that_listens_is_cancelled_with_what_it_has(jobs: Jobs) -> None:
    async def cancel() -> None:
        job_id = await jobs.submit("count", b"60")
        await progress(jobs, job_id)
        record = await jobs.cancel(job_id)
        assert record.state == "cancelled"
        assert orjson.loads(record.result or b"")["cancelled"]

    run(cancel())


def test_a_job_that_does_not_listen_is_ended_and_its_worker_goes_on(jobs: Jobs) -> None:
    async def cancel() -> int:
        job_id = await jobs.submit("stick", b"null")
        pid = orjson.loads(await progress(jobs, job_id))["pid"]
        # `cancel` waits for a second: the state that it gives is that within a second.
        assert (await jobs.cancel(job_id)).state == "cancelled"
        return pid

    pid = run(cancel())
    until(lambda: not runs(pid))
    assert jobs.status().ready == 2
    assert outcome(jobs, "echo").state == "done"


def test_a_job_that_runs_too_long_is_ended(cluster: DaskProcesses, connect: Connect) -> None:
    record = outcome(connect(cluster.address, max_job_s=0.3), "stick")
    assert record.failure is not None
    assert (record.state, record.failure.kind) == ("failed", "job-timed-out")


def test_a_job_that_kills_its_process_fails_in_the_end_and_no_worker_is_lost(jobs: Jobs, tmp_path: Path) -> None:
    record = outcome(jobs, "die")
    assert record.failure is not None
    assert (record.state, record.attempts, record.failure.kind) == ("failed", 3, "job-lost")
    again = outcome(jobs, "die_once", orjson.dumps(str(tmp_path / "mark")))
    assert (again.state, again.attempts) == ("done", 2)
    assert jobs.status().ready == 2


def test_what_a_stopped_service_was_running_is_run_when_it_starts_again(
    cluster: DaskProcesses, connect: Connect, tmp_path: Path
) -> None:
    service = connect(cluster.address)

    async def leave() -> tuple[str, int]:
        job_id = await service.submit("stick_once", orjson.dumps(str(tmp_path / "mark")))
        return job_id, orjson.loads(await progress(service, job_id))["pid"]

    job_id, pid = run(leave())
    service.stop()
    until(lambda: not runs(pid))  # the cluster does not go on with what nobody waits for
    service.start()
    record = run(service.wait(job_id, TIMEOUT_S))
    assert (record.state, record.result, record.attempts) == ("done", b'"second time"', 1)


def test_what_a_killed_service_was_running_is_run_by_the_next(
    cluster: DaskProcesses, connect: Connect, tmp_path: Path
) -> None:
    arguments = [f"sqlite:///{tmp_path}/jobs.sqlite3", cluster.address, f'"{tmp_path}/mark"']
    command = [sys.executable, "-c", SERVICE, *arguments]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        job_id, told = service.stdout.readline().split()
        service.kill()
    until(lambda: not runs(orjson.loads(told)["pid"]))
    record = run(connect(cluster.address).wait(job_id, TIMEOUT_S))
    assert (record.state, record.result, record.attempts) == ("done", b'"second time"', 2)


def test_a_kind_that_no_worker_can_load_stops_nothing_else(cluster: DaskProcesses, connect: Connect) -> None:
    kinds = {"echo": KINDS["echo"], "absent": Kind("tests.jobs.absent:run")}
    service = connect(cluster.address, kinds=kinds)
    until(lambda: service.status().ready == 2)
    assert set(service.status().unavailable) == {"absent"}
    assert outcome(service, "echo").state == "done"


def test_a_job_whose_worker_is_killed_finishes_on_another(
    own_cluster: DaskProcesses, connect: Connect, tmp_path: Path
) -> None:
    own_cluster.scheduler()
    first = own_cluster.worker()
    service = connect(own_cluster.address)

    async def kill() -> JobRecord:
        job_id = await service.submit("stick_once", orjson.dumps(str(tmp_path / "mark")))
        pid = orjson.loads(await progress(service, job_id))["pid"]
        own_cluster.worker()
        await asyncio.to_thread(until, lambda: service.status().ready == 2)
        first.kill()
        await asyncio.to_thread(until, lambda: not runs(pid))  # no process outlives its Dask worker
        return await service.wait(job_id, TIMEOUT_S)

    record = run(kill())
    assert (record.state, record.result, record.attempts) == ("done", b'"second time"', 2)


def test_jobs_wait_for_a_scheduler_that_has_gone_and_run_when_one_is_back(
    own_cluster: DaskProcesses, connect: Connect, tmp_path: Path
) -> None:
    scheduler = own_cluster.scheduler()
    own_cluster.worker()
    service = connect(own_cluster.address)

    async def outlive() -> list[JobRecord]:
        running = await service.submit("stick_once", orjson.dumps(str(tmp_path / "mark")))
        await progress(service, running)
        scheduler.kill()
        await asyncio.to_thread(until, lambda: service.status().trouble != "")
        waiting = await service.submit("echo", b"1")
        await asyncio.to_thread(until, lambda: run(service.get(running)).state == "queued")
        own_cluster.scheduler()
        own_cluster.worker()
        return [await service.wait(job_id, TIMEOUT_S) for job_id in (running, waiting)]

    records = run(outlive())
    assert [(record.state, record.result, record.attempts) for record in records] == [
        ("done", b'"second time"', 1),
        ("done", b"1", 1),
    ]
    assert service.status().trouble == ""


def test_without_a_scheduler_jobs_are_accepted_and_nothing_hangs(tmp_path: Path) -> None:
    service = over(f"sqlite:///{tmp_path}/jobs.sqlite3", f"tcp://127.0.0.1:{free_port()}")
    service.start()
    waiting = run(service.submit("echo", b"1"))
    assert service.status().trouble
    assert run(service.get(waiting)).state == "queued"
    assert run(service.cancel(waiting)).state == "cancelled"
    service.stop()


def test_a_locked_database_delays_the_end_of_a_job_and_loses_nothing(
    cluster: DaskProcesses, connect: Connect, tmp_path: Path
) -> None:
    service = connect(cluster.address)

    async def lock() -> JobRecord:
        job_id = await service.submit("count", b"1")
        await progress(service, job_id)
        database = sqlite3.connect(tmp_path / "jobs.sqlite3", isolation_level=None)
        database.execute("BEGIN IMMEDIATE")
        await asyncio.sleep(1.2)
        assert not (await service.get(job_id)).finished
        database.execute("ROLLBACK")
        database.close()
        return await service.wait(job_id, TIMEOUT_S)

    record = run(lock())
    assert (record.state, record.attempts) == ("done", 1)


def test_workers_without_the_project_are_not_used(own_cluster: DaskProcesses, connect: Connect) -> None:
    own_cluster.scheduler()
    own_cluster.worker(PYTHONPATH="")
    service = connect(own_cluster.address)
    until(lambda: service.status().workers == 1)
    assert "no worker" in service.status().trouble
    early = run(service.submit("echo", b"1"))
    assert not run(service.get(early)).finished
    own_cluster.worker()
    assert run(service.wait(early, TIMEOUT_S)).result == b"1"
    assert service.status().ready == 1
