"""A Dask cluster for the tests: a scheduler and workers as processes of their own, on 127.0.0.1."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from app.jobs.job import JobRecord
from app.jobs.service import Jobs

REPOSITORY = Path(__file__).resolve().parents[2]
TIMEOUT_S = 120.0
DASK = str(Path(sys.executable).with_name("dask"))


@dataclass
class DaskProcesses:
    """The commands of the documentation, in a folder of their own; what they write goes to files there."""

    folder: Path
    security: tuple[str, ...] = ()
    protocol: str = "tcp"
    port: int = field(default_factory=lambda: free_port())
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"{self.protocol}://127.0.0.1:{self.port}"

    def scheduler(self, **variables: str) -> subprocess.Popen[bytes]:
        where = ("--host", f"{self.protocol}://127.0.0.1", "--port", str(self.port))
        return self._start("scheduler", *where, "--no-dashboard", "--dashboard-address", "127.0.0.1:0", **variables)

    def worker(self, *options: str, **variables: str) -> subprocess.Popen[bytes]:
        """Start a worker; it waits for the scheduler by itself, and ends when the scheduler does."""
        own = ("--host", f"{self.protocol}://127.0.0.1", "--nthreads", "1", "--no-nanny", "--no-dashboard")
        return self._start("worker", self.address, *own, *options, **variables)

    def stop(self) -> None:
        for process in self.started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _start(self, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"} | variables
        with (self.folder / f"{arguments[0]}{len(self.started)}.log").open("wb") as log:
            process = subprocess.Popen(
                [DASK, *arguments, *self.security],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.started.append(process)
        return process


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def until(condition: Callable[[], bool]) -> None:
    """Wait for something; interpreters have to start and to import their code for it, maybe on a busy machine."""
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


async def progress(jobs: Jobs, job_id: str) -> bytes:
    """Wait until a job has reported something."""
    async with asyncio.timeout(TIMEOUT_S):
        async for record in jobs.watch(job_id):
            if record.progress is not None:
                return record.progress
    raise AssertionError("the job reported nothing")


def outcome(jobs: Jobs, kind: str, payload: bytes = b"null") -> JobRecord:
    """Submit a job and wait for its end."""

    async def to_its_end() -> JobRecord:
        return await jobs.wait(await jobs.submit(kind, payload), TIMEOUT_S)

    record = asyncio.run(to_its_end())
    assert record.finished
    return record
