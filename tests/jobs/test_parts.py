"""What the records promise of jobs made of parts."""

from __future__ import annotations

import threading

import orjson
import pytest

from app.errors import Busy, Gone, IdempotencyConflict, NotFound
from app.jobs.job import BATCH, INTERACTIVE, UNEXPECTED, Claim, Failure, Outcome
from app.jobs.records import Records
from tests.jobs.conftest import Clock

LEASE_S = 10.0
ENDED = ("done", "failed", "cancelled")


def split(records: Records, count: int = 3, *, priority: int = BATCH, max_queued: int = 1000) -> str:
    parts = [b"%d" % number for number in range(count)]
    return records.add("echo", b'"all"', priority=priority, max_queued=max_queued, parts=parts)


def add(records: Records, priority: int = BATCH) -> str:
    return records.add("echo", b"null", priority=priority, max_queued=1000)


def claim(records: Records, owner: str = "a") -> Claim:
    taken = records.claim(owner, "worker", lease_s=LEASE_S)
    assert taken is not None
    return taken


def done(records: Records, run: Claim) -> None:
    records.finish(run, Outcome("done", b"result of " + run.payload))


def recover(records: Records, *gone: str, max_attempts: int = 3) -> int:
    return records.recover((), lambda name: name in gone, max_attempts=max_attempts, failure=UNEXPECTED)


def test_parts_are_taken_in_order_and_joined_in_order(records: Records) -> None:
    job_id = split(records)
    runs = [claim(records) for _ in range(3)]
    assert [run.payload for run in runs] == [b"0", b"1", b"2"]
    assert records.claim("a", "worker", lease_s=LEASE_S) is None
    assert {run.job_id for run in runs} == {job_id}
    for run in reversed(runs):
        done(records, run)
    join = claim(records)
    assert (join.id, join.payload) == (job_id, b'"all"')
    assert join.results == (b"result of 0", b"result of 1", b"result of 2")
    assert records.finish(join, Outcome("done", b"1")) == records.get(job_id)
    assert records.get(job_id).result == b"1"
    assert records.count() == {"done": 1}


def test_a_job_of_parts_counts_those_that_are_done(records: Records) -> None:
    job_id = split(records)
    seen = [records.get(job_id)]
    for _ in range(3):
        run = claim(records)
        seen.append(records.get(job_id))
        told = records.finish(run, Outcome("done", b"1"))
        assert told == records.get(job_id)
        seen.append(records.get(job_id))
    states = [record.state for record in seen]
    assert states == ["queued"] + ["running"] * 6
    assert [record.parts_done for record in seen] == [0, 0, 1, 1, 2, 2, 3]
    assert orjson.loads(seen[-1].progress or b"") == {"done": 3, "total": 3}
    revisions = [record.revision for record in seen]
    assert revisions == sorted(revisions)
    assert len(set(revisions)) == 5, "the first start and each end are changes"


def test_parts_are_no_jobs_of_their_own(records: Records) -> None:
    job_id = split(records)
    part = claim(records)
    for question in (records.get, records.cancel):
        with pytest.raises(NotFound):
            question(part.id)
    assert [record.id for record in records.newest(limit=10)] == [job_id]
    assert records.count() == {"running": 1}


def test_only_the_job_takes_a_place_in_the_queue(records: Records) -> None:
    split(records, 50, max_queued=1)
    with pytest.raises(Busy):
        split(records, max_queued=1)
    claim(records)
    split(records, max_queued=1)


def test_somebody_who_waits_goes_between_the_parts(records: Records) -> None:
    split(records)
    assert claim(records).payload == b"0"
    single = add(records, INTERACTIVE)
    assert records.waits(INTERACTIVE)
    assert claim(records).id == single
    assert not records.waits(INTERACTIVE)
    assert claim(records).payload == b"1"


def test_parts_are_taken_where_whole_jobs_of_a_batch_are_not(records: Records) -> None:
    whole, job_id = add(records), split(records, 1)
    part = records.claim("a", "worker", lease_s=LEASE_S, min_priority=INTERACTIVE)
    assert part is not None
    done(records, part)
    join = records.claim("a", "worker", lease_s=LEASE_S, min_priority=INTERACTIVE)
    assert join is not None
    assert join.id == job_id
    assert records.claim("a", "worker", lease_s=LEASE_S, min_priority=INTERACTIVE) is None
    assert claim(records).id == whole


def test_a_part_that_fails_fails_the_job_and_drops_the_others(records: Records) -> None:
    job_id = split(records, 4)
    first, second, third = claim(records), claim(records), claim(records, "b")
    done(records, first)
    failed = records.finish(second, Outcome("failed", failure=Failure("too-large", "Too large", "part 1", {})))
    assert failed == records.get(job_id)
    assert failed is not None
    assert (failed.state, failed.failure and failed.failure.detail, failed.parts_done) == ("failed", "part 1", 1)
    assert records.claim("a", "worker", lease_s=LEASE_S) is None
    assert records.running("b") == {(third.id, 1): True}, "a part that runs is asked for its end"
    assert records.finish(third, Outcome("done", b"1")) is None
    assert records.get(job_id) == failed


@pytest.mark.parametrize("begun", [0, 1, 2])
def test_a_cancelled_job_takes_its_parts_with_it(records: Records, begun: int) -> None:
    job_id = split(records)
    runs = [claim(records) for _ in range(begun)]
    cancelled = records.cancel(job_id)
    assert cancelled.state == "cancelled"
    assert records.claim("a", "worker", lease_s=LEASE_S) is None
    assert records.running("a") == {(run.id, 1): True for run in runs}
    for run in runs:
        assert records.finish(run, Outcome("cancelled")) is None
    assert records.running("a") == {}
    assert records.get(job_id) == cancelled


def test_a_join_is_cancelled_before_and_while_it_runs(records: Records) -> None:
    waiting = split(records, 1)
    done(records, claim(records))
    assert records.cancel(waiting).state == "cancelled"
    running = split(records, 1)
    done(records, claim(records))
    join = claim(records)
    assert records.cancel(running).state == "running"
    assert records.running("a") == {(running, 1): True}
    ended = records.finish(join, Outcome("cancelled"))
    assert ended is not None
    assert ended.state == "cancelled"


def test_a_lost_part_is_run_again_and_counted_once(records: Records) -> None:
    job_id = split(records, 1)
    lost = claim(records, "a")
    assert recover(records, "a") == 1
    again = claim(records, "b")
    assert (again.id, again.attempt) == (lost.id, 2)
    done(records, again)
    assert records.finish(lost, Outcome("done", b'"late"')) is None
    assert records.get(job_id).parts_done == 1
    assert claim(records).results == (b"result of 0",)


def test_a_part_that_is_lost_too_often_fails_the_job(records: Records) -> None:
    job_id = split(records)
    claim(records, "a")
    assert recover(records, "a", max_attempts=1) == 1
    assert (records.get(job_id).state, records.get(job_id).failure) == ("failed", UNEXPECTED)
    assert records.claim("b", "worker", lease_s=LEASE_S) is None


def test_a_lost_part_of_a_cancelled_job_is_forgotten(records: Records) -> None:
    job_id = split(records)
    claim(records, "a")
    records.cancel(job_id)
    assert recover(records, "a") == 1
    assert records.running("a") == {}
    assert records.claim("b", "worker", lease_s=LEASE_S) is None


def test_a_part_given_back_after_its_job_was_cancelled_is_forgotten(records: Records) -> None:
    job_id = split(records, 2)
    first, second = claim(records), claim(records)
    records.cancel(job_id)
    records.release(first)
    records.requeue(second)
    assert records.claim("b", "worker", lease_s=LEASE_S) is None


def test_a_lost_join_is_run_again_with_all_results(records: Records) -> None:
    job_id = split(records, 2)
    done(records, claim(records))
    done(records, claim(records))
    started_s = records.get(job_id).started_s
    first = claim(records, "a")
    assert recover(records, "a") == 1
    assert records.get(job_id).state == "running"
    second = claim(records, "b")
    assert (second.results, second.attempt) == (first.results, 2)
    records.release(second)
    third = claim(records, "b")
    assert (third.results, third.attempt) == (first.results, 2)
    assert records.finish(first, Outcome("done", b"0")) is None
    done(records, third)
    assert records.get(job_id).started_s == started_s


def test_a_part_given_back_counts_as_no_attempt(records: Records) -> None:
    split(records, 1)
    records.release(claim(records))
    assert claim(records).attempt == 1


def test_nothing_is_left_of_parts_when_their_job_has_gone(records: Records, clock: Clock) -> None:
    job_id = split(records)
    stuck = claim(records, "elsewhere")
    records.cancel(job_id)
    clock.now_s += 101
    records.sweep(100.0)
    with pytest.raises(Gone):
        records.get(job_id)
    assert records.finish(stuck, Outcome("done", b"1")) is None
    assert records.running("elsewhere") == {}


def test_many_takers_join_a_job_exactly_once(database_url: str, records: Records) -> None:
    jobs = [split(records, 20) for _ in range(5)]
    joined: list[str] = []

    def work(owner: str) -> None:
        own = Records(database_url)
        while any(own.get(job_id).state not in ENDED for job_id in jobs):
            run = own.claim(owner, "worker", lease_s=LEASE_S)
            if run is not None:
                joined.extend([run.id] if run.results is not None else [])
                own.finish(run, Outcome("done", run.payload))
        own.close()

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(joined) == sorted(jobs)
    assert [records.get(job_id).parts_done for job_id in jobs] == [20] * 5


def test_half_of_a_batch_is_never_left(records: Records) -> None:
    unwritable: list[bytes] = [b"0", None, b"2"]  # type: ignore[list-item]
    with pytest.raises(Exception, match=r"NOT NULL|does not answer"):
        records.add("echo", b"", priority=BATCH, max_queued=10, parts=unwritable)
    assert records.count() == {}
    assert records.claim("a", "worker", lease_s=LEASE_S) is None


def keyed(
    records: Records,
    key: str = "k",
    *,
    payload: bytes = b"1",
    parts: tuple[bytes, ...] = (),
    asked: bytes | None = None,
) -> str:
    return records.add("echo", payload, priority=BATCH, max_queued=2, parts=parts, key=key, asked=asked)


def test_a_key_gives_the_job_that_it_gave_before(records: Records) -> None:
    first = keyed(records)
    assert keyed(records) == first
    other = keyed(records, "another", parts=(b"1", b"2"))
    assert other != first
    assert keyed(records, "another", parts=(b"1", b"2")) == other, "a full queue refuses no job that it has"
    records.cancel(first)
    assert keyed(records) == first


@pytest.mark.parametrize(("payload", "parts"), [(b"2", ()), (b"1", (b"12",)), (b"1", (b"2", b"1")), (b"11", (b"2",))])
def test_a_key_with_other_work_is_refused(records: Records, payload: bytes, parts: tuple[bytes, ...]) -> None:
    keyed(records, payload=b"1", parts=(b"1", b"2"))
    with pytest.raises(IdempotencyConflict):
        keyed(records, payload=payload, parts=parts)
    assert sum(records.count().values()) == 1


def test_a_key_is_held_against_what_was_asked_where_the_work_says_more(records: Records) -> None:
    first = keyed(records, payload=b"1 by version 3", asked=b"1")
    assert keyed(records, payload=b"1 by version 4", asked=b"1") == first
    with pytest.raises(IdempotencyConflict):
        keyed(records, payload=b"1 by version 3", asked=b"2")


def test_keys_of_any_length_and_alphabet_are_told_apart(records: Records) -> None:
    long = "k" * 5000
    assert len({keyed(records, key) for key in (long + "1", long + "2")}) == 2
    assert keyed(records, long + "1") == keyed(records, long + "1")
    with pytest.raises(Busy):
        keyed(records, "\x00")


def test_a_key_is_forgotten_with_its_job(records: Records, clock: Clock) -> None:
    first = keyed(records)
    done(records, claim(records))
    clock.now_s += 101
    records.sweep(100.0)
    assert keyed(records, payload=b"2") != first


def test_one_key_sent_many_times_at_once_makes_one_job(database_url: str, records: Records) -> None:
    ids: list[str] = []
    ready = threading.Barrier(4)

    def send() -> None:
        own = Records(database_url)
        for round_ in range(10):
            ready.wait()
            ids.append(own.add("echo", b"", priority=0, max_queued=100, parts=[b"1"] * 5, key=f"key {round_}"))
        own.close()

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 40
    assert len(set(ids)) == 10
    assert records.count() == {"queued": 10}


def test_jobs_are_listed_newest_first_and_without_results(records: Records, clock: Clock) -> None:
    ids = []
    for kind in ("echo", "count", "echo", "echo"):
        clock.now_s += 1
        ids.append(records.add(kind, b"null", priority=BATCH, max_queued=10))
    done(records, claim(records))
    assert [record.id for record in records.newest(limit=10)] == ids[::-1]
    assert [record.id for record in records.newest(limit=2)] == ids[:1:-1]
    assert [record.id for record in records.newest(kind="count", limit=10)] == [ids[1]]
    (ended,) = records.newest(state="done", limit=10)
    assert (ended.id, ended.result) == (ids[0], None)
    clock.now_s += 101
    records.sweep(100.0)
    assert [record.id for record in records.newest(limit=10)] == ids[:0:-1]


def test_only_what_changed_is_read_again(records: Records) -> None:
    first, second = add(records), split(records)
    seen = {job_id: records.get(job_id).revision for job_id in (first, second)} | {"nobody": 0}
    assert records.changed(seen) == []
    run = claim(records)
    records.report(run, b"1")
    assert records.changed(seen) == [records.get(first)]
    assert records.get(first).revision == seen[first] + 2
