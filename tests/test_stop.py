"""A service that is asked to stop keeps nobody waiting: jobs outlive it, and who waits for one is told where it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
LINES = {"d_ang": [4.157, 2.939, 2.400, 2.078, 1.859, 1.697, 1.470, 1.386]}
TIMEOUT_S = 60.0


@contextmanager
def serving(folder: Path) -> Iterator[tuple[httpx2.Client, subprocess.Popen[bytes], Path]]:
    """A service whose jobs wait for ever."""
    log = folder / "log"
    settings = {
        "BEAMLINE_JOBS_DATABASE": f"sqlite:///{folder}/jobs.sqlite3",
        "BEAMLINE_JOB_WORKERS": "0",
        "BEAMLINE_MODEL_STORE": str(folder),
        "BEAMLINE_PORT": "0",
        "BEAMLINE_LOG_FORMAT": "json",
    }
    with log.open("wb") as out:
        command = [sys.executable, "-m", "app", "serve"]
        process = subprocess.Popen(command, cwd=REPOSITORY, env=os.environ | settings, stdout=out, stderr=out)
    try:
        with httpx2.Client(base_url=_address(log), timeout=TIMEOUT_S) as client:
            yield client, process, log
    finally:
        process.kill()
        process.wait()


def _address(log: Path) -> str:
    end = time.monotonic() + TIMEOUT_S
    while "running on " not in (text := log.read_text()):
        assert time.monotonic() < end, text
        time.sleep(0.05)
    return text.partition("running on ")[2].partition(" ")[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_waits_for_a_job_is_told_where_it_is(tmp_path: Path, number: signal.Signals) -> None:
    with serving(tmp_path) as (client, process, log):
        address = client.post("/indexing/solve", json=LINES, headers={"Prefer": "respond-async"}).headers["location"]
        answers: list[httpx2.Response] = []
        waiting = threading.Thread(target=lambda: answers.append(client.post("/indexing/solve", json=LINES)))
        with client.stream("GET", f"{address}/events") as events:
            lines = events.iter_lines()
            assert next(lines) == "event: progress"
            waiting.start()
            while 'state="queued"} 2.0' not in client.get("/metrics").text:
                time.sleep(0.02)
            process.send_signal(number)
            assert not any(line.startswith("event:") for line in lines)
        waiting.join(TIMEOUT_S)
        process.wait(TIMEOUT_S)
    (answer,) = answers
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    assert answer.headers["location"].startswith("/jobs/")
    assert "service stopped" in log.read_text()
    assert "timeout graceful shutdown exceeded" not in log.read_text()
