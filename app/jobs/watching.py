"""Whoever waits for a change of a job, told by what this process does and by one look at what others do."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final

import structlog

from app.errors import JobsUnavailable
from app.jobs.job import JobRecord

LOOK_EVERY_S: Final = 0.25
"""How long what another process does may stay unseen."""

_log = structlog.stdlib.get_logger("app.jobs")


class Listener:
    """The newest record of one job, for one coroutine. What changes twice before it is read is told once.

    Args:
        loop: of the coroutine.
        end_only: only the record of a job that has finished is of interest.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, end_only: bool) -> None:
        self._loop = loop
        self._end_only = end_only
        self._news = asyncio.Event()
        self._newest: JobRecord | None = None
        self._let_go = False

    def tell(self, record: JobRecord) -> None:
        """Tell a record, from one thread at a time."""
        if self._end_only and not record.finished:
            return
        if self._newest is None or record.revision > self._newest.revision:
            self._newest = record
            with suppress(RuntimeError):  # a loop that has closed waits for nothing
                self._loop.call_soon_threadsafe(self._news.set)

    def let_go(self) -> None:
        """Tell that nobody should wait any longer."""
        self._let_go = True
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._news.set)

    async def newer(self, than: int) -> JobRecord | None:
        """Wait for a record of a higher revision; None where nobody should wait any longer."""
        while self._newest is None or self._newest.revision <= than:
            if self._let_go:
                return None
            self._news.clear()
            await self._news.wait()
        return self._newest


class Watching:
    """Listeners of one service process, by job.

    A thread looks for the revisions of all their jobs at once, as long as there is any: the cost does not grow with
    those who watch one job.

    Args:
        changed: gives, of jobs and the revisions last seen, the records that have changed.
    """

    def __init__(self, changed: Callable[[Mapping[str, int]], Sequence[JobRecord]]) -> None:
        self._changed = changed
        self._lock = threading.Lock()
        self._listeners: defaultdict[str, set[Listener]] = defaultdict(set)
        self._seen: dict[str, int] = {}
        self._somebody = threading.Event()
        self._stopping = threading.Event()
        self._letting_go = False

    def start(self) -> None:
        self._stopping.clear()
        self._letting_go = False
        self._thread = threading.Thread(target=self._look, name="jobs-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._somebody.set()
        self._thread.join()

    def let_go(self) -> None:
        """End all waiting, and let nobody wait from now on."""
        with self._lock:
            self._letting_go = True
            for listener in (one for listeners in self._listeners.values() for one in listeners):
                listener.let_go()

    @contextmanager
    def listener(self, job_id: str, *, end_only: bool = False) -> Iterator[Listener]:
        """Listen to a job, from within an event loop; what happened before must be asked for."""
        listener = Listener(asyncio.get_running_loop(), end_only=end_only)
        with self._lock:
            self._listeners[job_id].add(listener)
            self._somebody.set()
            if self._letting_go:
                listener.let_go()
        try:
            yield listener
        finally:
            with self._lock:
                self._listeners[job_id].discard(listener)
                if not self._listeners[job_id]:
                    del self._listeners[job_id]
                    self._seen.pop(job_id, None)

    def tell(self, record: JobRecord) -> None:
        """Tell those who listen to a job how it stands now."""
        with self._lock:
            for listener in self._listeners.get(record.id, ()):
                self._seen[record.id] = max(record.revision, self._seen.get(record.id, 0))
                listener.tell(record)

    def _look(self) -> None:
        while not self._stopping.is_set():
            self._somebody.wait()
            self._stopping.wait(LOOK_EVERY_S)
            with self._lock:
                seen = {job_id: self._seen.get(job_id, 0) for job_id in self._listeners}
                if not seen and not self._stopping.is_set():
                    self._somebody.clear()
            if seen:
                self._look_at(seen)

    def _look_at(self, seen: Mapping[str, int]) -> None:
        try:
            for record in self._changed(seen):
                self.tell(record)
        except JobsUnavailable:  # the records have told; what changed is seen when the database is back
            pass
        except Exception:
            _log.exception("the watch over jobs stumbled")
