"""A service with keys, whose jobs wait for ever, and its keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.api.access import Access, Scope
from app.api.keys import create_key
from app.jobs.engine import EngineOptions
from app.jobs.service import Jobs
from app.main import create_app
from app.settings import Settings
from tests.api.indexing_client import KINDS
from tests.fakes import FakeModel, FakeRegistry

LINES = {"d_ang": [4.157, 2.939, 2.400, 2.078, 1.859, 1.697, 1.470, 1.386]}
LATER = {"Prefer": "respond-async"}


def application(folder: Path, *, workers: int = 0, url: str = "", **settings: Any) -> FastAPI:
    """The service with the keys file and the database of a folder."""
    chosen = Settings.model_validate({"keys_file": folder / "keys.json", "max_jobs_per_key": 3, **settings})
    options = EngineOptions(workers=workers)
    url = url or f"sqlite:///{folder}/jobs.sqlite3"
    jobs = Jobs(url, KINDS, options, max_of_owner=chosen.max_jobs_per_key)
    return create_app(chosen, registry=FakeRegistry([FakeModel("decay", "1")]), jobs=jobs)


@contextmanager
def protected(folder: Path, **settings: Any) -> Iterator[TestClient]:
    """A client of it; keys that the test makes afterwards count from `look` on."""
    with TestClient(application(folder, **settings), raise_server_exceptions=False) as client:
        yield client


def access_of(client: TestClient) -> Access:
    return client.app.state.access  # type: ignore[attr-defined]


def look(client: TestClient) -> None:
    """Read the keys file now, as the service does within a second."""
    access_of(client).refresh()


def key(folder: Path, name: str, *scopes: Scope, **more: Any) -> dict[str, str]:
    """Make a key and give the header with it."""
    return {"Authorization": f"Apikey {create_key(folder / 'keys.json', name, scopes, **more)[0]}"}
