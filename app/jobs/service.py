"""Long work as the API sees it: submit, wait, watch, cancel. Nothing here blocks the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog

from app.errors import JobsUnavailable
from app.jobs.embedded import EmbeddedEngine
from app.jobs.engine import Engine, EngineOptions, EngineStatus
from app.jobs.job import INTERACTIVE, JobRecord, State
from app.jobs.kinds import Kind
from app.jobs.watching import Watching

if TYPE_CHECKING:
    from app.jobs.records import Records

DATABASE_THREADS: Final = 4
OPEN_RETRY_S: Final = 2.0
START_TIMEOUT_S: Final = 10.0
"""How long a request waits for the database of a service that has just started."""
ANSWER_TIMEOUT_S: Final = 12.0
"""How long a request waits for a database that hangs rather than fails."""
CANCEL_TIMEOUT_S: Final = 1.0

_log = structlog.stdlib.get_logger("app.jobs")
_Value = TypeVar("_Value")


class Jobs:
    """The jobs of one service process. `start` and `stop` belong to its lifespan; the rest may be awaited in between.

    Args:
        url: of the database of records, as SQLAlchemy has it.
        kinds: see `app.jobs.kinds`.
        options: how the engine runs them.
        max_queued: more waiting jobs than this are refused.
        max_of_owner: more jobs of one owner, waiting or running, are refused; None: as many as may wait.
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
        max_of_owner: int | None = None,
        on_finished: Callable[[JobRecord], None] | None = None,
        engine: Engine | None = None,
    ) -> None:
        self._url = url
        self._kinds = dict(kinds)
        self._max_queued = max_queued
        self._max_of_owner = max_of_owner
        self._told_finished = on_finished
        self._engine: Engine = engine or EmbeddedEngine(kinds, options)
        self._records: Records | None = None
        self._opened = threading.Event()
        self._stopping = threading.Event()
        self._watching = Watching(self._changed)

    def start(self) -> None:
        """Begin in the background; requests that come before the database is open wait for it."""
        self._stopping.clear()
        self._threads = ThreadPoolExecutor(DATABASE_THREADS, "jobs-database")
        self._opener = threading.Thread(target=self._open, name="jobs-open", daemon=True)
        self._opener.start()
        self._watching.start()

    def stop(self) -> None:
        """End the engine and close the database; what still runs is queued for the next start."""
        self._stopping.set()
        self._opener.join()
        self._watching.stop()
        self._engine.stop()
        self._threads.shutdown()
        self._opened.clear()
        if self._records is not None:
            self._records.close()
            self._records = None

    async def submit(
        self,
        kind: str,
        payload: bytes,
        *,
        priority: int = INTERACTIVE,
        parts: Sequence[bytes] = (),
        key: str | None = None,
        asked: bytes | None = None,
        owner: str = "",
    ) -> str:
        """Queue a job and give its id.

        Args:
            kind: a key of the table of kinds.
            payload: JSON, what the kind's function is called with; where there are parts, its join.
            priority: higher ones are started first, also between the parts of a job; see `app.jobs.job`.
            parts: JSON, what the kind's function is called with for each part, on any worker and in any order. One part
                that fails fails the job.
            key: of the caller's choice; the same key with the same work gives the id of the same job, for as long as
                its record is kept.
            asked: what makes the work the same, where payload and parts say more than the caller did.
            owner: who submits it, and may look at it and cancel it; keys are its own. Empty: anybody.

        Raises:
            Busy: too many jobs wait, or too many of this owner are under way.
            IdempotencyConflict: the key came before with other work.
            JobsUnavailable: the database fails, or the workers cannot load the code of this kind.
        """
        if kind not in self._kinds:
            raise ValueError(f"there is no kind of job {kind!r}; known are {sorted(self._kinds)}")
        if parts and not self._kinds[kind].join:
            raise ValueError(f"jobs of the kind {kind!r} cannot be made of parts: nothing joins them")
        if kind in self.status().unavailable:
            raise JobsUnavailable(f"Jobs of the kind {kind} cannot run here; the service's log says why.")
        job: dict[str, Any] = {"priority": priority, "parts": parts, "key": key, "asked": asked, "principal": owner}
        limits = {"max_queued": self._max_queued, "max_of_owner": self._max_of_owner}
        job_id = await self._ask(lambda records: records.add(kind, payload, **job, **limits))
        self._engine.wake()
        return job_id

    async def get(self, job_id: str, reader: str | None = None) -> JobRecord:
        """Give the present record.

        Args:
            reader: who asks, as for `app.jobs.records.Records.get`.

        Raises:
            NotFound, Gone, JobsUnavailable: as for `app.jobs.records.Records.get`.
        """
        return await self._ask(lambda records: records.get(job_id, reader))

    async def wait(self, job_id: str, timeout_s: float) -> JobRecord:
        """Give the record as soon as the job has finished, or after ``timeout_s`` or `let_go` as it is then.

        Raises:
            NotFound, Gone, JobsUnavailable: as for `get`; a database that fails in between is waited for.
        """
        end_s = monotonic() + timeout_s
        with self._watching.listener(job_id, end_only=True) as listener:
            record = await self._look(job_id)
            while not record.finished:
                try:
                    async with asyncio.timeout(max(0.0, end_s - monotonic())):
                        newer = await listener.newer(record.revision)
                except TimeoutError:
                    newer = None
                if newer is None:
                    return await self.get(job_id)
                record = newer
        return record

    async def watch(self, job_id: str, after_revision: int | None = None) -> AsyncGenerator[JobRecord, None]:
        """Give the record as it is and after each change, until the job has finished, or until `let_go`.

        Changes that follow each other closely are given as one. A database that fails in between is waited for.

        Args:
            job_id: of any job, whichever process runs it.
            after_revision: of the last record that the caller has, which is not given again.

        Raises:
            NotFound, Gone, JobsUnavailable: as for `get`, before the first record.
        """
        with self._watching.listener(job_id) as listener:
            record = await self._look(job_id)
            if record.revision != after_revision:
                yield record
            while not record.finished:
                newer = await listener.newer(record.revision)
                if newer is None:
                    return
                record = newer
                yield record

    def let_go(self) -> None:
        """End all waiting and watching, now and until `stop`: who waits is told how the job stands, and may ask again.

        For a service that is asked to stop: its server first waits for the answers that it still owes.
        """
        self._watching.let_go()

    async def list(
        self, *, state: State | None = None, kind: str | None = None, owner: str | None = None, limit: int = 100
    ) -> Sequence[JobRecord]:
        """Give the records of jobs, without their results, the newest first.

        Args:
            state: only those in this state.
            kind: only those of this kind.
            owner: only those that it submitted.
            limit: at most as many.

        Raises:
            JobsUnavailable: the database fails.
        """
        return await self._ask(lambda records: records.newest(state=state, kind=kind, owner=owner, limit=limit))

    async def cancel(self, job_id: str, reader: str | None = None) -> JobRecord:
        """Cancel a job and give its record, normally as it is after the end; of a finished job nothing changes.

        Args:
            reader: who asks; a job that it may not read it may not cancel.

        Raises:
            NotFound, Gone, JobsUnavailable: as for `get`.
        """
        if reader is not None:
            await self.get(job_id, reader)
        record = await self._ask(lambda records: records.cancel(job_id))
        self._engine.cancel(job_id)
        if record.finished:
            self._watching.tell(record)
            return record
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
                self._engine.start(self._records, self._on_change)
                self._opened.set()
                return

    async def _ask(self, question: Callable[[Records], _Value]) -> _Value:
        answer = asyncio.get_running_loop().run_in_executor(self._threads, self._answer, question)
        try:
            return await asyncio.wait_for(answer, ANSWER_TIMEOUT_S)
        except TimeoutError:
            raise JobsUnavailable("The database of jobs does not answer; try again later.") from None

    def _answer(self, question: Callable[[Records], _Value]) -> _Value:
        if not self._opened.wait(START_TIMEOUT_S) or self._records is None:
            raise JobsUnavailable("The database of jobs cannot be opened; the service's log says why.")
        return question(self._records)

    async def _look(self, job_id: str) -> JobRecord:
        """Get a record and note it as seen, for those who listen."""
        record = await self.get(job_id)
        self._watching.tell(record)
        return record

    def _changed(self, seen: Mapping[str, int]) -> Sequence[JobRecord]:
        return self._records.changed(seen) if self._records is not None else ()

    def _on_change(self, record: JobRecord) -> None:
        if record.finished and self._told_finished is not None:
            self._told_finished(record)
        self._watching.tell(record)
