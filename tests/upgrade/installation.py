"""An installation under /opt/beamline as the offline installer leaves it, in a folder, with a systemd of our own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.held_socket import REPOSITORY, start

WRAPPER = re.compile(r"<<'WRAPPER'\n(.*?)\nWRAPPER\n", re.DOTALL)
SYSTEMCTL = """#!/bin/sh
echo "$1" > {requests}
read -r answer < {answers}
"""
TIMEOUT_S = 60.0


class Installation:
    """Releases side by side, a link to one of them, state, and a socket that is there all the time."""

    def __init__(self, folder: Path, *releases: str) -> None:
        self.folder, self.opt, self.state = folder, folder / "opt", folder / "state"
        self.backup = folder / "backup"
        for made in (self.opt / "releases", self.state, self.backup, folder / "bin"):
            made.mkdir(parents=True)
        for release in releases:
            self._install(release)
        (self.opt / "current").symlink_to(f"releases/{releases[0]}")
        shutil.copytree(
            REPOSITORY / "model_store" / "polarization-crystalline", self.models / "polarization-crystalline"
        )
        self._held = socket.create_server(("127.0.0.1", 0))
        self._service: subprocess.Popen[bytes] | None = None
        self._systemctl()

    @property
    def models(self) -> Path:
        return self.state / "models"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._held.getsockname()[1]}"

    @property
    def variables(self) -> dict[str, str]:
        return {
            "BEAMLINE_MODEL_STORE": str(self.models),
            "BEAMLINE_JOBS_DATABASE": f"sqlite:///{self.state}/jobs.sqlite3",
            "BEAMLINE_KEYS_FILE": str(self.state / "keys.json"),
            "BEAMLINE_REGISTRY_POLL_S": "0.2",
            "BEAMLINE_JOB_WORKERS": "0",
            "BEAMLINE_LOG_FORMAT": "json",
        }

    def _install(self, release: str) -> None:
        tree = self.opt / "releases" / release
        shutil.copytree(
            REPOSITORY / "app", tree / "app", ignore=shutil.ignore_patterns("__pycache__", "*.nbi", "*.nbc")
        )
        init = tree / "app" / "__init__.py"
        init.write_text(re.sub(r'__version__ = ".*"', f'__version__ = "{release}"', init.read_text()))
        (tree / ".venv").symlink_to(Path(sys.executable).parents[1])
        (tree / "bin").mkdir()
        wrapper = WRAPPER.search((REPOSITORY / "deploy" / "offline" / "install").read_text())
        assert wrapper is not None
        (tree / "bin" / "beamline").write_text(wrapper[1])
        (tree / "bin" / "beamline").chmod(0o755)

    def _systemctl(self) -> None:
        """A command that asks this process to do what systemd would, and waits for it."""
        requests, answers = self.folder / "requests", self.folder / "answers"
        os.mkfifo(requests)
        os.mkfifo(answers)
        command = self.folder / "bin" / "systemctl"
        command.write_text(SYSTEMCTL.format(requests=requests, answers=answers))
        command.chmod(0o755)

        def serve() -> None:
            while (asked := requests.read_text().strip()) != "end":
                {"restart": self.restart, "stop": self.stop, "start": self.start}[asked]()
                answers.write_text("done\n")

        self._supervisor = threading.Thread(target=serve, daemon=True)
        self._supervisor.start()

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            current = self.opt / "current"
            python = str(current / ".venv" / "bin" / "python")
            self._service = start(self._held, self.variables, folder=current, python=python, log=log.fileno())

    def stop(self) -> None:
        if self._service is not None:
            self._service.send_signal(signal.SIGTERM)
            self._service.wait(TIMEOUT_S)

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        (self.folder / "requests").write_text("end\n")
        self._supervisor.join(TIMEOUT_S)
        self.stop()
        self._held.close()

    def run(self, script: str, **more: str) -> str:
        """Run commands of the page, and give what they print; any that fails ends the test."""
        for there, here in (
            ("/opt/beamline", self.opt),
            ("/var/lib/beamline", self.state),
            ("/backup", self.backup),
            ("/media/models", self.folder / "media"),
            ("127.0.0.1:8000", self.address),
        ):
            script = script.replace(there, str(here))
        path = f"{self.folder}/bin:{self.opt}/current/bin:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=os.environ | self.variables | {"PATH": path, **more},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout


class Client(threading.Thread):
    """Control software that asks for predictions without a pause, over a connection that it keeps."""

    def __init__(self, address: str, question: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self._address, self._question = address, question
        self._enough = threading.Event()
        self.answers: list[str] = []
        self.failures: list[str] = []

    def run(self) -> None:
        with httpx.Client(base_url=f"http://{self._address}", timeout=TIMEOUT_S) as http:
            while not self._enough.is_set():
                try:
                    answer = http.post("/polarization/predict", json=self._question)
                    answer.raise_for_status()
                    self.answers.append(answer.json()["experiments"][0]["models"][0]["version"])
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                self._enough.wait(0.005)

    def end(self) -> None:
        self._enough.set()
        self.join(TIMEOUT_S)


@contextmanager
def asking(installation: Installation, question: dict[str, Any]) -> Iterator[Client]:
    """A client that asks until the end of the block, and of whose requests none may fail."""
    client = Client(installation.address, question)
    client.start()
    try:
        yield client
    finally:
        client.end()
    assert client.failures == []
