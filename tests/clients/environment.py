"""Clients whose requirements do not go together with the service's, each in an environment of its own."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOOLS = HERE.parents[1] / ".tools"


def python_with(client: str) -> Path:
    """The Python of an environment that holds a client as its locked requirements say; made on the first call."""
    requirements, environment = HERE / f"{client}.txt", TOOLS / "clients" / client
    python, stamp = environment / "bin" / "python", environment / "complete"
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    environment.parent.mkdir(parents=True, exist_ok=True)
    with (environment.parent / f".{client}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.is_file() or stamp.read_text() != wanted:
            uv("venv", "--clear", "--no-project", "--python", sys.executable, str(environment))
            uv("pip", "sync", "--python", str(python), str(requirements))
            stamp.write_text(wanted)
    return python


def uv(*arguments: str) -> None:
    """Run this project's uv."""
    ours = [str(path) for path in sorted(TOOLS.glob("uv-*")) if path.is_symlink()]
    uv = (ours[-1:] or [shutil.which("uv")])[0]
    assert uv is not None, "there is no uv; `make setup` gets it"
    environment = {name: value for name, value in os.environ.items() if name != "UV_PROJECT_ENVIRONMENT"}
    subprocess.run([uv, *arguments, "--quiet"], check=True, env=environment, cwd="/", timeout=600)
