"""The commands on long work: what they print, and an engine that runs without the service."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from app.cli_jobs import jobs
from app.errors import AppError, Gone, IdempotencyConflict, InvalidInput, NotFound
from app.indexing import batch_job, job
from app.indexing.peaks import Given
from app.indexing.question import Question, ask

REPOSITORY = Path(__file__).resolve().parents[1]
CUBE = Given("d_ang", 4.0 / np.array([1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13]) ** 0.5, wavelength_ang=1.54)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database of its own, and files to submit."""
    monkeypatch.setenv("BEAMLINE_JOBS_DATABASE", f"sqlite:///{tmp_path}/jobs.sqlite3")
    (tmp_path / "payload.json").write_bytes(job.payload(question("cube")))
    (tmp_path / "empty.json").write_text("{}\n")
    parts = batch_job.parts([question("a"), question("b"), question("c")])
    (tmp_path / "parts.jsonl").write_bytes(b"\n".join(parts) + b"\n")
    return tmp_path


def question(name: str) -> Question:
    return ask(CUBE, {"lattices": ("cP",), "max_seconds": 20.0}, name=name)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(jobs, [str(one) for one in arguments])


def told(*arguments: str | Path) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout.strip()


def refused(*arguments: str | Path) -> AppError:
    error = run(*arguments).exception
    assert isinstance(error, AppError)
    return error


@contextmanager
def engine() -> Iterator[None]:
    """`python -m app jobs run` as a process of its own."""
    process = subprocess.Popen([sys.executable, "-m", "app", "jobs", "run", "--workers", "1"], cwd=REPOSITORY)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_jobs_are_submitted_listed_shown_and_cancelled(folder: Path) -> None:
    assert run("list").stdout == ""
    first = told("submit", "indexing.solve", folder / "payload.json")
    second = told("submit", "indexing.batch", folder / "empty.json", "--parts", folder / "parts.jsonl")
    assert [line.split()[:2] for line in told("list").splitlines()] == [[second, "queued"], [first, "queued"]]
    assert "0/3" in told("list", "--kind", "indexing.batch")
    assert "cancelled" in told("cancel", first)
    assert told("list", "--state", "queued", "--limit", "5").split()[0] == second
    shown = json.loads(told("show", first))
    assert (shown["id"], shown["kind"], shown["state"]) == (first, "indexing.solve", "cancelled")
    watched = run("watch", first)
    assert (watched.exit_code, watched.stdout.split()[1]) == (1, "cancelled")


def test_the_same_work_with_the_same_key_is_the_same_job(folder: Path) -> None:
    asked = ("submit", "indexing.solve", folder / "payload.json", "--key", "nightly")
    assert told(*asked) == told(*asked)
    assert isinstance(refused(*asked[:2], folder / "empty.json", "--key", "nightly"), IdempotencyConflict)


def test_another_process_runs_what_was_submitted(folder: Path) -> None:
    batch = told("submit", "indexing.batch", folder / "empty.json", "--parts", folder / "parts.jsonl")
    alone = told("submit", "indexing.solve", folder / "payload.json", "--priority", "10")
    with engine():
        assert told("watch", batch).splitlines()[-1].split()[1] == "done"
        assert told("watch", alone).splitlines()[-1].split()[1] == "done"
    answers = json.loads(told("show", batch, "--result"))["answers"]
    assert [entry["result"]["name"] for entry in answers] == ["a", "b", "c"]
    found = json.loads(told("show", alone, "--result"))["solutions"][0]
    assert found["bravais"] == "cP"
    assert found["cell"]["a_ang"] == pytest.approx(4.0, abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (("show", "nope"), NotFound, "no job"),
        (("watch", "nope"), NotFound, "no job"),
        (("cancel", "nope"), NotFound, "no job"),
        (("submit", "indexing.sole", "payload.json"), InvalidInput, "indexing.solve"),
        (("submit", "indexing.solve", "absent.json"), NotFound, "absent.json"),
        (("submit", "indexing.solve", "broken.json"), InvalidInput, "broken.json is not JSON"),
        (("submit", "indexing.solve", "empty.json", "--parts", "parts.jsonl"), InvalidInput, "not made of parts"),
        (("submit", "indexing.batch", "empty.json", "--parts", "none.jsonl"), InvalidInput, "no part"),
        (("submit", "indexing.batch", "empty.json", "--parts", "bad.jsonl"), InvalidInput, "part 2 is not JSON"),
    ],
)
def test_what_is_wrong_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], error: type[AppError], says: str
) -> None:
    monkeypatch.chdir(folder)
    (folder / "broken.json").write_text("{")
    (folder / "none.jsonl").write_text("\n")
    (folder / "bad.jsonl").write_text("{}\n{]\n")
    found = refused(*arguments)
    assert isinstance(found, error)
    assert says in found.message


def test_a_job_without_a_result_has_none_to_show(folder: Path) -> None:
    job_id = told("submit", "indexing.solve", folder / "payload.json")
    assert "queued" in refused("show", job_id, "--result").message


def test_a_misspelt_setting_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAMLINE_JOBS_DATABASES", "x")
    assert run("list").exit_code == 2
    assert run("run").exit_code == 2


def test_looking_removes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks need not have the service's settings: another retention here must not cost it its results."""
    job_id = told("cancel", told("submit", "indexing.solve", folder / "payload.json")).split()[0]
    monkeypatch.setenv("BEAMLINE_JOB_RETENTION_S", "0.001")
    for _ in range(2):
        assert job_id in told("list")
    assert not isinstance(run("show", job_id).exception, Gone)
