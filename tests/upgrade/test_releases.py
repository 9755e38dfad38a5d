"""This release over what an older one has left, and beside it over one database."""

from __future__ import annotations

import io
import re
import sqlite3
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from app.settings import Settings
from tests.faults.service import REPOSITORY, Service, cell_of, pattern, until

pytestmark = pytest.mark.slow

BEFORE = "c9b502388bab69bd3c9e1371f43c468fd699e059"
"""A state of this project from before the present release, with the same layout of the table."""
COMPILES_S = 900.0
EVER = str(10 * 365 * 86400)
DONE, RUNNING = "c7d555e0236897e03333affbbb5a4968", "474110e4130126516f4fe2e086a1295f"
WAITING, BATCH = "b03ea230c11dee9f99086490d928ad38", "4f6ab9568b2725756ffc97497d747094"


def test_what_waited_and_ran_is_done_by_this_release(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "jobs.sqlite3") as database:
        database.executescript((Path(__file__).with_name("jobs_0_1_0.sql")).read_text())
    database.close()
    service = Service(tmp_path, f"sqlite:///{tmp_path}/jobs.sqlite3", job_retention_s=EVER).start()
    try:
        assert round(cell_of(service.job(f"/jobs/{DONE}")), 2) == 5.43
        assert round(cell_of(service.finished(f"/jobs/{WAITING}")), 1) == 5.6
        batch = service.finished(f"/jobs/{BATCH}")
        assert (batch["state"], batch["progress"]) == ("done", {"done": 2, "total": 2})
        assert service.finished(f"/jobs/{RUNNING}")["state"] == "done", "its process is long dead"
    finally:
        service.stop()
        service.http.close()


class Older(Service):
    """A service of another tree; as on the way back, the settings that it does not know are removed."""

    def __init__(self, tree: Path, folder: Path, database: str, **variables: str) -> None:
        known = re.findall(r"^    (\w+): ", (tree / "app" / "settings.py").read_text(), re.MULTILINE)
        newer = {f"BEAMLINE_{name.upper()}" for name in set(Settings.model_fields) - set(known)}
        removed = [word for name in sorted(newer) for word in ("-u", name)]
        # Its solver is compiled once, which takes minutes, and kept.
        kept = f"NUMBA_CACHE_DIR={REPOSITORY}/.tools/compiled-before"
        super().__init__(folder, database, ["env", "-C", str(tree), *removed, kept], **variables)

    def warm(self) -> None:
        """Wait until its worker has the solver."""
        end = time.monotonic() + COMPILES_S
        while self.http.get("/health/ready").json()["jobs"]["ready"] == 0:
            assert time.monotonic() < end, "its worker does not get ready"
            time.sleep(0.5)


@pytest.fixture
def older_tree(tmp_path: Path) -> Path:
    archive = subprocess.run(["git", "archive", BEFORE, "app"], cwd=REPOSITORY, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"this copy of the repository does not reach back to {BEFORE}")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(tmp_path / "older", filter="data")
    return tmp_path / "older"


def test_two_releases_share_one_database(older_tree: Path, tmp_path: Path) -> None:
    database, store = f"sqlite:///{tmp_path}/jobs.sqlite3", str(REPOSITORY / "model_store")
    (tmp_path / "new").mkdir()
    older = Older(older_tree, tmp_path, database, model_store=store)
    newer = Service(tmp_path / "new", database, model_store=store)
    try:
        older.start()
        newer.start()
        older.warm()
        assert older.http.get("/v2").status_code == newer.http.get("/v2").status_code == 200
        addresses = [
            one.submit(pattern(edge)) for one, edge in ((older, 5.0), (newer, 5.2), (older, 5.4), (newer, 5.6))
        ]
        assert [round(cell_of(newer.finished(address)), 1) for address in addresses] == [5.0, 5.2, 5.4, 5.6]
        assert [round(cell_of(older.finished(address)), 1) for address in addresses] == [5.0, 5.2, 5.4, 5.6]
        newer.stop()
        left = older.submit(pattern(5.8))
        until(lambda: older.job(left)["state"] == "done", "the way back is open")
    finally:
        for one in (newer, older):
            one.stop()
            one.http.close()
