"""Jobs that are watched, by one or by many, in the process that runs them or in another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from app.errors import NotFound
from app.jobs.job import BATCH, JobRecord
from app.jobs.records import Records
from app.jobs.service import Jobs
from tests.jobs.conftest import TIMEOUT_S, Start, run

PARTS = [b"%d" % number for number in range(8)]


async def all_of(records: AsyncIterator[JobRecord]) -> list[JobRecord]:
    async with asyncio.timeout(TIMEOUT_S):
        return [record async for record in records]


def assert_a_history(records: list[JobRecord]) -> None:
    revisions = [record.revision for record in records]
    assert revisions == sorted(set(revisions))
    assert [record.finished for record in records] == [False] * (len(records) - 1) + [True]


async def watched(jobs: Jobs, *, progresses: int) -> list[JobRecord]:
    """Watch a job that counts, and cancel it when it has told as often how far it is."""
    job_id = await jobs.submit("count", b"60")
    seen: list[JobRecord] = []
    async for record in jobs.watch(job_id):
        seen.append(record)
        if len({record.progress for record in seen} - {None}) == progresses:
            await jobs.cancel(job_id)
    return seen


def test_a_watched_job_tells_each_change_until_its_end(jobs: Jobs) -> None:
    seen = run(watched(jobs, progresses=3))
    assert_a_history(seen)
    assert seen[-1].state == "cancelled"


def test_a_job_of_parts_is_watched_part_by_part(start: Start) -> None:
    jobs = start(workers=1)

    async def watch() -> list[JobRecord]:
        return await all_of(jobs.watch(await jobs.submit("echo", b"null", priority=BATCH, parts=PARTS)))

    seen = run(watch())
    assert_a_history(seen)
    counts = [record.parts_done for record in seen]
    assert counts == sorted(counts)
    assert orjson.loads(seen[-1].result or b"")["parts"] == list(range(8))


def test_a_job_of_another_process_is_watched(start: Start) -> None:
    office, _engine_room = start(workers=0), start(workers=1)

    seen = run(watched(office, progresses=2))
    assert_a_history(seen)
    assert seen[-1].state == "cancelled"


def test_a_watch_goes_on_where_it_was_left(jobs: Jobs) -> None:
    async def watch() -> None:
        job_id = await jobs.submit("count", b"0.5")
        first = await anext(jobs.watch(job_id))
        rest = await all_of(jobs.watch(job_id, first.revision))
        assert_a_history([first, *rest])
        assert await all_of(jobs.watch(job_id, rest[-1].revision)) == []
        assert await all_of(jobs.watch(job_id, 10**6)) == rest[-1:]

    run(watch())


def test_nobody_is_watched(jobs: Jobs) -> None:
    with pytest.raises(NotFound):
        run(all_of(jobs.watch("nobody")))


def test_watchers_of_one_job_share_one_look(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    changed = Records.changed

    def counted(self: Records, seen: Any) -> Any:
        looks.append(len(seen))
        return changed(self, seen)

    monkeypatch.setattr(Records, "changed", counted)
    office, _engine_room = start(workers=0), start(workers=1)

    async def watch() -> None:
        job_id = await office.submit("count", b"0.8")
        seen = await asyncio.gather(*(all_of(office.watch(job_id)) for _ in range(50)))
        for records in seen:
            assert_a_history(records)
            assert records[-1] == await office.get(job_id)

    run(watch())
    assert looks
    assert set(looks) == {1}
