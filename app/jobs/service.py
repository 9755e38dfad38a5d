"""Long work as the API sees it: submit, wait, look, cancel. Nothing here blocks the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from app.errors import JobsUnavailable
from app.jobs.embedded import EmbeddedEngine
from app.jobs.engine import Engine, EngineOptions, EngineStatus
from app.jobs.job import INTERACTIVE, JobRecord
from app.jobs.kinds import Kind

if TYPE_CHECKING:
    from app.jobs.records import Records

DATABASE_THREADS: Final = 4
OPEN_RETRY_S: Final = 2.0
START_TIMEOUT_S: Final = 10.0
"""How long a request waits for the database of a service that has just started."""
LOOK_EVERY_S: Final = 0.5
"""While waiting for a job that another process runs; the end of one's own is told at once."""
CANCEL_TIMEOUT_S: Final = 1.0

_log = structlog.stdlib.get_logger("app.jobs")
_Value = TypeVar("_Value")
_Waiter = tuple[asyncio.AbstractEventLoop, "asyncio.Future[JobRecord]"]


class Jobs:
    """The jobs of one service process. `start` and `stop` belong to its lifespan; the rest may be awaited in between.

    Args:
        url: of the database of records, as SQLAlchemy has it.
        kinds: see `app.jobs.kinds`.
        options: how the engine runs them.
        max_queued: more waiting jobs than this are refused.
        on_finished: called, in another thread, with each job that this process has ended.
        engine: another engine than the embedded one.
    """

    def __init__(
        self,
        url: str,
        kinds: Mapping[str, Kind],
        options: EngineOptions,
        *,
        max_queued: int = 1000,
        on_finished: Callable[[JobRecord], None] | None = None,
        engine: Engine | None = None,
    ) -> None:
        self._url = url
        self._kinds = dict(kinds)
        self._max_queued = max_queued
        self._told_finished = on_finished
        self._engine: Engine = engine or EmbeddedEngine(kinds, options)
        self._records: Records | None = None
        self._opened = threading.Event()
        self._stopping = threading.Event()
        self._waiters: defaultdict[str, set[_Waiter]] = defaultdict(set)
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin in the background; requests that come before the database is open wait for it."""
        self._stopping.clear()
        self._threads = ThreadPoolExecutor(DATABASE_THREADS, "jobs-database")
        self._opener = threading.Thread(target=self._open, name="jobs-open", daemon=True)
        self._opener.start()

    def stop(self) -> None:
        """End the engine and close the database; what still runs is queued for the next start."""
        self._stopping.set()
        self._opener.join()
        self._engine.stop()
        self._threads.shutdown()
        self._opened.clear()
        if self._records is not None:
            self._records.close()
            self._records = None

    async def submit(self, kind: str, payload: bytes, *, priority: int = INTERACTIVE) -> str:
        """Queue a job and give its id.

        Args:
            kind: a key of the table of kinds.
            payload: JSON, what the kind's function is called with.
            priority: higher ones are started first; see `app.jobs.job`.

        Raises:
            Busy: too many jobs wait.
            JobsUnavailable: the database fails, or the workers cannot load the code of this kind.
        """
        if kind not in self._kinds:
            raise ValueError(f"there is no kind of job {kind!r}; known are {sorted(self._kinds)}")
        if kind in self.status().unavailable:
            raise JobsUnavailable(f"Jobs of the kind {kind} cannot run here; the service's log says why.")
        limit = self._max_queued
        job_id = await self._ask(lambda records: records.add(kind, payload, priority=priority, max_queued=limit))
        self._engine.wake()
        return job_id

    async def get(self, job_id: str) -> JobRecord:
        """Give the present record.

        Raises:
            NotFound, Gone, JobsUnavailable: as for `app.jobs.records.Records.get`.
        """
        return await self._ask(lambda records: records.get(job_id))

    async def wait(self, job_id: str, timeout_s: float) -> JobRecord:
        """Give the record as soon as the job has finished, or after ``timeout_s`` as it is then.

        Raises:
            NotFound, Gone, JobsUnavailable: as for `get`.
        """
        end_s = monotonic() + timeout_s
        loop = asyncio.get_running_loop()
        finished: asyncio.Future[JobRecord] = loop.create_future()
        self._add_waiter(job_id, (loop, finished))
        try:
            while True:
                record = await self.get(job_id)
                left_s = end_s - monotonic()
                if record.finished or left_s <= 0:
                    return record
                with suppress(TimeoutError):
                    return await asyncio.wait_for(asyncio.shield(finished), min(left_s, LOOK_EVERY_S))
        finally:
            self._drop_waiter(job_id, (loop, finished))

    async def cancel(self, job_id: str) -> JobRecord:
        """Cancel a job and give its record, normally as it is after the end; of a finished job nothing changes.

        Raises:
            NotFound, Gone, JobsUnavailable: as for `get`.
        """
        record = await self._ask(lambda records: records.cancel(job_id))
        if record.finished:
            self._tell_waiters(record)
            return record
        self._engine.cancel(job_id)
        return await self.wait(job_id, CANCEL_TIMEOUT_S)

    async def count(self) -> dict[str, int]:
        """Number of jobs in the database by state; nothing before it is open.

        Raises:
            JobsUnavailable: the database fails.
        """
        if not self._opened.is_set():
            return {}
        return await self._ask(lambda records: records.count())

    def status(self) -> EngineStatus:
        return self._engine.status()

    def _open(self) -> None:
        if isinstance(self._engine, EmbeddedEngine):
            self._engine.warm_up()
        # Imported here: SQLAlchemy takes half a second.
        from app.jobs.records import Records

        while not self._stopping.is_set():
            try:
                self._records = Records(self._url)
            except JobsUnavailable:  # the records have told
                self._stopping.wait(OPEN_RETRY_S)
            except Exception:
                _log.exception("the database of jobs cannot be opened")
                self._stopping.wait(OPEN_RETRY_S)
            else:
                self._engine.start(self._records, self._on_finished)
                self._opened.set()
                return

    async def _ask(self, question: Callable[[Records], _Value]) -> _Value:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._answer, question)

    def _answer(self, question: Callable[[Records], _Value]) -> _Value:
        if not self._opened.wait(START_TIMEOUT_S) or self._records is None:
            raise JobsUnavailable("The database of jobs cannot be opened; the service's log says why.")
        return question(self._records)

    def _on_finished(self, record: JobRecord) -> None:
        if self._told_finished is not None:
            self._told_finished(record)
        self._tell_waiters(record)

    def _tell_waiters(self, record: JobRecord) -> None:
        with self._lock:
            waiters = list(self._waiters.get(record.id, ()))
        for loop, finished in waiters:
            with suppress(RuntimeError):  # a loop that has closed waits for nothing
                loop.call_soon_threadsafe(_fulfil, finished, record)

    def _add_waiter(self, job_id: str, waiter: _Waiter) -> None:
        with self._lock:
            self._waiters[job_id].add(waiter)

    def _drop_waiter(self, job_id: str, waiter: _Waiter) -> None:
        with self._lock:
            self._waiters[job_id].discard(waiter)
            if not self._waiters[job_id]:
                del self._waiters[job_id]


def _fulfil(finished: asyncio.Future[JobRecord], record: JobRecord) -> None:
    if not finished.done():
        finished.set_result(record)
