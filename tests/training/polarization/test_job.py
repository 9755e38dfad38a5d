"""Leave one out as a job gives what the serial evaluation gives, and refuses what it was not made for."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from app.errors import Conflict, InvalidInput, NotFound
from app.jobs.engine import EngineOptions
from app.jobs.job import BATCH, JobRecord
from app.jobs.kinds import KINDS
from app.jobs.service import Jobs
from app.polarization.experiment import Experiment
from training.polarization import job
from training.polarization.__main__ import cli
from training.polarization.catalogue import GROUPINGS, HoldOut, method_from_name
from training.polarization.commands import JOB_KIND
from training.polarization.data import EXPERIMENTS_FILE, dataset_text
from training.polarization.evaluate import Ranked, leave_one_out, markdown_table, ranking, stored_outcomes
from training.polarization.simulate import SimulationArgs, simulate

METHODS = ("line", "physics")


@pytest.fixture(scope="module")
def experiments() -> list[Experiment]:
    """Three installations in one beam time and three in another."""
    found = simulate("crystalline", 6, np.random.default_rng(4), SimulationArgs(reflections=2))
    return [replace(e, start=e.start + timedelta(days=60 * (n >= len(found) // 2))) for n, e in enumerate(found)]


@pytest.fixture
def dataset(experiments: list[Experiment], tmp_path: Path) -> Path:
    folder = tmp_path / "dataset"
    folder.mkdir()
    (folder / EXPERIMENTS_FILE).write_text(dataset_text(experiments), "utf-8")
    return folder


def study(dataset: Path, hold_out: HoldOut = HoldOut.installation) -> job.Study:
    return job.study_of(dataset, "crystalline", METHODS, hold_out=hold_out, seed=3)


def serial(experiments: list[Experiment], folder: Path, hold_out: HoldOut = HoldOut.installation) -> list[Ranked]:
    methods = [method_from_name(name) for name in METHODS]
    grouping = GROUPINGS[hold_out]
    return ranking(leave_one_out(methods, experiments, folder, grouping=grouping, seed=3, progress=False))


def by_parts(asked: job.Study) -> dict[str, object]:
    payload, parts = job.work(asked)
    results = [job.run(part, lambda _: None, lambda: False) for part in reversed(parts)]
    return json.loads(job.join(payload, results[::-1]))


@pytest.mark.parametrize("hold_out", HoldOut)
def test_the_scores_are_those_of_the_serial_run(
    experiments: list[Experiment], dataset: Path, tmp_path: Path, hold_out: HoldOut
) -> None:
    rows = serial(experiments, tmp_path / "serial", hold_out)
    found = by_parts(study(dataset, hold_out))
    assert found["table"] == markdown_table(rows)
    assert [row["scores"] for row in found["ranking"]] == [vars(row.scores) for row in rows]  # type: ignore[attr-defined]


def test_a_job_of_real_workers_has_the_scores_of_the_serial_run(
    experiments: list[Experiment], dataset: Path, tmp_path: Path
) -> None:
    rows = serial(experiments, tmp_path / "serial")
    payload, parts = job.work(study(dataset))
    jobs = Jobs(f"sqlite:///{tmp_path}/jobs.sqlite3", {JOB_KIND: KINDS[JOB_KIND]}, EngineOptions(workers=2))

    async def done() -> JobRecord:
        return await jobs.wait(await jobs.submit(JOB_KIND, payload, parts=parts, priority=BATCH), 120)

    jobs.start()
    try:
        record = asyncio.run(done())
    finally:
        jobs.stop()
    assert record.state == "done", record.failure
    assert json.loads(record.result or b"")["table"] == markdown_table(rows)
    assert json.loads(record.progress or b"") == {"done": len(parts), "total": len(parts)}


def test_the_commands_write_a_job_and_keep_what_came_of_it(
    experiments: list[Experiment], dataset: Path, tmp_path: Path
) -> None:
    out, runs, result = tmp_path / "job", tmp_path / "runs", tmp_path / "result.json"
    asked = ["--material", "crystalline", "--dataset", str(dataset)]
    methods = [word for name in METHODS for word in ("--methods", name)]
    told = CliRunner().invoke(cli, ["parts", *asked, *methods, "--seed", "3", "--out", str(out)])
    assert told.exit_code == 0, told.output
    payload, parts = job.work(study(dataset))
    assert (out / "payload.json").read_bytes() == payload
    assert (out / "parts.jsonl").read_bytes().splitlines() == parts
    result.write_text(json.dumps(by_parts(study(dataset))))
    kept = CliRunner().invoke(cli, ["keep", str(result), "--runs", str(runs)])
    rows = serial(experiments, tmp_path / "serial")
    assert kept.output.strip() == markdown_table(rows)
    folder = runs / "leave-one-installation-out" / "crystalline"
    assert ranking(stored_outcomes(folder, experiments)) == rows
    ranked = CliRunner().invoke(cli, ["rank", *asked, "--runs", str(runs)])
    assert ranked.output.strip() == markdown_table(rows)


def test_another_data_set_is_refused(experiments: list[Experiment], dataset: Path) -> None:
    _, parts = job.work(study(dataset))
    (dataset / EXPERIMENTS_FILE).write_text(dataset_text(experiments[1:]), "utf-8")
    with pytest.raises(Conflict, match="another data set"):
        job.run(parts[0], lambda _: None, lambda: False)
    (dataset / EXPERIMENTS_FILE).unlink()
    with pytest.raises(NotFound):
        job.run(parts[0], lambda _: None, lambda: False)


def test_something_must_be_left_to_learn_from(experiments: list[Experiment], dataset: Path) -> None:
    (dataset / EXPERIMENTS_FILE).write_text(dataset_text(experiments[:2]), "utf-8")
    with pytest.raises(InvalidInput, match="nothing is left"):
        job.work(study(dataset, HoldOut.campaign))


def test_what_is_no_study_is_refused(dataset: Path) -> None:
    _, parts = job.work(study(dataset))
    for content in (b'{"held_out": [0]}', parts[0].replace(b'"installation"', b'"cell"')):
        with pytest.raises(InvalidInput, match="expected a study"):
            job.run(content, lambda _: None, lambda: False)
    with pytest.raises(InvalidInput, match="no method"):
        job.run(parts[0].replace(b'"line"', b'"spline"'), lambda _: None, lambda: False)
    with pytest.raises(InvalidInput, match="no amorphous"):
        job.study_of(dataset, "amorphous", METHODS, hold_out=HoldOut.installation, seed=0)
