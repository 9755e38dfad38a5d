"""The database under the records, as several service processes meet it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import structlog.testing

from app.errors import JobsUnavailable
from app.jobs.records import Records

REPOSITORY = Path(__file__).resolve().parents[2]


def test_services_that_start_at_once_make_the_tables_together(database_url: str) -> None:
    opened: list[Records] = []
    together = threading.Barrier(8)

    def begin() -> None:
        together.wait()
        opened.append(Records(database_url))

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 8
    for records in opened:
        assert records.count() == {}
        records.close()


TAKER = """
import sys
from app.jobs.job import Outcome
from app.jobs.records import Records

records = Records(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
while (claim := records.claim(sys.argv[2], "worker", lease_s=60.0)) is not None:
    assert records.finish(claim, Outcome("done", claim.payload)) is not None
    print(claim.id)
"""


def test_processes_that_take_jobs_from_one_database_take_each_once(database_url: str) -> None:
    records = Records(database_url)
    payloads = {records.add("echo", b"%d" % n, priority=0, max_queued=1000): b"%d" % n for n in range(200)}
    takers = [
        subprocess.Popen(
            [sys.executable, "-c", TAKER, database_url, name],
            cwd=REPOSITORY,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for name in "abc"
    ]
    for taker in takers:
        assert taker.stdout is not None
        assert taker.stdout.readline() == "ready\n"
    for taker in takers:
        assert taker.stdin is not None
        taker.stdin.write("go\n")
        taker.stdin.flush()
    taken = [taker.communicate()[0].split() for taker in takers]
    assert sorted(job_id for ids in taken for job_id in ids) == sorted(payloads)
    found = {job_id: (records.get(job_id).result, records.get(job_id).attempts) for job_id in payloads}
    assert found == {job_id: (payload, 1) for job_id, payload in payloads.items()}
    records.close()


def test_the_log_tells_of_an_outage_once_and_of_its_end(tmp_path: Path) -> None:
    records = Records(f"sqlite:///{tmp_path}/jobs.sqlite3")
    with sqlite3.connect(tmp_path / "jobs.sqlite3") as other, structlog.testing.capture_logs() as log:
        other.execute("ALTER TABLE beamline_jobs_2 RENAME TO away")
        for _ in range(10):
            with pytest.raises(JobsUnavailable):
                records.count()
        other.execute("ALTER TABLE away RENAME TO beamline_jobs_2")
        records.count()
    other.close()
    records.close()
    assert [entry["event"] for entry in log] == ["the jobs database failed", "the jobs database answers again"]
    assert "no such table" in log[0]["error"]
