"""The disk is full while a model is published, and while jobs are accepted."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import Begin
from tests.faults.disk import SmallDisk
from tests.faults.service import REPOSITORY, Service, cell_of, pattern, until

MODEL = "polarization-crystalline"
PUBLISH = """
import sys
from pathlib import Path
from app.errors import AppError
from app.model_registry.manifest import MANIFEST_FILE, ModelDraft
from app.model_registry.store import ModelStore

store, name = ModelStore(Path(sys.argv[1])), sys.argv[2]
shipped = store.read(name, 1)
draft = ModelDraft.model_validate(shipped.manifest.model_dump(include=set(ModelDraft.model_fields)))
try:
    print(store.publish(draft, shipped.contents, promote=("stable",)).version)
except AppError as error:
    sys.exit(f"{error.kind}: {error.message}")
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    made = SmallDisk(tmp_path / "disk", "4m")
    yield made
    made.close()


def publish(disk: SmallDisk) -> subprocess.CompletedProcess[str]:
    command = [*disk.prefix, sys.executable, "-c", PUBLISH, str(disk.folder / "store"), MODEL]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def served(service: Service) -> list[tuple[int, list[str], str]]:
    """The versions of the model that the service knows."""
    models = service.http.get("/models").json()["models"]
    versions = next(model["versions"] for model in models if model["name"] == MODEL)
    return [(version["version"], version["aliases"], version["state"]) for version in versions]


def test_a_publication_without_room_changes_nothing(begin: Begin, disk: SmallDisk, tmp_path: Path) -> None:
    store, model = disk.folder / "store", disk.outside / "store" / MODEL
    shutil.copytree(REPOSITORY / "model_store" / MODEL, model)
    variables = {"model_store": str(store), "registry_poll_s": "0.1", "job_workers": "0"}
    service = begin(f"sqlite:///{tmp_path}/jobs.sqlite3", disk.prefix, **variables)
    before, there = service.prediction(), names(model)
    for leave in (0, 8192, 65536):
        disk.fill(leave=leave)
        failed = publish(disk)
        assert failed.returncode == 1
        assert failed.stderr.startswith("conflict: The model store cannot be written (No space left on device)")
        assert str(store) not in failed.stderr
        assert names(model) == there, "nothing is left that takes room or could be seen"
        assert served(service) == [(1, ["latest", "stable"], "ready")]
        assert service.prediction() == before
        disk.free()
    assert publish(disk).stdout == "2\n"
    until(lambda: (2, ["latest", "stable"], "ready") in served(service), "the new version is not taken up")
    assert service.prediction()


def test_a_full_disk_refuses_jobs_and_loses_none(begin: Begin, disk: SmallDisk) -> None:
    service = begin(f"sqlite:///{disk.folder}/jobs.sqlite3", disk.prefix)
    before = service.prediction()
    accepted: dict[str, float] = {}

    def is_refused() -> bool:
        edge_ang = round(5.0 + 0.01 * len(accepted), 2)
        answer = service.ask(pattern(edge_ang) | {"name": "n" * 100})
        if answer.status_code == 202:
            accepted[answer.headers["Location"]] = edge_ang
            return False
        problem: dict[str, Any] = answer.json()
        assert answer.status_code == 503
        assert problem["type"].endswith("/jobs-unavailable")
        assert answer.headers["Retry-After"]
        return True

    assert not is_refused()
    disk.fill()
    until(is_refused, "a database without room takes jobs")
    assert service.prediction() == before
    assert "disk is full" in service.log() or "disk I/O error" in service.log()
    disk.free()
    until(lambda: not is_refused(), "the database does not come back")
    found = {address: round(cell_of(service.finished(address)), 2) for address in accepted}
    assert found == accepted
