"""The database under the records, as several service processes meet it."""

from __future__ import annotations

import threading

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
