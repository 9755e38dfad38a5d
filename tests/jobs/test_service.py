"""Jobs from submission to answer, with real worker processes."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import orjson
import pytest

from app.errors import Busy, JobsUnavailable, NotFound
from app.jobs.job import BATCH, INTERACTIVE
from app.jobs.kinds import Kind
from app.jobs.service import Jobs
from tests.jobs.conftest import TIMEOUT_S, Start, outcome, progress, run, until
from tests.jobs.sample_kinds import PLACE


def test_a_result_travels_unchanged(jobs: Jobs) -> None:
    payload = orjson.dumps({"peaks": list(range(100_000)), "name": "corundum α"})
    record = outcome(jobs, "echo", payload)
    assert (record.state, record.result, record.attempts) == ("done", payload, 1)
    assert record.created_s <= record.started_s <= record.finished_s  # type: ignore[operator]


def test_a_worker_is_a_warm_process_of_its_own(jobs: Jobs) -> None:
    told = orjson.loads(outcome(jobs, "warmth").result or b"")
    assert told["warm"] == 1
    assert told["places"] == [PLACE]
    assert told["pid"] == told["session"] != os.getpid()


def test_the_kind_of_an_error_travels(jobs: Jobs) -> None:
    record = outcome(jobs, "refuse")
    assert record.state == "failed"
    assert record.failure is not None
    assert (record.failure.kind, record.failure.detail) == ("invalid-input", "peak 3 is negative")
    assert record.failure.details["errors"] == []


@pytest.mark.parametrize("kind", ["crash", "wrong_type"])
def test_an_unexpected_error_gives_nothing_away(jobs: Jobs, kind: str) -> None:
    record = outcome(jobs, kind)
    assert record.failure is not None
    assert record.failure.kind == "internal-error"
    assert b"secret" not in record.failure.to_json()


def test_what_a_library_prints_does_no_harm(jobs: Jobs) -> None:
    assert outcome(jobs, "print_out").state == "done"


def test_progress_is_seen_while_a_job_runs(jobs: Jobs) -> None:
    async def watch() -> None:
        job_id = await jobs.submit("count", b"0.6")
        first = orjson.loads(await progress(jobs, job_id))["number"]
        await asyncio.sleep(0.4)
        record = await jobs.get(job_id)
        assert record.state == "running"
        assert orjson.loads(record.progress or b"")["number"] > first
        assert (await jobs.wait(job_id, TIMEOUT_S)).state == "done"

    run(watch())


def test_waiting_ends_with_patience(jobs: Jobs) -> None:
    async def lose_patience() -> None:
        job_id = await jobs.submit("count", b"30")
        assert not (await jobs.wait(job_id, 0.05)).finished
        await jobs.cancel(job_id)

    run(lose_patience())


def test_two_users_at_once_do_not_wait_for_each_other(jobs: Jobs) -> None:
    async def use() -> None:
        patient = await jobs.submit("count", b"30")
        await progress(jobs, patient)
        hasty = await asyncio.gather(*(jobs.submit("echo", b"%d" % number) for number in range(20)))
        records = await asyncio.gather(*(jobs.wait(job_id, TIMEOUT_S) for job_id in hasty))
        assert [record.result for record in records] == [b"%d" % number for number in range(20)]
        assert (await jobs.get(patient)).state == "running"
        await jobs.cancel(patient)

    run(use())


def test_an_interactive_job_overtakes_a_batch(start: Start) -> None:
    jobs = start(workers=1)

    async def submit() -> None:
        blocker = await jobs.submit("count", b"0.3")
        await progress(jobs, blocker)
        batch = [await jobs.submit("echo", b"0", priority=BATCH) for _ in range(5)]
        single = await jobs.submit("echo", b"1", priority=INTERACTIVE)
        ended = [await jobs.wait(job_id, TIMEOUT_S) for job_id in (single, *batch)]
        starts = [record.started_s for record in ended]
        assert starts == sorted(starts)  # type: ignore[type-var]

    run(submit())


def test_batches_leave_a_worker_free(start: Start) -> None:
    jobs = start(workers=2)

    async def submit() -> None:
        batches = [await jobs.submit("count", b"30", priority=BATCH) for _ in range(2)]
        await progress(jobs, batches[0])
        until(lambda: jobs.status().ready == 2)
        single = await jobs.submit("echo", b"1", priority=INTERACTIVE)
        assert (await jobs.wait(single, TIMEOUT_S)).state == "done"
        assert [(await jobs.get(job_id)).state for job_id in batches] == ["running", "queued"]

    run(submit())


def test_a_job_that_listens_is_cancelled_with_what_it_has(jobs: Jobs) -> None:
    async def cancel() -> None:
        job_id = await jobs.submit("count", b"30")
        await progress(jobs, job_id)
        record = await jobs.cancel(job_id)
        assert record.state == "cancelled"
        assert orjson.loads(record.result or b"")["cancelled"]
        assert await jobs.cancel(job_id) == record

    run(cancel())


def test_a_job_that_does_not_listen_is_ended(jobs: Jobs) -> None:
    async def cancel() -> int:
        job_id = await jobs.submit("stick", b"null")
        pid = orjson.loads(await progress(jobs, job_id))["pid"]
        assert (await jobs.cancel(job_id)).state == "cancelled"
        return pid

    pid = run(cancel())
    assert not Path(f"/proc/{pid}").exists()
    assert outcome(jobs, "echo").state == "done"


def test_a_waiting_job_is_cancelled_without_a_worker(start: Start) -> None:
    jobs = start(workers=0)

    async def cancel() -> None:
        job_id = await jobs.submit("echo", b"null")
        waiting = asyncio.ensure_future(jobs.wait(job_id, TIMEOUT_S))
        await asyncio.sleep(0.05)
        assert (await jobs.cancel(job_id)).state == "cancelled"
        assert (await waiting).state == "cancelled"

    run(cancel())


def test_a_finished_job_is_not_cancelled(jobs: Jobs) -> None:
    record = outcome(jobs, "echo")
    assert run(jobs.cancel(record.id)) == record


def test_an_unknown_id_is_not_found(jobs: Jobs) -> None:
    for question in (jobs.get, jobs.cancel):
        with pytest.raises(NotFound):
            run(question("nobody"))
    with pytest.raises(NotFound):
        run(jobs.wait("nobody", 1.0))


def test_an_unknown_kind_is_a_mistake_of_the_caller(jobs: Jobs) -> None:
    with pytest.raises(ValueError, match="echo"):
        run(jobs.submit("eco", b"null"))


def test_a_full_queue_refuses(start: Start) -> None:
    jobs = start(workers=0, max_queued=2)

    async def fill() -> None:
        first = await jobs.submit("echo", b"null")
        await jobs.submit("echo", b"null")
        with pytest.raises(Busy):
            await jobs.submit("echo", b"null")
        await jobs.cancel(first)
        await jobs.submit("echo", b"null")

    run(fill())


def test_a_kind_that_cannot_be_loaded_stops_nothing_else(start: Start) -> None:
    jobs = start(
        workers=1, kinds={"echo": Kind("tests.jobs.sample_kinds:echo"), "absent": Kind("tests.jobs.absent:run")}
    )
    early = run(jobs.submit("absent", b"null"))
    until(lambda: jobs.status().ready == 1)
    assert set(jobs.status().unavailable) == {"absent"}
    with pytest.raises(JobsUnavailable):
        run(jobs.submit("absent", b"null"))
    record = run(jobs.wait(early, TIMEOUT_S))
    assert record.failure is not None
    assert record.failure.kind == "jobs-unavailable"
    assert outcome(jobs, "echo").state == "done"


def test_a_job_that_runs_too_long_is_ended(start: Start) -> None:
    record = outcome(start(workers=1, max_job_s=0.3), "stick")
    assert record.failure is not None
    assert (record.state, record.failure.kind) == ("failed", "job-timed-out")


def test_nobody_waits_any_longer_once_all_are_let_go(start: Start) -> None:
    jobs = start(workers=0)

    async def told() -> tuple[list[str], list[str]]:
        job_id = await jobs.submit("echo", b"1")
        waiting = asyncio.create_task(jobs.wait(job_id, TIMEOUT_S))
        watching = asyncio.create_task(watched(job_id))
        await asyncio.sleep(0)
        jobs.let_go()
        first = [(await waiting).state, *await watching]
        return first, [(await jobs.wait(job_id, TIMEOUT_S)).state, *await watched(job_id)]

    async def watched(job_id: str) -> list[str]:
        return [record.state async for record in jobs.watch(job_id)]

    assert run(told()) == (["queued", "queued"], ["queued", "queued"])
