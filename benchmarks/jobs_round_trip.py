"""What jobs cost: `python -m benchmarks.jobs_round_trip`.

An empty job through submit, worker and result; then a job of many short parts, beside the same parts in a
ProcessPoolExecutor, which keeps no records: both in turn, as many times as there are rounds.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from statistics import median, quantiles

import typer

from app.jobs.engine import EngineOptions
from app.jobs.job import BATCH
from app.jobs.kinds import Kind
from app.jobs.service import Jobs

PART_S = 1e-3
KINDS = {
    "echo": Kind("benchmarks.jobs_round_trip:echo"),
    "sleep": Kind("benchmarks.jobs_round_trip:sleep", join="benchmarks.jobs_round_trip:joined"),
    "work": Kind("benchmarks.jobs_round_trip:work", join="benchmarks.jobs_round_trip:joined"),
}


def echo(payload: bytes, _report: Callable[[bytes], None], _cancelled: Callable[[], bool]) -> bytes:
    """Answer with the payload."""
    return payload


def work(payload: bytes, _report: Callable[[bytes], None], _cancelled: Callable[[], bool]) -> bytes:
    """Keep a core busy for a millisecond."""
    end_s = time.perf_counter() + PART_S
    while time.perf_counter() < end_s:
        pass
    return payload


def sleep(payload: bytes, _report: Callable[[bytes], None], _cancelled: Callable[[], bool]) -> bytes:
    """Take as many seconds as the payload says."""
    time.sleep(float(payload))
    return payload


def joined(_payload: bytes, results: Sequence[bytes]) -> bytes:
    """Count the parts."""
    return b"%d" % len(results)


def plain_work(payload: bytes) -> bytes:
    """`work` for an executor."""
    return work(payload, lambda _: None, bool)


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


async def _parts(jobs: Jobs, parts: Sequence[bytes]) -> float:
    begun = time.perf_counter()
    record = await jobs.wait(await jobs.submit("work", b"null", priority=BATCH, parts=parts), 120.0)
    assert record.result == b"%d" % len(parts)
    return time.perf_counter() - begun


def _pooled(pool: ProcessPoolExecutor, parts: Sequence[bytes]) -> float:
    begun = time.perf_counter()
    assert list(pool.map(plain_work, parts)) == list(parts)
    return time.perf_counter() - begun


async def _single(jobs: Jobs, rounds: int) -> None:
    print(f"first result after the start         {await _one(jobs):8.0f} ms")
    times_ms = [await _one(jobs) for _ in range(rounds)]
    cuts = quantiles(times_ms, n=100)
    print(f"round trip, p10 / p50 / p99          {cuts[9]:8.1f} / {cuts[49]:.1f} / {cuts[98]:.1f} ms")
    print(f"1000 jobs queued at once             {await _many(jobs, 1000):8.2f} s")


async def _batches(jobs: Jobs, pool: ProcessPoolExecutor, *, workers: int, count: int, rounds: int) -> None:
    parts = [b"%d" % number for number in range(count)]
    _pooled(pool, parts[:workers])
    pairs = [(await _parts(jobs, parts), _pooled(pool, parts)) for _ in range(rounds)]
    alone_ms = 1e3 * PART_S / workers
    ours_ms, pool_ms = (1e3 * median(times) / count - alone_ms for times in zip(*pairs, strict=True))
    ratios = sorted(ours / pooled for ours, pooled in pairs)
    print(f"{count} parts of 1 ms, each beyond its work: ours {ours_ms:.2f} ms, a plain pool {pool_ms:.2f} ms")
    print(f"time of all parts, ours / pool       {ratios[0]:8.2f} ... {median(ratios):.2f} ... {ratios[-1]:.2f}")


async def _between(jobs: Jobs, rounds: int) -> None:
    """Send single jobs, one after another, while parts of 50 ms keep every worker busy."""
    batch = await jobs.submit("sleep", b"null", priority=BATCH, parts=[b"0.05"] * 10_000)
    async for record in jobs.watch(batch):
        if record.parts_done:
            break
    times_ms = sorted([await _one(jobs) for _ in range(rounds)])
    await jobs.cancel(batch)
    print(f"single job amid parts of 50 ms, p50 / max {times_ms[rounds // 2]:5.0f} / {times_ms[-1]:.0f} ms")


def main(workers: int = 2, rounds: int = 500, parts: int = 1000, batches: int = 5) -> None:
    """Measure over a SQLite file in a temporary folder."""
    options = EngineOptions(workers=workers)
    with tempfile.TemporaryDirectory() as folder:
        jobs = Jobs(f"sqlite:///{folder}/jobs.sqlite3", KINDS, options, max_queued=2000)
        jobs.start()
        try:
            asyncio.run(_single(jobs, rounds))
            asyncio.run(_between(jobs, max(rounds // 5, 1)))
            with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
                asyncio.run(_batches(jobs, pool, workers=workers, count=parts, rounds=batches))
        finally:
            jobs.stop()


if __name__ == "__main__":
    typer.run(main)
