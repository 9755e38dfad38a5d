"""Two services over one PostgreSQL: whichever is asked knows every job, and one of them may die."""

from __future__ import annotations

from tests.faults.conftest import Begin
from tests.faults.service import ENDLESS, cell_of, pattern, until


def test_a_job_is_known_at_both(begin: Begin, postgresql_url: str) -> None:
    office, engine_room = begin(postgresql_url, job_workers="0"), begin(postgresql_url)
    address = office.submit(pattern(5.43))
    with office.http.stream("GET", f"{address}/events") as events:
        told = [line.removeprefix("event: ") for line in events.iter_lines() if line.startswith("event:")]
    assert told[-1] == "done"
    assert office.job(address) == engine_room.job(address)
    assert round(cell_of(office.job(address)), 2) == 5.43

    endless = office.submit(ENDLESS, key="once")
    assert engine_room.submit(ENDLESS, key="once") == endless
    until(lambda: office.job(endless)["state"] == "running", "the job is not begun")
    answer = office.http.delete(endless)
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled"), "within a second"
    assert engine_room.job(endless)["state"] == "cancelled"


def test_what_a_killed_service_was_running_is_done_by_the_other(begin: Begin, postgresql_url: str) -> None:
    left, right = begin(postgresql_url), begin(postgresql_url)
    edges_ang = [5.0, 5.2, 5.4, 5.6]
    addresses = [left.submit(pattern(edge_ang)) for edge_ang in edges_ang]
    until(lambda: any(left.job(address)["state"] == "running" for address in addresses), "no job is begun")
    left.kill()
    assert [round(cell_of(right.finished(address)), 1) for address in addresses] == edges_ang
