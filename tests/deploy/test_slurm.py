"""The recipe for Slurm: the job that it writes, and the whole of it with an `sbatch` that runs the job here."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from app.jobs.dask_engine import DaskEngine
from app.jobs.engine import EngineOptions
from app.jobs.service import Jobs
from tests.jobs.dask_processes import free_port, outcome, until
from tests.jobs.sample_kinds import KINDS

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "deploy" / "slurm" / "dask_cluster.py"

# The job that Slurm gets is a file that is removed as soon as `sbatch` returns.
SBATCH = """#!/bin/sh
cp "$1" "$0.$$"
setsid sh "$0.$$" >"$0.$$.log" 2>&1 &
echo "Submitted batch job $!"
echo $! >>"$0.started"
"""
SCANCEL = """#!/bin/sh
for id; do kill -- "-$id"; done
"""


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dask_cluster_recipe", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Path]:
    """A folder with commands that do what Slurm's would, on this machine."""
    for name, text in {"sbatch": SBATCH, "scancel": SCANCEL}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    yield tmp_path
    started = tmp_path / "sbatch.started"
    for pid in started.read_text().split() if started.exists() else []:
        try:
            os.killpg(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            continue


def test_a_slurm_job_is_one_worker_in_the_environment_of_the_project(recipe: ModuleType, tmp_path: Path) -> None:
    script = recipe.job_script("tcp://10.0.0.1:8786", queue="day", account="d3", walltime="02:00:00", logs=tmp_path)
    lines = script.splitlines()
    assert {"#SBATCH -p day", "#SBATCH -A d3", "#SBATCH -t 02:00:00", "#SBATCH --cpus-per-task=1"} <= set(lines)
    assert f"export PYTHONPATH={REPOSITORY}" in lines
    assert f"{sys.executable} -m distributed.cli.dask_worker tcp://10.0.0.1:8786" in script
    assert "--nthreads 1" in script
    assert "gres" not in script


def test_a_worker_may_have_a_gpu(recipe: ModuleType, tmp_path: Path) -> None:
    assert "#SBATCH --gres=gpu:1" in recipe.job_script("tcp://10.0.0.1:8786", gpu=True, logs=tmp_path).splitlines()


@pytest.mark.slow
def test_the_recipe_gives_a_cluster_that_runs_jobs(slurm: Path) -> None:
    port = free_port()
    file = slurm / "scheduler.address"
    command = [sys.executable, str(SCRIPT), "--workers", "1", "--host", "127.0.0.1", "--port", str(port)]
    environment = os.environ | {"PATH": f"{slurm}{os.pathsep}{os.environ['PATH']}"}
    with (slurm / "recipe.log").open("wb") as log:
        cluster = subprocess.Popen(
            [*command, "--address-file", str(file)], cwd=slurm, env=environment, stdout=log, stderr=log
        )
    try:
        until(file.exists)
        assert file.read_text().strip() == f"tcp://127.0.0.1:{port}"
        options = EngineOptions()
        url = f"sqlite:///{slurm}/jobs.sqlite3"
        jobs = Jobs(url, KINDS, options, engine=DaskEngine(KINDS, options, file.read_text().strip()))
        jobs.start()
        until(lambda: jobs.status().ready == 1)
        assert outcome(jobs, "echo", b"1").result == b"1"
        jobs.stop()
    finally:
        cluster.terminate()
        cluster.wait()
