"""Fixtures that every test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgresql import Server

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def _quiet_jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep services that a test starts from starting workers, unless it asks for them, and from writing in here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BEAMLINE_JOB_WORKERS", "0")
        state = tmp_path_factory.mktemp("state")
        patch.setenv("BEAMLINE_JOBS_DATABASE", f"sqlite:///{state}/jobs.sqlite3")
        patch.setenv("BEAMLINE_KEYS_FILE", f"{state}/keys.json")
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Give the folder of the real measurements (it holds `polarization/`), or skip the test."""
    folder = Path(os.environ.get("BEAMLINE_SHARED_DATA") or REPOSITORY.parent / "shared" / "data")
    if not (folder / "polarization").is_dir():
        pytest.skip("the real measurements are not on this machine; set BEAMLINE_SHARED_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A real PostgreSQL server that the tests share; those that stop it start one of their own."""
    server = Server()
    yield server
    server.close()


@pytest.fixture
def postgresql_url(postgresql: Server) -> str:
    """The address of an empty database of PostgreSQL."""
    return postgresql.url()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database, of either sort."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state/jobs.sqlite3"
    return request.getfixturevalue("postgresql_url")
