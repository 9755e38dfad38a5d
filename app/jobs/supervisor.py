"""One worker process as its service sees it, and the identity of a service process."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, cast

from app.jobs.messages import Setup
from app.threads import ONE_THREAD

_ROOT: Final = str(Path(__file__).resolve().parents[2])


class WorkerProcess:
    """A freshly started interpreter, never a fork: threads and locks of the service are not copied into it.

    It has a session of its own, so that it is killed with whatever it has started.

    Args:
        setup: its first message.
        device: the only device that it sees, as CUDA_VISIBLE_DEVICES has it; left out, all that the service sees.
    """

    def __init__(self, setup: Setup, device: str | None = None) -> None:
        ours, theirs = Pipe()
        self.pipe = cast("Connection[Any, Any]", ours)
        with theirs:
            path = os.pathsep.join([_ROOT, *filter(None, [os.environ.get("PYTHONPATH")])])
            chosen = {} if device is None else {"CUDA_VISIBLE_DEVICES": device}
            self._process = subprocess.Popen(  # noqa: S603  our own module
                [sys.executable, "-m", "app.jobs.worker", str(theirs.fileno())],
                env=ONE_THREAD | os.environ | {"PYTHONPATH": path} | chosen,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=2,
                start_new_session=True,
            )
        self.send(setup)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: object) -> None:
        """Send a message; to a process that has died it is lost, and its pipe tells of the death."""
        with suppress(OSError):
            self.pipe.send(message)

    def kill(self) -> int:
        """End the process and all that it has started, at once; give its exit status."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        status = self._process.wait()
        self.pipe.close()
        return status


def new_owner() -> str:
    """Name this engine in the records: machine, process, and a word to tell engines of one process apart."""
    return f"{_machine()} {os.getpid()} {_start_of(os.getpid())} {secrets.token_hex(4)}"


def is_gone(owner: str) -> bool:
    """Whether the process of an engine certainly runs no more; False for one of another machine."""
    machine, pid, start, _ = owner.rsplit(" ", 3)
    return machine == _machine() and _start_of(int(pid)) != start


def _machine() -> str:
    """The host, and the container where process ids have a space of their own."""
    with suppress(OSError):
        return f"{socket.gethostname()[:120]} {Path('/proc/self/ns/pid').readlink()}"
    return socket.gethostname()[:120]


def _start_of(pid: int) -> str:
    """When a process was started, in a form to compare; ``gone`` where it does not run, ``runs`` where none tells."""
    try:
        os.kill(pid, 0)
        # The name in brackets may hold anything; fields 3 (state) and 22 (start) stand behind it.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except ProcessLookupError:
        return "gone"
    except OSError:
        return "runs"
    return "gone" if fields[0] in "ZX" else fields[19]
