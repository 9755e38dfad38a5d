"""What the table of jobs promises, whoever uses it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from app.errors import Busy, Gone, JobsUnavailable, NotFound
from app.jobs.job import UNEXPECTED, Claim, Outcome
from app.jobs.records import TOMBSTONE_S, Records
from tests.jobs.conftest import Clock

LEASE_S = 10.0
DONE = Outcome("done", b"1")


def add(records: Records, priority: int = 0, payload: bytes = b"null") -> str:
    return records.add("echo", payload, priority=priority, max_queued=1000)


def claim(records: Records, owner: str = "a") -> Claim:
    taken = records.claim(owner, "worker", lease_s=LEASE_S)
    assert taken is not None
    return taken


def recover(records: Records, *gone: str, held: tuple[str, ...] = (), max_attempts: int = 3) -> int:
    return records.recover(held, lambda name: name in gone, max_attempts=max_attempts, failure=UNEXPECTED)


def test_ids_cannot_be_guessed(records: Records) -> None:
    ids = {add(records) for _ in range(100)}
    assert len(ids) == 100
    assert min(map(len, ids)) >= 32  # 128 bits, hexadecimal


def test_no_id_looks_like_an_option_of_a_command(records: Records) -> None:
    assert all(add(records).isalnum() for _ in range(200))


def test_the_highest_priority_is_taken_first_and_then_the_oldest(records: Records, clock: Clock) -> None:
    expected = {}
    for priority in (0, 5, 0, 5, 9):
        clock.now_s += 1
        expected[-priority, clock.now_s] = add(records, priority)
    assert [claim(records).id for _ in expected] == [expected[key] for key in sorted(expected)]
    assert records.claim("a", "worker", lease_s=LEASE_S) is None


def test_two_takers_never_get_the_same_job(database_url: str, records: Records) -> None:
    ids = {add(records) for _ in range(60)}
    taken: list[str] = []

    def take(owner: str) -> None:
        other = Records(database_url)
        while (job := other.claim(owner, "worker", lease_s=LEASE_S)) is not None:
            taken.append(job.id)
        other.close()

    threads = [threading.Thread(target=take, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(ids)


def test_the_queue_is_bounded_by_what_waits(records: Records) -> None:
    for _ in range(2):
        records.add("echo", b"", priority=0, max_queued=2)
    with pytest.raises(Busy):
        records.add("echo", b"", priority=0, max_queued=2)
    claim(records)
    records.add("echo", b"", priority=0, max_queued=2)
    assert records.count() == {"queued": 2, "running": 1}


def test_a_lease_that_is_renewed_is_not_lost(records: Records, clock: Clock) -> None:
    job_id = add(records)
    claim(records, "a")
    for _ in range(5):
        clock.now_s += LEASE_S / 2
        records.renew("a", [job_id], lease_s=LEASE_S)
        records.renew("b", [job_id], lease_s=10 * LEASE_S)
        assert recover(records) == 0
    for _ in range(int(LEASE_S) + 1):
        clock.now_s += 1
        assert recover(records, held=(job_id,)) == 0, "an engine does not take its own jobs from itself"
    assert recover(records) == 1
    assert records.count() == {"queued": 1}


def test_the_answer_of_a_run_that_lost_its_lease_is_dropped(records: Records) -> None:
    job_id = add(records)
    lost = claim(records, "a")
    assert recover(records, "a") == 1
    second = claim(records, "b")
    assert second.attempt == 2
    assert records.finish(lost, Outcome("done", b'"first"')) is None
    records.report(lost, b'"first"')
    assert records.get(job_id).progress is None
    finished = records.finish(second, Outcome("done", b'"second"'))
    assert finished == records.get(job_id)
    assert finished is not None
    assert finished.result == b'"second"'


def test_a_lost_job_ends_as_its_caller_wants(records: Records) -> None:
    tired, cancelled = add(records), add(records)
    claim(records, "a"), claim(records, "a")
    records.cancel(cancelled)
    assert recover(records, "a", max_attempts=1) == 2
    assert (records.get(tired).state, records.get(tired).failure) == ("failed", UNEXPECTED)
    assert records.get(cancelled).state == "cancelled"


def test_a_run_given_back_counts_as_none(records: Records) -> None:
    job_id = add(records)
    records.release(claim(records))
    assert (records.get(job_id).state, records.get(job_id).attempts) == ("queued", 0)
    records.requeue(claim(records))
    assert (records.get(job_id).state, records.get(job_id).attempts) == ("queued", 1)


def test_a_cancelled_run_is_known_to_its_owner(records: Records) -> None:
    job_id = add(records)
    run = claim(records, "a")
    assert records.running("a") == {(job_id, 1): False}
    records.cancel(job_id)
    assert records.running("a") == {(job_id, 1): True}
    assert records.running("b") == {}
    records.finish(run, Outcome("cancelled"))
    assert records.running("a") == {}


def test_old_records_are_emptied_and_then_forgotten(records: Records, clock: Clock) -> None:
    old = add(records, payload=b"secret")
    waiting = add(records)
    records.finish(claim(records), DONE)
    records.sweep(100.0)
    assert records.get(old).result == b"1"
    clock.now_s += 101
    records.sweep(100.0)
    with pytest.raises(Gone):
        records.get(old)
    with pytest.raises(Gone):
        records.cancel(old)
    clock.now_s += TOMBSTONE_S
    records.sweep(100.0)
    with pytest.raises(NotFound):
        records.get(old)
    assert records.get(waiting).state == "queued"
    assert records.count() == {"queued": 1}


def test_the_folder_of_the_records_is_for_its_owner_alone(tmp_path: Path) -> None:
    Records(f"sqlite:///{tmp_path}/state/jobs.sqlite3").close()
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0


def test_a_damaged_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "jobs.sqlite3").write_bytes(b"not a database" * 1000)
    with pytest.raises(JobsUnavailable) as caught:
        Records(f"sqlite:///{tmp_path}/jobs.sqlite3")
    assert str(tmp_path) not in caught.value.message


def test_a_database_without_a_file_is_refused() -> None:
    with pytest.raises(ValueError, match="file"):
        Records("sqlite://")


def test_a_clock_that_is_set_takes_no_run_from_an_owner_that_lives(database_url: str) -> None:
    clock, steady = Clock(), Clock()
    records = Records(database_url, clock=clock, steady=steady)
    living, dead = add(records), add(records)
    claim(records, "living"), claim(records, "dead")

    def passes(seconds: int) -> int:
        found = 0
        for _ in range(seconds):
            clock.now_s, steady.now_s = clock.now_s + 1, steady.now_s + 1
            records.renew("living", [living], lease_s=LEASE_S)
            found += recover(records)
        return found

    clock.now_s += 3600.0
    assert recover(records) == 0
    assert passes(20) == 1
    assert [records.get(job_id).state for job_id in (living, dead)] == ["running", "queued"]
    records.close()
