"""The whole service as users start it, in processes of its own, to be killed and started again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

REPOSITORY = Path(__file__).resolve().parents[2]
TIMEOUT_S = 180.0
DIAMOND = (3, 8, 11, 16, 19, 24, 27, 32, 35, 40)
AT_ONCE = {"Prefer": "respond-async"}
EXPERIMENT = {
    "material": "crystalline",
    "polarizer": {"cell_id": "ge18004", "pressure_bar": 2.3, "lab_polarization": 0.78, "lab_time_s": -1980},
    "initial": {"polarization": 0.848, "sigma": 0.0021},
    "final": {"time_s": 86400, "polarization": 0.792, "sigma": 0.0024},
}
ENDLESS = {"d_ang": [9.1, 8.3, 7.7, 7.1, 6.4, 5.9, 5.3, 4.9, 4.4, 4.1, 3.7, 3.3, 3.1, 2.8, 2.5, 2.2],
           "max_seconds": 60}  # fmt: skip
"""Lines of no crystal: the search goes on for as long as it may."""


class Service:
    """One server process with its workers, on a port that it keeps when it is started again.

    Args:
        folder: for its log.
        database: URL of the records.
        prefix: a command that starts what follows it.
        variables: settings, as ``job_workers="2"``.
    """

    def __init__(self, folder: Path, database: str, prefix: Sequence[str] = (), **variables: str) -> None:
        settings = {"jobs_database": database, "job_workers": "1", "log_format": "json"} | variables
        self._environment = os.environ | {f"BEAMLINE_{name.upper()}": value for name, value in settings.items()}
        self._log = folder / "service.log"
        self._prefix = prefix
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.http = httpx.Client(timeout=TIMEOUT_S)

    def start(self) -> Service:
        """Start it and wait until it takes requests."""
        command = [*self._prefix, sys.executable, "-m", "app", "serve", "--port", str(self._port)]
        begins = len(self.log())
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=REPOSITORY, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until(lambda: "running on http" in self.log()[begins:], "the service does not start")
        address = re.search(r"running on http://[\d.]+:(\d+)", self.log()[begins:])
        assert address is not None
        self._port = int(address[1])
        self.http.base_url = f"http://127.0.0.1:{self._port}"
        return self

    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def kill(self) -> None:
        """End it and all that it has started, without a chance to say good-bye."""
        assert self._process is not None
        for pid in family(self._process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        """Ask it to end, as a supervisor does."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(TIMEOUT_S)
        finally:
            if self._process.returncode is None:
                self.kill()
        self._process = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def workers(self) -> list[int]:
        assert self._process is not None
        return family(self._process.pid)[1:]

    def submit(self, question: dict[str, Any], key: str | None = None) -> str:
        """Have a job accepted, and give its address."""
        answer = self.ask(question, key)
        assert answer.status_code == 202, answer.text
        return answer.headers["Location"]

    def ask(self, question: dict[str, Any], key: str | None = None) -> httpx.Response:
        headers = AT_ONCE | ({"Idempotency-Key": key} if key else {})
        return self.http.post("/indexing/solve", json=question, headers=headers)

    def job(self, address: str) -> dict[str, Any]:
        answer = self.http.get(address)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def finished(self, address: str) -> dict[str, Any]:
        """The job once it has finished; that the database is away in between is no answer."""
        found: dict[str, Any] = {}

        def look() -> bool:
            answer = self.http.get(address)
            assert answer.status_code in (200, 503), answer.text
            found.update(answer.json())
            return answer.status_code == 200 and found["state"] in ("done", "failed", "cancelled")

        until(look, f"{address} does not finish")
        return found

    def prediction(self) -> Any:
        """What a model answers."""
        answer = self.http.post("/polarization/predict", json={"experiments": [EXPERIMENT]})
        assert answer.status_code == 200, answer.text
        return answer.json()


def pattern(a_ang: float) -> dict[str, Any]:
    """Lines of a crystal of diamond's structure."""
    return {"d_ang": [round(a_ang / n**0.5, 5) for n in DIAMOND]}


def cell_of(job: dict[str, Any]) -> float:
    """The edge of the cubic cell that a job has found [angstrom]."""
    assert job["state"] == "done", job
    best = job["result"]["solutions"][0]
    assert best["bravais"] == "cF"
    return best["cell"]["a_ang"]


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += family(int(child))
    return found


def until(condition: Callable[[], bool], otherwise: str) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end, otherwise
        time.sleep(0.05)
