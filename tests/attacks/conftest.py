"""One service under attack, in processes of its own, that must be as sound after each module as before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.operations import Operation, operations
from tests.attacks.raw import KEY
from tests.faults.service import Service

BODY_LIMIT = 1024 * 1024
UPLOAD_LIMIT = 4 * 1024 * 1024
MEMORY_LIMIT_MIB = 500
"""The service alone takes a third of it; a bomb would take gigabytes."""


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with a job worker, small limits and a log of JSON lines."""
    folder = tmp_path_factory.mktemp("attacked")
    variables = {"max_body_bytes": str(BODY_LIMIT), "max_upload_bytes": str(UPLOAD_LIMIT), "job_workers": "1"}
    variables |= {"admin_key": KEY, "max_waveforms": "500"}
    service = Service(folder, f"sqlite:///{folder}/jobs.sqlite3", **variables)
    service.http.headers["Authorization"] = f"Apikey {KEY}"
    service.start()
    yield service
    service.stop()
    service.http.close()


@pytest.fixture(scope="package")
def document(service: Service) -> dict[str, Any]:
    return service.http.get("/openapi.json").json()


@pytest.fixture(scope="package")
def posts(document: dict[str, Any]) -> list[Operation]:
    """Every operation that takes a body."""
    return [operation for operation in operations(document) if operation.media_types]


@pytest.fixture(scope="module", autouse=True)
def _sound(service: Service) -> Iterator[None]:
    """Whatever a module has tried, the service answers as before, has not grown, and logs no error of its own."""
    before, start = service.prediction(), len(service.log())
    yield
    assert service.prediction() == before
    assert most_memory_mib(service.pid) < MEMORY_LIMIT_MIB
    assert errors(service.log()[start:]) == []


def errors(log: str) -> list[str]:
    """Lines that say that something failed."""
    records = [line for line in log.splitlines() if line.startswith("{")]
    return [line for line in records if json.loads(line)["level"] in ("error", "critical")]


def most_memory_mib(pid: int) -> float:
    """The most resident memory that a process has ever had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("the process tells nothing of its memory")
