"""The commands of docs/upgrade.md, in their order, with a client that asks all the time."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from app.jobs.records import Records
from app.model_registry.manifest import ModelDraft
from app.model_registry.store import ModelStore
from tests.faults.service import AT_ONCE, EXPERIMENT, pattern, until
from tests.postgresql import programs
from tests.upgrade.installation import Installation, asking

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "upgrade.md").read_text()
NAME = "polarization-crystalline"
QUESTION = {"experiments": [EXPERIMENT]}
needs_sqlite3 = pytest.mark.skipif(shutil.which("sqlite3") is None, reason="no sqlite3 on this machine")


def commands(heading: str) -> list[str]:
    """The blocks of commands of a section."""
    section = re.split(r"^## ", PAGE.partition(f"## {heading}\n")[2], flags=re.MULTILINE)[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    made = Installation(tmp_path_factory.mktemp("installation"), "0.1.0", "0.2.0")
    made.start()
    yield made
    made.close()


def release(installation: Installation) -> str:
    return httpx.get(f"http://{installation.address}/v2", timeout=60).json()["version"]


@pytest.mark.slow
def test_the_release_is_changed_and_changed_back_under_a_client(installation: Installation) -> None:
    forth, back = commands("The service, under systemd")
    assert release(installation) == "0.1.0"
    address = f"http://{installation.address}/indexing/solve"
    job = httpx.post(address, json=pattern(5.43), headers=AT_ONCE, timeout=60).headers["Location"]
    with asking(installation, QUESTION) as client:
        printed = installation.run(forth)
        assert printed.startswith("0.1.0\n")
        assert printed.endswith("0.2.0\n")
        assert release(installation) == "0.2.0"
        installation.run(back)
        assert release(installation) == "0.1.0"
    assert len(client.answers) > 10
    assert httpx.get(f"http://{installation.address}{job}", timeout=60).json()["state"] == "queued"


def second_version(folder: Path) -> None:
    """What another machine has trained: the same network in a version of its own."""
    store = ModelStore(folder)
    first = store.read(NAME, 1)
    draft = first.manifest.model_dump(include=set(ModelDraft.model_fields))
    store.publish(ModelDraft.model_validate(draft), first.contents)


@pytest.mark.slow
def test_a_model_is_tried_promoted_and_rolled_back_under_a_client(installation: Installation) -> None:
    media = installation.folder / "media"
    shutil.copytree(installation.models, media)
    second_version(media)
    arrive, decide = commands("A model")
    with asking(installation, QUESTION) as client:
        assert f"ok      {NAME} version 2" in installation.run(arrive)
        http = httpx.Client(base_url=f"http://{installation.address}", timeout=60)

        def answers(asked: dict[str, str]) -> int | None:
            answer = http.post("/polarization/predict", json=QUESTION | asked)
            return answer.json()["experiments"][0]["models"][0]["version"] if answer.is_success else None

        until(lambda: answers({"version": "candidate"}) == 2, "the canary is not served")
        assert answers({}) == 1, "everybody else has the old one"
        promote, look, back = decide.splitlines()
        assert installation.run(promote) == f"{NAME}: stable -> 2\n"
        until(lambda: answers({}) == 2, "the promoted version is not served")
        assert "candidate -> 2" in installation.run(look)
        assert installation.run(back) == f"{NAME}: stable -> 1\n"
        until(lambda: answers({}) == 1, "the version before is not served")
        http.close()
    assert set(client.answers) == {1, 2}


@pytest.mark.slow
@needs_sqlite3
def test_a_backup_is_made_while_it_runs_and_brings_everything_back(installation: Installation) -> None:
    (installation.state / "keys.json").write_text('{"keys":[]}')
    save, restore, *_ = commands("Backup")
    with asking(installation, QUESTION):
        assert "failed" not in installation.run(save)
    before = httpx.get(f"http://{installation.address}/models", timeout=60).json()
    with sqlite3.connect(installation.backup / "jobs.sqlite3") as copy:
        jobs = copy.execute("SELECT count(*) FROM beamline_jobs_2").fetchone()
    copy.close()
    assert jobs == (1,)
    shutil.rmtree(installation.models / NAME / "1")  # somebody's mistake
    installation.run(restore)
    assert httpx.get(f"http://{installation.address}/models", timeout=60).json() == before
    assert len(installation.run(commands("A release with another layout")[0]).splitlines()) == 1, "the job that waits"


def test_postgresql_is_saved_and_brought_back(tmp_path: Path, postgresql_url: str) -> None:
    save, restore = commands("Backup")[2].replace("/backup", str(tmp_path)).splitlines()
    variables = os.environ | {"BEAMLINE_JOBS_DATABASE": postgresql_url, "PATH": f"{programs()}:{os.environ['PATH']}"}
    with closing(Records(postgresql_url)) as records:
        job = records.add("indexing.solve", b"{}", priority=0, max_queued=10)
        subprocess.run(["bash", "-euc", save], env=variables, check=True, timeout=60)
        records.cancel(job)
    subprocess.run(["bash", "-euc", restore], env=variables, check=True, timeout=60)
    with closing(Records(postgresql_url)) as records:
        assert records.get(job).state == "queued"
