"""A service whose jobs run the fake solver in real worker processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.jobs.engine import EngineOptions
from app.jobs.kinds import Kind
from app.jobs.service import Jobs
from app.main import create_app
from app.model_registry.registry import Registry
from app.model_registry.store import ModelStore
from app.settings import Settings
from tests.fakes import FakeRegistry

KINDS = {
    "indexing.solve": Kind("tests.indexing_fakes:run"),
    "indexing.batch": Kind("tests.indexing_fakes:run_part", join="app.indexing.batch_job:join"),
    "indexing.files": Kind("tests.indexing_fakes:run_file", join="app.indexing.files_job:join"),
}


def application(
    folder: Path, settings: Settings | None = None, *, workers: int = 2, store: ModelStore | None = None
) -> FastAPI:
    """The service over a database in a folder; with a store, its models are those of that."""
    kinds = KINDS if store is None else {name: replace(kind, place=str(store.root)) for name, kind in KINDS.items()}
    registry = FakeRegistry() if store is None else Registry(store, poll_s=0.05)
    jobs = Jobs(f"sqlite:///{folder}/jobs.sqlite3", kinds, EngineOptions(workers=workers))
    settings = settings or Settings(max_solve_seconds=60, max_patterns=5)
    return create_app(settings, registry=registry, jobs=jobs)


@contextmanager
def serving(
    folder: Path, settings: Settings | None = None, *, workers: int = 2, store: ModelStore | None = None
) -> Iterator[TestClient]:
    with TestClient(application(folder, settings, workers=workers, store=store)) as client:
        yield client
