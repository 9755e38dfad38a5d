"""A batch of powder patterns on 1 and 2 Dask workers, and on 1 and 2 embedded ones: `python -m benchmarks.dask_batch`.

Records, scheduler, workers and service are real and on this machine; each pattern is one part of one job. A worker has
one core: Dask's are bound to one each, and the embedded engine runs with everything around it on as many cores as it
has workers. Efficiency is t1 / (2 t2). Every round measures all four, one after the other, so that what else the
machine does falls on all of them.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Final

import orjson
import typer
from numpy.random import default_rng

from app.indexing import batch_job
from app.indexing.problem import SolveOptions
from app.indexing.question import Question
from app.jobs.dask_engine import DaskEngine
from app.jobs.engine import EngineOptions
from app.jobs.job import BATCH
from app.jobs.kinds import KINDS, Kind
from app.jobs.service import Jobs
from app.logs import configure_logs
from benchmarks.indexing.cases import read_cases

REPOSITORY: Final = Path(__file__).resolve().parents[1]
CASES: Final = REPOSITORY.parent / "shared" / "data" / "indexing" / "simulated.json"
BATCHES: Final[dict[str, Kind]] = {"indexing.batch": KINDS["indexing.batch"]}
OPTIONS: Final = EngineOptions(log_level="warning")
START_TIMEOUT_S: Final = 120.0


@dataclass(frozen=True)
class Batch:
    """What one engine made of a batch: its time [s] and the answers in their order."""

    seconds: float
    answers: list[Any]

    @property
    def best(self) -> list[Any]:
        """The best cell of each pattern: what engines must agree on."""
        return [(answer["result"] or {"solutions": []})["solutions"][:1] for answer in self.answers]

    @property
    def pattern_seconds(self) -> list[float]:
        """What the solver itself says that it took."""
        return [answer["result"]["seconds"] for answer in self.answers if answer["result"]]

    @property
    def deadlines(self) -> int:
        """Patterns that were searched until their deadline: they take as long on a slow machine as on a fast one."""
        return sum(answer["result"]["stopped"] == "deadline" for answer in self.answers if answer["result"])


@contextmanager
def bound_to(cores: set[int]) -> Iterator[None]:
    """Run on these cores, with all threads and processes that are started meanwhile."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _cores(number: int) -> list[int]:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < number:
        raise SystemExit(f"{number} workers need {number} cores; this process may use {len(cores)}")
    return cores[:number]


@contextmanager
def dask_workers(number: int) -> Iterator[str]:
    """Start a scheduler and workers on 127.0.0.1; gives the address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    dask = [str(Path(sys.executable).with_name("dask"))]
    here = ["--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    processes = [subprocess.Popen([*dask, "scheduler", "--port", str(port), *here], **quiet)]
    for core in _cores(number):
        with bound_to({core}):
            processes.append(subprocess.Popen([*dask, "worker", address, "--nthreads", "1", *here], **quiet))
    try:
        yield address
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait()


def on_dask(parts: list[bytes], workers: int) -> Batch:
    """Do the batch on a cluster that is started for it."""
    with dask_workers(workers) as address:
        return _measured(parts, workers, DaskEngine(BATCHES, OPTIONS, address))


def embedded(parts: list[bytes], workers: int) -> Batch:
    """Do the batch in worker processes of this one."""
    with bound_to(set(_cores(workers))):
        return _measured(parts, workers, None)


def _measured(parts: list[bytes], workers: int, engine: DaskEngine | None) -> Batch:
    options = EngineOptions(workers=workers, log_level=OPTIONS.log_level)
    with tempfile.TemporaryDirectory() as folder:
        jobs = Jobs(f"sqlite:///{folder}/jobs.sqlite3", BATCHES, options, engine=engine)
        jobs.start()
        try:
            return asyncio.run(_solve(jobs, parts, workers))
        finally:
            jobs.stop()


async def _solve(jobs: Jobs, parts: list[bytes], workers: int) -> Batch:
    end = time.monotonic() + START_TIMEOUT_S
    while jobs.status().ready < workers:
        assert time.monotonic() < end, "the workers did not start"
        await asyncio.sleep(0.05)
    begun = time.perf_counter()
    record = await jobs.wait(await jobs.submit("indexing.batch", b"{}", parts=parts, priority=BATCH), 86_400.0)
    seconds = time.perf_counter() - begun
    assert record.state == "done", record
    return Batch(seconds, orjson.loads(record.result or b"")["answers"])


def questions(path: Path, number: int, lattices: str, max_seconds: float) -> list[Question]:
    """Repeat the cases of these lattices until there are enough, and mix them."""
    cases = [case for case in read_cases(path) if case.bravais[0] in lattices]
    options = SolveOptions(max_seconds=max_seconds)
    return [Question(cases[place % len(cases)].peaks, options) for place in default_rng(0).permutation(number)]


def main(
    patterns: Annotated[int, typer.Option(help="Patterns of the batch.")] = 1000,
    rounds: int = 1,
    cases: Path = CASES,
    lattices: Annotated[str, typer.Option(help="Crystal families of the cases, by their letters.")] = "chto",
    max_seconds: Annotated[float, typer.Option(help="Deadline of one search; a case that meets it says nothing.")] = 30,
) -> None:
    """Measure, and compare the answers."""
    configure_logs(level="warning")
    parts = batch_job.parts(questions(cases, patterns, lattices, max_seconds))
    ways = {"Dask": on_dask, "embedded": embedded}
    times: dict[tuple[str, int], list[float]] = {(name, workers): [] for name in ways for workers in (1, 2)}
    for _ in range(rounds):
        best: list[Any] = []
        for name, workers in times:
            batch = ways[name](parts, workers)
            times[name, workers].append(batch.seconds)
            best.append(batch.best)
            typical_ms = 1e3 * median(batch.pattern_seconds)
            print(
                f"{name:9}{workers} worker(s) {batch.seconds:8.1f} s   {patterns / batch.seconds:6.1f} patterns/s"
                f"   median search {typical_ms:.0f} ms   {batch.deadlines} met the deadline",
                flush=True,
            )
        print(f"the same best cells: {all(one == best[0] for one in best)}")
    two = {name: median(times[name, 2]) for name in ways}
    for name in ways:
        print(f"{name:9}efficiency t1 / (2 t2)    {median(times[name, 1]) / (2 * two[name]):.2f}")
    print(f"Dask beside embedded, 2 workers, patterns/s: {two['embedded'] / two['Dask']:.2f} x")


if __name__ == "__main__":
    typer.run(main)
