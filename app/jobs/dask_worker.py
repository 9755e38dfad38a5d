"""What runs inside the workers of a Dask cluster: each keeps warm processes, in which the jobs run.

A job never runs in the Dask worker itself: it could not be ended there, and its crash would be the worker's. Only the
workers import this module, and `app.jobs.dask_cluster` when it connects: `distributed` takes a second.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import wait
from time import monotonic
from typing import Any, Final, Literal

from distributed import Worker, WorkerPlugin, get_worker

from app import __version__
from app.jobs.embedded import GRACE_S
from app.jobs.kinds import Kind
from app.jobs.messages import Cancel, Ended, Progress, Ready, Setup, Work
from app.jobs.supervisor import WorkerProcess

KEY_PREFIX: Final = "beamline."
"""How the keys of our tasks begin among those of a cluster's other users."""

Tell = Callable[..., None]
How = Literal["ended", "cancelled", "timed-out", "died", "unprepared"]
"""How a run ended: by itself; after `cancel`; by its time; with its process; or not at all, because this worker has
nothing that could run it."""


@dataclass(frozen=True)
class Preparation:
    """What a worker must have before it is given jobs.

    Attributes:
        version: of the project; a worker with another one refuses.
        kinds: the table of kinds.
        log_level, log_format: of the processes, as for `app.logs.configure_logs`.
    """

    version: str
    kinds: Mapping[str, Kind]
    log_level: str
    log_format: str

    @property
    def crew(self) -> str:
        """Name of the processes that it makes; services with the same kinds share them."""
        return KEY_PREFIX + hashlib.sha256(repr(sorted(self.kinds.items())).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Order:
    """One run for a worker that was prepared.

    Attributes:
        crew: name of the processes.
        key: of the task.
        topic: under which the beginning and the progress are told.
        max_job_s: longest that it may run.
        reports: tell its progress; nobody sees that of a part.
    """

    crew: str
    key: str
    topic: str
    work: Work
    max_job_s: float
    reports: bool


@dataclass(frozen=True)
class Answer:
    """How a run ended, and with what."""

    how: How
    ended: Ended | None = None


class WrongVersion(Exception):
    """The worker has other code than the service."""


async def prepare(preparation: Preparation, dask_worker: Worker) -> dict[str, str]:
    """Start the processes of a worker and wait until they are warm; called through `distributed.Client.run`.

    Returns:
        The kinds that they cannot run, and why.

    Raises:
        WrongVersion: this is another version of the project.
        OSError: a process could not start.
    """
    if preparation.version != __version__:
        raise WrongVersion(f"the worker has version {__version__} of the project, the service {preparation.version}")
    crew = dask_worker.plugins.get(preparation.crew)
    if not isinstance(crew, Crew):
        crew = Crew(preparation)
        await dask_worker.plugin_add(crew, name=preparation.crew)
    return await asyncio.to_thread(crew.warm_up, dask_worker.state.nthreads)


def run(order: Order) -> Answer:
    """Do a run to its end: the task of the cluster."""
    worker = get_worker()
    crew = worker.plugins.get(order.crew)
    if not isinstance(crew, Crew):  # the worker was started anew at the same address
        return Answer("unprepared")

    def tell(**news: Any) -> None:
        worker.log_event(order.topic, {"run": order.key, **news})

    return crew.run(order, tell)


async def cancel(crew_name: str, key: str, dask_worker: Worker) -> None:
    """Flag the run of a task, and end its process soon after; called through `distributed.Client.run`."""
    crew = dask_worker.plugins.get(crew_name)
    if isinstance(crew, Crew):
        crew.cancel(key)


class Crew(WorkerPlugin):
    """The warm processes of a Dask worker, one for each of its threads."""

    def __init__(self, preparation: Preparation) -> None:
        kinds = dict(preparation.kinds)
        self._setup = Setup(kinds, tuple(sys.path), preparation.log_level, preparation.log_format)
        self._idle: deque[_Process] = deque()
        self._bells: dict[str, _Bell] = {}
        self._warming = threading.Lock()
        self._closed = False

    def warm_up(self, threads: int) -> dict[str, str]:
        """Have a process for each thread, and wait until those that are idle have imported their code.

        Raises:
            OSError: a process could not start.
        """
        with self._warming:
            missing = max(1, threads - len(self._bells)) - len(self._idle)
            found = [_Process(self._setup) for _ in range(missing)] + self._all_idle()
            try:
                unavailable = [process.warm() for process in found]
            except OSError:
                for process in found:
                    process.kill()
                raise
            for process in found:
                self._keep(process)
            return {kind: why for one in unavailable for kind, why in one.items()}

    def run(self, order: Order, tell: Tell) -> Answer:
        """Do a run in a process, in the thread that the worker has for its task."""
        bell = self._bells.setdefault(order.key, _Bell())
        try:
            process = self._take()
        except OSError:
            return Answer("unprepared")
        tell(began=True)
        answer = _watch(process, bell, order, tell)
        if answer.ended is not None:
            self._keep(process)
        else:
            process.kill()
            self._replace()
        return answer

    def cancel(self, key: str) -> None:
        bell = self._bells.get(key)
        if bell is not None:
            bell.ring()

    def transition(self, key: Any, start: str, finish: str, *_: Any, **__: Any) -> None:
        """Follow the tasks of this worker: one that nobody wants any more, as its service has gone, is cancelled."""
        if not (isinstance(key, str) and key.startswith(KEY_PREFIX)):
            return
        if finish == "executing":
            self._bells.setdefault(key, _Bell())
        elif start == "executing" and finish == "released":
            self.cancel(key)
        elif finish in ("memory", "error", "forgotten"):
            self._bells.pop(key, None)

    def teardown(self, worker: Worker) -> None:
        """End all processes: the worker closes."""
        self._closed = True
        for bell in list(self._bells.values()):
            bell.ring(end=True)
        for process in self._all_idle():
            process.kill()

    def _take(self) -> _Process:
        """Give a warm process; those that have died meanwhile are replaced."""
        while self._idle:
            process = self._idle.popleft()
            if process.lives():
                break
            process.kill()
        else:
            process = _Process(self._setup)
        try:
            process.warm()
        except OSError:
            process.kill()
            raise
        return process

    def _keep(self, process: _Process) -> None:
        if self._closed:
            process.kill()
        else:
            self._idle.append(process)

    def _replace(self) -> None:
        with suppress(OSError):  # the next run tries again
            self._keep(_Process(self._setup))

    def _all_idle(self) -> list[_Process]:
        return [self._idle.popleft() for _ in range(len(self._idle))]


class _Process(WorkerProcess):
    """A worker process that says whether it is warm."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._unavailable: Mapping[str, str] | None = None

    def warm(self) -> Mapping[str, str]:
        """Wait until it takes jobs, and give the kinds that it cannot run.

        Raises:
            OSError: it ended instead.
        """
        if self._unavailable is None:
            try:
                message: Ready = self.pipe.recv()
            except EOFError as error:
                raise OSError("a worker process ended while it started") from error
            self._unavailable = message.unavailable
        return self._unavailable

    def lives(self) -> bool:
        """Whether an idle one has not died: a warm one has nothing to say but that."""
        return self._unavailable is None or not self.pipe.poll()


@dataclass
class _Bell:
    """Tells the thread that attends a run to cancel it, or to end it at once."""

    ends: tuple[Any, Any] = field(default_factory=lambda: Pipe(duplex=False))

    @property
    def hears(self) -> Any:
        return self.ends[0]

    def ring(self, *, end: bool = False) -> None:
        self.ends[1].send(end)


def _watch(process: _Process, bell: _Bell, order: Order, tell: Tell) -> Answer:
    """Attend a run to its end; without a message of the end its process has ended or is to be ended."""
    process.send(order.work)
    cancelled, ends_s = False, monotonic() + order.max_job_s
    while True:
        heard = wait([process.pipe, bell.hears], max(0.0, ends_s - monotonic()))
        if bell.hears in heard:
            if bell.hears.recv():
                return Answer("died")
            if not cancelled:
                cancelled, ends_s = True, monotonic() + GRACE_S
                process.send(Cancel())
        if not heard:
            return Answer("cancelled" if cancelled else "timed-out")
        if process.pipe in heard:
            message = _receive(process)
            if isinstance(message, Progress) and order.reports:
                tell(progress=message.progress)
            elif message is None or isinstance(message, Ended):
                how: How = "ended" if message else "died"
                return Answer("cancelled" if cancelled else how, message)


def _receive(process: _Process) -> Any:
    try:
        return process.pipe.recv()
    except (EOFError, OSError):
        return None
