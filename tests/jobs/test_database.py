"""The database under the records, as several service processes meet it."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
import structlog.testing

from app.errors import JobsUnavailable
from app.jobs.records import Records


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
