"""A service whose jobs run the fake solver in real worker processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.jobs.engine import EngineOptions
from app.jobs.kinds import Kind
from app.jobs.service import Jobs
from app.main import create_app
from app.settings import Settings
from tests.fakes import FakeRegistry

KINDS = {
    "indexing.solve": Kind("tests.indexing_fakes:run"),
    "indexing.batch": Kind("tests.indexing_fakes:run_part", join="app.indexing.batch_job:join"),
    "indexing.files": Kind("tests.indexing_fakes:run_file", join="app.indexing.files_job:join"),
}


def application(folder: Path, settings: Settings | None = None, *, workers: int = 2) -> FastAPI:
    """The service over a database in a folder."""
    jobs = Jobs(f"sqlite:///{folder}/jobs.sqlite3", KINDS, EngineOptions(workers=workers))
    settings = settings or Settings(max_solve_seconds=60, max_patterns=5)
    return create_app(settings, registry=FakeRegistry(), jobs=jobs)


@contextmanager
def serving(folder: Path, settings: Settings | None = None, *, workers: int = 2) -> Iterator[TestClient]:
    with TestClient(application(folder, settings, workers=workers)) as client:
        yield client
