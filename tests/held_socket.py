"""Starts a service on a socket that somebody else holds, as systemd does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
# The number of the process is the service's after `exec`, and not known before.
_GIVE = """\
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


def start(
    held: socket.socket,
    environment: Mapping[str, str],
    *arguments: str,
    folder: Path = REPOSITORY,
    python: str = sys.executable,
    log: int = subprocess.DEVNULL,
    number: int = 1,
) -> subprocess.Popen[bytes]:
    """Start `python -m app serve` in a folder.

    Args:
        held: listens, or not yet.
        environment: variables besides those of this process.
        number: how many sockets are said to be given.
        log: where standard error goes.
    """
    command: Sequence[str] = [sys.executable, "-c", _GIVE, str(held.fileno()), python, "-m", "app", "serve", *arguments]
    variables = os.environ | environment | {"LISTEN_FDS": str(number)}
    return subprocess.Popen(
        command, cwd=folder, env=variables, pass_fds=[held.fileno()], stdin=subprocess.DEVNULL, stderr=log
    )
