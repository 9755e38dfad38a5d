"""Jobs made of parts, with real worker processes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.jobs.job import BATCH, INTERACTIVE, JobRecord
from app.jobs.kinds import Kind
from app.jobs.service import Jobs
from tests.jobs.conftest import TIMEOUT_S, Start, outcome, run
from tests.jobs.sample_kinds import KINDS

NUMBERS = list(range(30))


def batch(jobs: Jobs, kind: str, parts: Sequence[Any], payload: bytes = b"null") -> JobRecord:
    """Submit a job of these parts and wait for its end."""

    async def to_its_end() -> JobRecord:
        job_id = await jobs.submit(kind, payload, priority=BATCH, parts=[orjson.dumps(part) for part in parts])
        return await jobs.wait(job_id, TIMEOUT_S)

    return run(to_its_end())


def answers(record: JobRecord) -> Any:
    return orjson.loads(record.result or b"null")


async def until_started(jobs: Jobs, job_id: str) -> None:
    async for record in jobs.watch(job_id):
        if record.state != "queued":
            return


def test_parts_are_joined_in_their_order(jobs: Jobs) -> None:
    record = batch(jobs, "echo", NUMBERS, b'"all"')
    assert answers(record) == {"job": "all", "parts": NUMBERS}
    assert (record.state, record.parts, record.parts_done) == ("done", 30, 30)


@pytest.fixture
def meeting(tmp_path: Path) -> str:
    """A folder where workers meet."""
    (tmp_path / "meeting").mkdir()
    return str(tmp_path / "meeting")


def test_a_batch_has_every_worker(start: Start, meeting: str) -> None:
    record = batch(start(workers=2), "meet", [[meeting, 2]] * 2)
    assert len({told["pid"] for told in answers(record)["parts"]}) == 2


def test_each_device_has_a_worker(start: Start, meeting: str) -> None:
    jobs = start(devices=("3", "GPU-5"))
    record = batch(jobs, "meet", [[meeting, 2]] * 2)
    assert sorted(told["device"] for told in answers(record)["parts"]) == ["3", "GPU-5"]
    assert jobs.status().workers == 2


def test_a_part_that_fails_fails_the_job_as_it_did(jobs: Jobs) -> None:
    record = batch(jobs, "refuse_one", [*NUMBERS, "bad", *NUMBERS])
    assert record.failure is not None
    assert (record.state, record.failure.kind, record.failure.detail) == (
        "failed",
        "invalid-input",
        "pattern 3 is empty",
    )


def test_a_join_that_fails_fails_the_job(start: Start) -> None:
    jobs = start(workers=1, kinds={"echo": Kind("tests.jobs.sample_kinds:echo", join="tests.jobs.sample_kinds:until")})
    record = batch(jobs, "echo", [1, 2])
    assert record.failure is not None
    assert record.failure.kind == "jobs-unavailable"


def test_parts_go_nowhere_without_a_join(start: Start) -> None:
    jobs = start(workers=0, kinds={"echo": Kind("tests.jobs.sample_kinds:echo")})
    with pytest.raises(ValueError, match="joins"):
        run(jobs.submit("echo", b"null", parts=[b"1"]))


def test_a_part_whose_worker_dies_is_run_again(start: Start, tmp_path: Path) -> None:
    record = batch(start(workers=2), "die_once", [str(tmp_path / f"mark {number}") for number in range(3)])
    assert answers(record)["parts"] == ["second time"] * 3


def test_a_part_that_kills_its_workers_fails_the_job(start: Start) -> None:
    jobs = start(workers=1, max_attempts=2)
    record = batch(jobs, "die", [1])
    assert record.failure is not None
    assert (record.state, record.failure.kind) == ("failed", "job-lost")
    assert outcome(jobs, "echo").state == "done"


def test_a_cancelled_batch_leaves_the_workers_to_others(start: Start) -> None:
    jobs = start(workers=2)

    async def cancel() -> None:
        job_id = await jobs.submit("stick_or_echo", b"null", priority=BATCH, parts=[b'"long"'] * 50)
        await until_started(jobs, job_id)
        assert (await jobs.cancel(job_id)).state == "cancelled"
        later = await jobs.submit("echo", b"1", priority=BATCH, parts=[b"1"] * 50)
        assert (await jobs.wait(later, TIMEOUT_S)).state == "done"
        assert (await jobs.get(job_id)).parts_done == 0

    run(cancel())


@pytest.mark.parametrize("kind", ["stick_or_echo", "stick"])
def test_somebody_who_waits_is_not_behind_long_parts(start: Start, kind: str) -> None:
    jobs = start(workers=1)

    async def wait() -> None:
        job_id = await jobs.submit(kind, b"null", priority=BATCH, parts=[b'"long"'] * 3)
        await until_started(jobs, job_id)
        single = await jobs.submit("echo", b"1", priority=INTERACTIVE)
        assert (await jobs.wait(single, TIMEOUT_S)).state == "done"
        record = await jobs.get(job_id)
        assert (record.state, record.parts_done) == ("running", 0)
        await jobs.cancel(job_id)

    run(wait())


def test_a_batch_goes_on_after_it_made_room(start: Start, tmp_path: Path) -> None:
    jobs = start(workers=1)

    async def wait() -> JobRecord:
        mark = orjson.dumps(str(tmp_path / "mark"))
        job_id = await jobs.submit("stick_once", b"null", priority=BATCH, parts=[mark])
        await until_started(jobs, job_id)
        single = await jobs.submit("echo", b"1", priority=INTERACTIVE)
        await jobs.wait(single, TIMEOUT_S)
        return await jobs.wait(job_id, TIMEOUT_S)

    assert answers(run(wait()))["parts"] == ["second time"]


def test_what_a_stopped_service_left_of_a_batch_is_done_when_it_starts_again(start: Start) -> None:
    jobs = start(workers=2)

    async def leave() -> str:
        job_id = await jobs.submit("count", b"null", priority=BATCH, parts=[b"0.05"] * 20)
        async for record in jobs.watch(job_id):
            if record.parts_done >= 3:
                break
        return job_id

    job_id = run(leave())
    jobs.stop()
    jobs.start()
    record = run(jobs.wait(job_id, TIMEOUT_S))
    assert [told["cancelled"] for told in answers(record)["parts"]] == [False] * 20


def test_the_same_key_gives_the_same_job(jobs: Jobs) -> None:
    async def send() -> list[str]:
        return await asyncio.gather(*(jobs.submit("echo", b"1", parts=[b"1", b"2"], key="once") for _ in range(10)))

    ids = run(send())
    assert len(set(ids)) == 1
    assert answers(run(jobs.wait(ids[0], TIMEOUT_S)))["parts"] == [1, 2]


def test_a_late_kind_is_imported_with_its_first_job(start: Start) -> None:
    late = Kind("tests.jobs.late_kind:run", eager=False)
    absent = Kind("tests.jobs.absent:run", eager=False)
    jobs = start(workers=1, kinds={**KINDS, "late": late, "absent": absent})
    assert outcome(jobs, "loaded", b'"tests.jobs.late_kind"').result == b"false"
    assert jobs.status().unavailable == {}
    assert outcome(jobs, "late").result == b"true", "it is warmed up"
    assert outcome(jobs, "loaded", b'"tests.jobs.late_kind"').result == b"true"
    refused = outcome(jobs, "absent")
    assert refused.failure is not None
    assert refused.failure.kind == "jobs-unavailable"


def test_the_newest_jobs_are_listed(start: Start) -> None:
    jobs = start(workers=0)

    async def ask() -> None:
        ids = [await jobs.submit("echo", b"1", parts=[b"1"] * number) for number in range(3)]
        assert [record.id for record in await jobs.list(limit=2)] == ids[:0:-1]
        assert await jobs.list(state="done") == []
        assert len(await jobs.list(state="queued", kind="echo")) == 3

    run(ask())
