"""How long an empty job takes through submit, worker and result: `python -m benchmarks.jobs_round_trip`."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from statistics import quantiles

import typer

from app.jobs.engine import EngineOptions
from app.jobs.kinds import Kind
from app.jobs.service import Jobs


def echo(payload: bytes, _report: Callable[[bytes], None], _cancelled: Callable[[], bool]) -> bytes:
    """Answer with the payload."""
    return payload


async def _one(jobs: Jobs) -> float:
    begun = time.perf_counter()
    record = await jobs.wait(await jobs.submit("echo", b"null"), 30.0)
    assert record.state == "done"
    return 1e3 * (time.perf_counter() - begun)


async def _many(jobs: Jobs, count: int) -> float:
    begun = time.perf_counter()
    ids = [await jobs.submit("echo", b"null") for _ in range(count)]
    for job_id in ids:
        await jobs.wait(job_id, 60.0)
    return time.perf_counter() - begun


async def _measure(jobs: Jobs, rounds: int) -> None:
    print(f"first result after the start         {await _one(jobs):8.0f} ms")
    times_ms = [await _one(jobs) for _ in range(rounds)]
    cuts = quantiles(times_ms, n=100)
    print(f"round trip, p10 / p50 / p99          {cuts[9]:8.1f} / {cuts[49]:.1f} / {cuts[98]:.1f} ms")
    print(f"1000 jobs queued at once             {await _many(jobs, 1000):8.2f} s")


def main(workers: int = 2, rounds: int = 500) -> None:
    """Measure over a SQLite file in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        kinds = {"echo": Kind("benchmarks.jobs_round_trip:echo")}
        jobs = Jobs(f"sqlite:///{folder}/jobs.sqlite3", kinds, EngineOptions(workers=workers), max_queued=2000)
        jobs.start()
        try:
            asyncio.run(_measure(jobs, rounds))
        finally:
            jobs.stop()


if __name__ == "__main__":
    typer.run(main)
