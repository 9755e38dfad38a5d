"""Peers from PyPI, each in an environment of its own under .tools/peers, exactly as its requirements.txt says."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.serving.servers import ENVIRONMENTS, PEERS


class NotInstalled(Exception):
    """A peer cannot be installed here; the message says why."""


def install(name: str) -> None:
    """Make the environment of a peer, unless it is there already.

    Raises:
        NotInstalled: there is no uv, or a package cannot be had.
    """
    requirements, environment = PEERS / name / "requirements.txt", ENVIRONMENTS / name
    stamp = environment / "complete"
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    uv = _uv()
    _run(uv, "venv", "--quiet", "--clear", "--no-project", "--python", sys.executable, str(environment))
    _run(
        *(uv, "pip", "sync", "--quiet", "--compile-bytecode", "--python", str(environment / "bin" / "python")),
        str(requirements),
    )
    stamp.write_text(wanted)


def version(name: str, package: str) -> str:
    """The version that the locked requirements name."""
    lines = (PEERS / name / "requirements.txt").read_text().splitlines()
    return next((line.partition("==")[2].split()[0] for line in lines if line.startswith(f"{package}==")), "?")


def _uv() -> str:
    ours = sorted((ENVIRONMENTS.parent).glob("uv-*"))
    found = str(ours[-1]) if ours else shutil.which("uv")
    if found is None:
        raise NotInstalled("uv is not there; `make bench-serving` gets it")
    return found


def _run(*command: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "UV_PROJECT_ENVIRONMENT"}
    # Installing is no hurry, and others work on this machine.
    done = subprocess.run(
        ["nice", "-n", "10", *command], env=environment, capture_output=True, text=True, cwd=Path("/")
    )
    if done.returncode:
        raise NotInstalled((done.stderr.strip().splitlines() or ["uv failed"])[-1])
