"""The database is locked, stopped, restarted, full or damaged: jobs wait, none is lost, and predictions go on."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.faults.conftest import Begin
from tests.faults.service import Service, cell_of, pattern, until
from tests.postgresql import Server

Fault = Callable[[], AbstractContextManager[None]]
SHORT_S, LONG_S = 1.0, 10.0


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A PostgreSQL server that is stopped and started."""
    own = Server()
    yield own
    own.close()


def locked(folder: Path) -> tuple[str, Fault]:
    path = folder / "jobs.sqlite3"

    @contextmanager
    def fault() -> Iterator[None]:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")
        other.close()

    return f"sqlite:///{path}", fault


def restarted(server: Server) -> tuple[str, Fault]:
    @contextmanager
    def fault() -> Iterator[None]:
        server.stop()
        yield
        server.start()

    return server.url(), fault


def crashed(server: Server) -> tuple[str, Fault]:
    @contextmanager
    def fault() -> Iterator[None]:
        server.kill()
        yield
        server.start()

    return server.url(), fault


def hung(server: Server) -> tuple[str, Fault]:
    @contextmanager
    def fault() -> Iterator[None]:
        server.signal(signal.SIGSTOP)
        yield
        server.signal(signal.SIGCONT)

    return server.url(), fault


FAULTS = {"restarted": restarted, "crashed": crashed, "hung": hung}


def refused(answer: httpx.Response) -> bool:
    """Whether it is a 503 that says when to come back, and nothing of the database's own words."""
    if answer.status_code != 503:
        return False
    assert answer.json()["type"].endswith("/jobs-unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    assert not any(word in answer.text for word in ("sqlite", "psycopg", "/tmp", "database is locked"))
    return True


@pytest.mark.parametrize(
    ("fault", "away_s"),
    [
        ("locked", SHORT_S),
        ("restarted", SHORT_S),
        *(pytest.param(fault, LONG_S, marks=pytest.mark.slow) for fault in ("locked", *FAULTS)),
    ],
)
def test_jobs_wait_for_a_database_that_is_away(
    begin: Begin, tmp_path: Path, server: Server, fault: str, away_s: float
) -> None:
    url, away = locked(tmp_path) if fault == "locked" else FAULTS[fault](server)
    service = begin(url)
    before = service.prediction()
    edges_ang = [5.0, 5.4, 5.8]
    addresses = [service.submit(pattern(edge_ang)) for edge_ang in edges_ang]
    until(lambda: service.job(addresses[0])["state"] == "running", "no job is begun")
    with away():
        end_s = time.monotonic() + away_s
        while time.monotonic() < end_s:
            answer = service.ask(pattern(5.43))
            assert refused(answer), answer.text
            assert service.prediction() == before, "predictions need no database"
            assert service.http.get("/health/ready").status_code == 200
            time.sleep(0.2)
    assert [round(cell_of(service.finished(address)), 1) for address in addresses] == edges_ang
    assert {service.job(address)["attempts"] for address in addresses} == {1}, "nothing was run twice"
    assert round(cell_of(service.finished(service.submit(pattern(5.43)))), 2) == 5.43


def damaged_header(path: Path) -> None:
    path.write_bytes(b"This was a database once. " * 400)


def damaged_within(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE beamline_jobs_2 (id TEXT PRIMARY KEY, note TEXT)")
    database.executemany("INSERT INTO beamline_jobs_2 VALUES (?, ?)", [(str(n), "x" * 500) for n in range(200)])
    database.commit()
    database.close()
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xff" * 4000 + content[4100:])


@pytest.mark.parametrize("damage", [damaged_header, pytest.param(damaged_within, marks=pytest.mark.slow)])
def test_a_damaged_database_is_left_alone(begin: Begin, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = tmp_path / "jobs.sqlite3"
    damage(path)
    before = path.read_bytes()
    service = begin(f"sqlite:///{path}", job_workers="0")
    assert refused(service.ask(pattern(5.43)))
    assert service.prediction()
    assert service.http.get("/health/ready").status_code == 200
    assert path.read_bytes() == before, "what may still be saved is not written over"
    assert "the jobs database failed" in service.log()
    path.rename(tmp_path / "kept")
    until(lambda: service.ask(pattern(5.43)).status_code == 202, "the service does not begin a new database")


@pytest.mark.slow
def test_a_database_that_is_not_there_yet_is_waited_for(begin: Begin, server: Server) -> None:
    url = server.url()
    server.stop()
    service: Service = begin(url)
    assert service.prediction()
    assert refused(service.ask(pattern(5.43)))
    server.start()
    until(lambda: service.ask(pattern(5.43), key="first").status_code == 202, "the database is not found")
    assert round(cell_of(service.finished(service.submit(pattern(5.43), key="first"))), 2) == 5.43
