"""The service of the soak: two server processes with job workers of their own, over a copy of the model store."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]
SERVERS: Final = 2
JOB_WORKERS: Final = 1
"""For each server process."""
START_S: Final = 180.0
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Usage:
    """What a process holds.

    Attributes:
        memory_mib: resident.
        descriptors: open files and sockets.
    """

    memory_mib: float
    descriptors: int
    threads: int


class Service:
    """A service that is running; its log is a file.

    Args:
        folder: for everything that it writes, and its copy of the model store.
    """

    def __init__(self, folder: Path) -> None:
        self.store = folder / "model_store"
        self.log_path = folder / "service.log"
        self.database = folder / "jobs.sqlite3"
        shutil.copytree(REPOSITORY / "model_store", self.store)
        settings = {
            "model_store": str(self.store),
            "registry_poll_s": "0.5",
            "jobs_database": f"sqlite:///{self.database}",
            "job_workers": str(JOB_WORKERS),
            "log_format": "json",
        }
        environment = os.environ | {f"BEAMLINE_{name.upper()}": value for name, value in settings.items()}
        command = [sys.executable, "-m", "app", "serve", "--port", "0", "--workers", str(SERVERS)]
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=REPOSITORY, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.url = ""

    def wait(self) -> None:
        """Wait until every server process has started.

        Raises:
            SystemExit: one does not.
        """
        end = time.monotonic() + START_S
        while self.log().count('"event":"service started"') < SERVERS:
            if self._process.poll() is not None or time.monotonic() > end:
                raise SystemExit("the service did not start:\n" + self.log()[-2000:])
            time.sleep(0.1)
        found = re.search(r"running on (http://[\d.]+:\d+)", self.log())
        if found is None:
            raise SystemExit("the service does not say where it listens")
        self.url = found[1]

    def log(self) -> str:
        return self.log_path.read_text() if self.log_path.exists() else ""

    def servers(self) -> list[int]:
        """Ids of the server processes, the oldest first."""
        found = [pid for pid in _children(self._process.pid) if "spawn_main" in _command(pid)]
        return sorted(found, key=_started)

    def workers(self) -> list[int]:
        """Ids of the processes for jobs."""
        children = (child for server in self.servers() for child in _children(server))
        return [pid for pid in children if "app.jobs.worker" in _command(pid)]

    def stop(self) -> int:
        """Ask it to end, as a supervisor does; give the exit status."""
        self._process.terminate()
        try:
            return self._process.wait(60)
        except subprocess.TimeoutExpired:
            for pid in [*self.workers(), *self.servers(), self._process.pid]:
                kill(pid)
            return self._process.wait()


@contextmanager
def serving(folder: Path) -> Iterator[Service]:
    """Run the service until the end of the block."""
    service = Service(folder)
    try:
        service.wait()
        yield service
    finally:
        service.stop()


def kill(pid: int) -> None:
    """End a process without a chance to say good-bye."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def usage(pid: int) -> Usage | None:
    """What a process holds; None where it is gone."""
    folder = Path(f"/proc/{pid}")
    try:
        pages = int((folder / "statm").read_text().split()[1])
        return Usage(
            pages * _PAGE / 2**20, len(list((folder / "fd").iterdir())), len(list((folder / "task").iterdir()))
        )
    except (OSError, IndexError):
        return None


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def _started(pid: int) -> int:
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return 2**62
