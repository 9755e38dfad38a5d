"""A call goes on when the service is killed under it and started again."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from beamline_client import Client, Job, Retry
from tests.clients.beamline.conftest import QUARTZ_D_ANG
from tests.served import REPOSITORY

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextmanager
def serving(port: int, database: Path) -> Iterator[subprocess.Popen[bytes]]:
    variables = {"BEAMLINE_JOB_WORKERS": "1", "BEAMLINE_JOBS_DATABASE": f"sqlite:///{database}"}
    command = [sys.executable, "-m", "app", "serve", "--port", str(port)]
    process = subprocess.Popen(command, cwd=REPOSITORY, env=os.environ | variables, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def test_a_batch_is_answered_through_a_killed_service(tmp_path: Path) -> None:
    port, database = free_port(), tmp_path / "jobs.sqlite3"
    told: list[Job[Any]] = []
    under_way, answered = threading.Event(), []
    patterns: Any = [{"d_ang": QUARTZ_D_ANG, "name": f"scan {number}"} for number in range(30)]

    def listen(job: Job[Any]) -> None:
        told.append(job)
        if job.progress and job.progress["done"]:
            under_way.set()

    def ask() -> None:
        # It begins before there is anybody, and goes on while there is nobody.
        patient = Retry(attempts=100, longest_pause_s=1.0)
        with Client(f"http://127.0.0.1:{port}", retry=patient) as client:
            answered.append(client.solve_batch(patterns, on_progress=listen))

    with serving(port, database) as first:
        asking = threading.Thread(target=ask)
        asking.start()
        assert under_way.wait(120)
        first.kill()
        first.wait()
    with serving(port, database):
        asking.join(120)
    assert not asking.is_alive()
    (answer,) = answered
    assert [one.result.name for one in answer.answers] == [f"scan {number}" for number in range(30)]
    assert len({job.id for job in told}) == 1
    counts = [job.progress["done"] for job in told if job.progress]
    assert counts == sorted(counts)
