"""A worker process: imports the kinds of jobs, warms them up, then runs one job after another.

Started by `app.jobs.supervisor` as ``python -m app.jobs.worker <descriptor of its end of a pipe>``. It ends when the
pipe does, so that no worker outlives its service.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, Final, cast

import structlog

from app.errors import AppError, JobsUnavailable
from app.jobs.job import UNEXPECTED, Failure
from app.jobs.kinds import Run
from app.jobs.messages import Cancel, Ended, Progress, Ready, Setup, Work
from app.logs import configure_logs

REPORT_EVERY_S: Final = 0.05
"""Progress that is reported sooner than this after the last is left out."""

_log = structlog.stdlib.get_logger("app.jobs.worker")


def main() -> None:
    """Run jobs until the pipe closes."""
    # Whoever stops the service may signal all its processes; the service ends its workers when it has done with them.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    pipe: Connection[Any, Any] = Connection(int(sys.argv[1]))
    os.set_inheritable(pipe.fileno(), False)
    setup: Setup = pipe.recv()
    sys.path[:] = setup.path
    configure_logs(level=setup.log_level, form=cast(Any, setup.log_format))
    inbox = _Inbox(pipe)
    threading.Thread(target=inbox.read, name="inbox", daemon=True).start()
    runs, unavailable = load_kinds(setup.kinds)
    pipe.send(Ready(unavailable))
    while True:
        pipe.send(_answer(runs, inbox.work.get(), pipe, inbox.cancelled))


@dataclass
class _Inbox:
    """Reads the pipe in a thread of its own: a cancellation, or the service's death, must not wait for the job."""

    pipe: Connection[Any, Any]
    work: SimpleQueue[Work] = field(default_factory=SimpleQueue)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def read(self) -> None:
        while True:
            try:
                message = self.pipe.recv()
            except (EOFError, OSError):
                os._exit(0)
            if isinstance(message, Work):
                self.cancelled.clear()
                self.work.put(message)
            elif isinstance(message, Cancel):
                self.cancelled.set()


def load_kinds(kinds: Mapping[str, str]) -> tuple[dict[str, Run], dict[str, str]]:
    """Import and warm up the kinds; those that cannot be loaded are told, not raised."""
    runs: dict[str, Run] = {}
    unavailable: dict[str, str] = {}
    warm: set[str] = set()
    for kind, target in kinds.items():
        try:
            runs[kind] = _load(target, warm)
        except Exception as error:
            _log.exception("a kind of job cannot be loaded", kind=kind)
            unavailable[kind] = f"{type(error).__name__} while its code was loaded"
    return runs, unavailable


def _load(target: str, warm: set[str]) -> Run:
    module_name, _, function = target.partition(":")
    module = importlib.import_module(module_name)
    if module_name not in warm and hasattr(module, "warm_up"):
        module.warm_up()
    warm.add(module_name)
    return cast(Run, getattr(module, function))


def _answer(runs: Mapping[str, Run], work: Work, pipe: Connection[Any, Any], cancelled: threading.Event) -> Ended:
    try:
        if work.kind not in runs:
            raise JobsUnavailable("The code of this kind of job could not be loaded; the service's log says why.")
        return Ended(bytes(memoryview(runs[work.kind](work.payload, _Reporter(pipe), cancelled.is_set))))
    except AppError as error:
        return Ended(failure=Failure.from_error(error).to_json())
    except Exception:
        _log.exception("a job failed", kind=work.kind)
        return Ended(failure=UNEXPECTED.to_json())


class _Reporter:
    """Sends progress, and leaves out what comes too soon after the last."""

    def __init__(self, pipe: Connection[Any, Any]) -> None:
        self._pipe = pipe
        self._next_s = 0.0

    def __call__(self, progress: bytes) -> None:
        now_s = time.monotonic()
        if now_s >= self._next_s:
            self._next_s = now_s + REPORT_EVERY_S
            self._pipe.send(Progress(bytes(progress)))


if __name__ == "__main__":
    main()
