"""Services for one test, all ended with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.faults.service import Service

Begin = Callable[..., Service]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Start services; each has a folder of its own."""
    begun: list[Service] = []

    def start(database: str, prefix: Sequence[str] = (), **variables: str) -> Service:
        folder = tmp_path / f"service-{len(begun)}"
        folder.mkdir()
        begun.append(Service(folder, database, prefix, **variables))
        return begun[-1].start()

    yield start
    for service in begun:
        service.stop()
        service.http.close()
