"""A service that is killed, and killed again: what it accepted is done, once, and rightly."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.jobs.records import Records
from tests.faults.conftest import Begin
from tests.faults.service import Service, cell_of, pattern, until

EDGES_ANG = [round(5.0 + 0.02 * number, 2) for number in range(50)]


class Customer:
    """Sends every job until it is accepted, each with a key, as a client does that is told to be careful."""

    def __init__(self, service: Service, edges_ang: Sequence[float]) -> None:
        self.addresses: dict[float, str] = {}
        self.answers: dict[float, Any] = {}
        """What was already answered when a job was sent again."""
        self._service = service
        self._edges_ang = edges_ang
        self._thread = threading.Thread(target=self._send_all, daemon=True)
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def _send_all(self) -> None:
        for edge_ang in self._edges_ang:
            answer = self._send(edge_ang)
            if answer.status_code == 202:
                self.addresses[edge_ang] = answer.headers["Location"]
            else:
                self.answers[edge_ang] = {"state": "done", "result": answer.json()}

    def _send(self, edge_ang: float) -> httpx.Response:
        while True:
            try:
                answer = self._service.ask(pattern(edge_ang), key=f"edge-{edge_ang}")
            except httpx.TransportError:
                time.sleep(0.05)
                continue
            if answer.status_code in (200, 202):
                return answer
            assert answer.status_code == 503, answer.text


def done(service: Service, customer: Customer) -> dict[str, Any]:
    """The results that there are, by the addresses of their jobs."""
    jobs = {address: service.job(address) for address in list(customer.addresses.values())}
    return {address: job["result"] for address, job in jobs.items() if job["state"] == "done"}


@pytest.mark.parametrize(
    ("sort", "jobs", "kills"),
    [
        ("sqlite", 10, 1),
        pytest.param("sqlite", 50, 3, marks=pytest.mark.slow),
        pytest.param("postgresql", 50, 3, marks=pytest.mark.slow),
    ],
)
def test_no_accepted_job_is_lost_or_answered_twice(
    request: pytest.FixtureRequest, tmp_path: Path, begin: Begin, sort: str, jobs: int, kills: int
) -> None:
    sqlite = f"sqlite:///{tmp_path}/jobs.sqlite3"
    database_url = sqlite if sort == "sqlite" else request.getfixturevalue("postgresql_url")
    service = begin(database_url, job_workers="2")
    edges_ang = EDGES_ANG[:jobs]
    customer = Customer(service, edges_ang)
    seen: dict[str, Any] = {}
    for _ in range(kills):
        enough = len(seen) + jobs // (kills + 2)
        until(lambda enough=enough: len(done(service, customer)) >= enough, "no further jobs are done")
        seen |= done(service, customer)
        service.kill()
        service.start()
    customer.join()
    answers = customer.answers | {
        edge_ang: service.finished(address) for edge_ang, address in customer.addresses.items()
    }
    assert {edge_ang: round(cell_of(job), 2) for edge_ang, job in answers.items()} == {edge: edge for edge in edges_ang}
    now = done(service, customer)
    assert {address: now[address] for address in seen} == seen, "an answer that was given never changes"
    records = Records(database_url)
    assert records.count() == {"done": jobs}, "a job that is sent again with its key is the same job"
    records.close()
