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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, Final, cast

import structlog

from app.errors import AppError, JobsUnavailable
from app.jobs.job import UNEXPECTED, Failure
from app.jobs.kinds import Kind
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
    code = Code(setup.kinds)
    pipe.send(Ready(code.load_eager()))
    while True:
        pipe.send(_answer(code, inbox.work.get(), pipe, inbox.cancelled))


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


class Code:
    """The functions of the kinds, each imported once, with its module warmed up."""

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        self._kinds = kinds
        self._loaded: dict[str, Callable[..., bytes]] = {}
        self._warm: set[str] = set()

    def load_eager(self) -> dict[str, str]:
        """Load the kinds that are wanted at the start; those that cannot be loaded are told, not raised."""
        unavailable: dict[str, str] = {}
        for name, kind in self._kinds.items():
            try:
                for target in filter(None, (kind.run, kind.join)) if kind.eager else ():
                    self._function(target, kind.place)
            except Exception as error:
                _log.exception("a kind of job cannot be loaded", kind=name)
                unavailable[name] = f"{type(error).__name__} while its code was loaded"
        return unavailable

    def call(self, work: Work, report: Callable[[bytes], None], cancelled: Callable[[], bool]) -> bytes:
        """Run a job, or join its parts.

        Raises:
            JobsUnavailable: its code cannot be loaded.
            Exception: whatever the job raises.
        """
        kind = self._kinds.get(work.kind)
        if kind is None:
            raise JobsUnavailable("The service knows no such kind of job.")
        if work.results is not None:
            return self._wanted(work.kind, kind.join, kind.place)(work.payload, work.results)
        return self._wanted(work.kind, kind.run, kind.place)(work.payload, report, cancelled)

    def _wanted(self, name: str, target: str, place: str) -> Callable[..., bytes]:
        try:
            return self._function(target, place)
        except Exception as error:
            _log.exception("a kind of job cannot be loaded", kind=name)
            told = "The code of this kind of job could not be loaded; the service's log says why."
            raise JobsUnavailable(told) from error

    def _function(self, target: str, place: str) -> Callable[..., bytes]:
        if target not in self._loaded:
            module_name, _, function = target.partition(":")
            module = importlib.import_module(module_name)
            if module_name not in self._warm and hasattr(module, "warm_up"):
                module.warm_up(place)
            self._warm.add(module_name)
            self._loaded[target] = getattr(module, function)
        return self._loaded[target]


def _answer(code: Code, work: Work, pipe: Connection[Any, Any], cancelled: threading.Event) -> Ended:
    try:
        return Ended(bytes(memoryview(code.call(work, _Reporter(pipe), cancelled.is_set))))
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
