"""A service of its own process with the published models and one worker, for our own clients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from beamline_client import Client
from tests.served import REPOSITORY, served

QUARTZ_D_ANG = [4.2551, 3.3434, 2.4567, 2.2813, 2.2365, 2.1276, 1.9797, 1.8179, 1.8017, 1.6717, 1.6591, 1.6083]
"""Low quartz, hP with a = 4.913 and c = 5.405 Angstrom (PDF 46-1045)."""


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``http://host:port``."""
    folder = tmp_path_factory.mktemp("service")
    database = f"sqlite:///{folder}/jobs.sqlite3"
    with served(REPOSITORY / "model_store", job_workers="1", jobs_database=database) as found:
        yield f"http://{found}"


@pytest.fixture
def service(address: str) -> Iterator[Client]:
    with Client(address) as client:
        yield client


@pytest.fixture
def decay() -> Path:
    """A simulated decay of D3."""
    return REPOSITORY / "docs" / "examples" / "decay.fli"
