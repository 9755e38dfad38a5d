"""A service of its own process with the published models and one worker, for our own clients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.api.access import Scope
from app.api.keys import create_key
from beamline_client import Client
from tests.served import REPOSITORY, served

QUARTZ_D_ANG = [4.2551, 3.3434, 2.4567, 2.2813, 2.2365, 2.1276, 1.9797, 1.8179, 1.8017, 1.6717, 1.6591, 1.6083]
"""Low quartz, hP with a = 4.913 and c = 5.405 Angstrom (PDF 46-1045)."""


@pytest.fixture(scope="session")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The keys of the service; with it, nobody without a key may do anything."""
    return tmp_path_factory.mktemp("keys") / "keys.json"


@pytest.fixture(scope="session")
def key(keys_file: Path) -> str:
    """The secret of who may predict and solve."""
    return create_key(keys_file, "control", [Scope.PREDICT, Scope.SOLVE])[0]


@pytest.fixture(scope="session")
def other_keys(keys_file: Path) -> dict[str, str]:
    """Secrets of others by their names, which are what they may do."""
    return {scope.value: create_key(keys_file, scope.value, [scope])[0] for scope in Scope}


@pytest.fixture(scope="session")
def address(
    tmp_path_factory: pytest.TempPathFactory, keys_file: Path, key: str, other_keys: dict[str, str]
) -> Iterator[str]:
    """``http://host:port``."""
    assert key not in other_keys.values()
    folder = tmp_path_factory.mktemp("service")
    database = f"sqlite:///{folder}/jobs.sqlite3"
    store = REPOSITORY / "model_store"
    with served(store, job_workers="1", jobs_database=database, keys_file=str(keys_file)) as found:
        yield f"http://{found}"


@pytest.fixture
def service(address: str, key: str) -> Iterator[Client]:
    with Client(address, api_key=key) as client:
        yield client


@pytest.fixture
def decay() -> Path:
    """A simulated decay of D3."""
    return REPOSITORY / "docs" / "examples" / "decay.fli"
