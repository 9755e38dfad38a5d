"""The engine for one machine: supervised worker processes beside the service."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import wait
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final

import structlog

from app.errors import JobLost, JobsUnavailable, JobTimedOut
from app.jobs.engine import EngineOptions, EngineStatus
from app.jobs.job import INTERACTIVE, LOWEST, Claim, Failure, JobRecord, Outcome
from app.jobs.kinds import Kind
from app.jobs.messages import Cancel, Ended, Progress, Ready, Setup, Work
from app.jobs.supervisor import WorkerProcess, is_gone, new_owner

if TYPE_CHECKING:
    from app.jobs.records import Records

LEASE_S: Final = 20.0
"""A run whose engine has not been heard of for this long is taken from it: longer than a database may be away."""
RENEW_EVERY_S: Final = 5.0
GRACE_S: Final = 0.5
"""From the flag that a cancelled job sees to the end of its process."""
ROOM_GRACE_S: Final = 3.0
"""The same where a part makes room: who waits would also wait for the process that takes the place of a killed one."""
LONG_PART_S: Final = 1.0
"""A part that has run for longer may have to make room for somebody who waits."""
PROGRESS_EVERY_S: Final = 0.2
FOLLOW_EVERY_S: Final = 0.25
RECOVER_EVERY_S: Final = 1.0
DATABASE_RETRY_S: Final = 0.5
LONGEST_BACKOFF_S: Final = 30.0
FOREVER_S: Final = float("inf")

LOST: Final = Failure.from_error(
    JobLost("The process that worked on this job ended unexpectedly each time that it was tried.")
)

_log = structlog.stdlib.get_logger("app.jobs")


@dataclass
class _Slot:
    """A place for one worker process and for the job that it runs. Times are of the monotonic clock."""

    name: str
    device: str | None = None
    process: WorkerProcess | None = None
    ready: bool = False
    claim: Claim | None = None
    taken_s: float = 0.0
    job_ends_s: float = FOREVER_S
    cancelled: bool = False
    makes_room: bool = False
    progress: bytes | None = None
    progress_due_s: float = 0.0
    start_s: float = 0.0
    failed_starts: int = 0
    unavailable: Mapping[str, str] = field(default_factory=dict)

    def take(self, claim: Claim, lasts_s: float) -> None:
        self.forget()
        self.claim, self.taken_s, self.job_ends_s = claim, monotonic(), monotonic() + lasts_s

    def forget(self) -> None:
        self.claim, self.job_ends_s, self.progress = None, FOREVER_S, None
        self.cancelled = self.makes_room = False

    @property
    def has_batch_part(self) -> bool:
        return self.claim is not None and bool(self.claim.parent) and self.claim.priority < INTERACTIVE


@dataclass(frozen=True)
class _Ending:
    """What is to be written of a job that no longer runs here."""

    claim: Claim
    write: Callable[[], JobRecord | None]


@dataclass
class _Duty:
    """Something to do with the database every so often."""

    every_s: float
    do: Callable[[], object]
    due_s: float = 0.0


class EmbeddedEngine:
    """Worker processes of this service process, each with a pipe, all looked after by one thread.

    The thread sleeps until a worker or the service tells something. Beyond that it looks into the database once a
    second for what other processes left, and while jobs run four times a second for their cancellation elsewhere.
    """

    def __init__(self, kinds: Mapping[str, Kind], options: EngineOptions) -> None:
        self._options = options
        self._setup = Setup(dict(kinds), tuple(sys.path), options.log_level, options.log_format)
        devices = options.devices or (None,) * options.workers
        self._slots = [_Slot(f"{os.getpid()}/{number}", device) for number, device in enumerate(devices)]
        self._owner = new_owner()
        self._to_cancel: deque[str] = deque()
        self._to_write: deque[_Ending] = deque()
        self._duties = (
            _Duty(RENEW_EVERY_S, self._renew),
            _Duty(RECOVER_EVERY_S, self._recover),
            _Duty(FOLLOW_EVERY_S, self._follow),
            _Duty(options.sweep_every_s, self._sweep),
        )
        self._database_due_s = 0.0
        self._room_due_s = FOREVER_S
        self._may_wait = True
        self._stopping = False
        self._thread: threading.Thread | None = None

    def warm_up(self) -> None:
        """Start the processes, so that they import their code while the service opens its database."""
        with suppress(OSError):  # the thread tries again, and tells
            self._start_missing()

    def start(self, records: Records, on_change: Callable[[JobRecord], None]) -> None:
        self._records = records
        self._on_change = on_change
        self._bell, self._button = socket.socketpair()
        self._stopping = False
        self._bell.setblocking(False)
        self._button.setblocking(False)
        self._thread = threading.Thread(target=self._look_after, name="jobs", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._thread is not None:
            self._stopping = True
            self.wake()
            self._thread.join()
            self._thread = None
            self._bell.close()
            self._button.close()
        self._end_processes()

    def wake(self) -> None:
        with suppress(OSError):  # a full buffer wakes the thread as well
            self._button.send(b"\0")

    def cancel(self, job_id: str) -> None:
        self._to_cancel.append(job_id)
        self.wake()

    def status(self) -> EngineStatus:
        ready = [slot for slot in self._slots if slot.ready]
        unavailable = {kind: why for slot in ready for kind, why in slot.unavailable.items()}
        return EngineStatus(len(self._slots), len(ready), unavailable)

    # What follows runs in the engine's thread.

    def _look_after(self) -> None:
        while not self._stopping:
            try:
                self._step()
            except Exception:
                _log.exception("the engine of jobs stumbled")
                sleep(DATABASE_RETRY_S)
        self._end_processes()
        with suppress(JobsUnavailable):
            self._write()
            self._give_back()

    def _step(self) -> None:
        self._start_missing()
        self._pass_on_cancellations()
        self._end_overdue()
        if monotonic() >= self._database_due_s:
            try:
                self._use_database()
            except JobsUnavailable:
                self._database_due_s = monotonic() + DATABASE_RETRY_S
        self._listen()

    def _use_database(self) -> None:
        for duty in self._duties:
            if monotonic() >= duty.due_s:
                duty.do()
                duty.due_s = monotonic() + duty.every_s
        self._dispatch()  # first, so that the workers are busy while the results of their last jobs are written
        self._write()
        self._dispatch()
        self._make_room()

    # Processes

    def _start_missing(self) -> None:
        for slot in self._slots:
            if slot.process is None and monotonic() >= slot.start_s:
                slot.process = WorkerProcess(self._setup, slot.device)

    def _end_processes(self) -> None:
        for slot in self._slots:
            if slot.process is not None:
                slot.process.kill()
            slot.process, slot.ready = None, False

    def _replace(self, slot: _Slot) -> None:
        """End a slot's process, and let another begin: at once, or later where several never came up."""
        assert slot.process is not None  # noqa: S101
        status = slot.process.kill()
        slot.failed_starts = 0 if slot.ready else slot.failed_starts + 1
        backoff_s = min(2.0 ** (slot.failed_starts - 1), LONGEST_BACKOFF_S) if slot.failed_starts else 0.0
        slot.process, slot.ready, slot.start_s = None, False, monotonic() + backoff_s
        _log.warning("a worker was ended", worker=slot.name, status=status, job=slot.claim and slot.claim.id)

    # Jobs

    def _dispatch(self) -> None:
        """Give waiting jobs to idle workers."""
        for slot in self._slots:
            if not self._may_wait:
                return
            if slot.ready and slot.claim is None:
                self._take(slot)

    def _take(self, slot: _Slot) -> None:
        claim = self._records.claim(self._owner, slot.name, lease_s=LEASE_S, min_priority=self._min_priority())
        self._may_wait = claim is not None
        if claim is not None and slot.process is not None:
            slot.take(claim, self._options.max_job_s)
            slot.process.send(Work(claim.kind, claim.payload, claim.results))

    def _min_priority(self) -> int:
        """Of several workers, whole jobs of a batch leave one free for what somebody waits for."""
        claims = [slot.claim for slot in self._slots if slot.claim is not None]
        batches = sum(claim.whole and claim.priority < INTERACTIVE for claim in claims)
        return INTERACTIVE if batches >= max(1, len(self._slots) - 1) else LOWEST

    def _make_room(self) -> None:
        """Where somebody waits and no worker is free, take back the part of a batch that has lost least.

        Short parts are waited for. The part is queued again, as if it had not begun.
        """
        self._room_due_s = FOREVER_S
        ready = [slot for slot in self._slots if slot.ready]
        on_parts = [slot for slot in ready if slot.has_batch_part]
        free = any(slot.claim is None or slot.makes_room for slot in ready)
        if not self._may_wait or free or not on_parts:
            return
        latest = max(on_parts, key=lambda slot: slot.taken_s)
        if monotonic() < latest.taken_s + LONG_PART_S:
            self._room_due_s = latest.taken_s + LONG_PART_S
        elif self._records.waits(INTERACTIVE):
            latest.makes_room = True
            self._end_softly(latest, ROOM_GRACE_S)
        else:
            self._may_wait = False

    def _pass_on_cancellations(self) -> None:
        while self._to_cancel:
            job_id = self._to_cancel.popleft()
            for slot in self._slots:
                if slot.claim is not None and slot.claim.job_id == job_id:
                    self._cancel(slot)

    def _cancel(self, slot: _Slot) -> None:
        if not slot.cancelled:
            slot.cancelled = True
            self._end_softly(slot, GRACE_S)

    def _end_softly(self, slot: _Slot, grace_s: float) -> None:
        """Ask a run for its end; a little later its process is killed."""
        if slot.process is not None:
            slot.job_ends_s = monotonic() + grace_s
            slot.process.send(Cancel())

    def _end_overdue(self) -> None:
        for slot in self._slots:
            if slot.claim is not None and monotonic() >= slot.job_ends_s:
                self._replace(slot)
                self._end_job(slot, Outcome("cancelled") if slot.cancelled else self._timed_out())

    def _timed_out(self) -> Outcome:
        error = JobTimedOut(f"The job was ended after {self._options.max_job_s:g} s, the longest that one may run.")
        return Outcome("failed", failure=Failure.from_error(error))

    def _end_job(self, slot: _Slot, outcome: Outcome | None) -> None:
        """Note how a slot's job ended; without an outcome it is queued again."""
        claim, progress, gives_back = slot.claim, slot.progress, slot.makes_room and not slot.cancelled
        slot.forget()
        self._may_wait = True
        if claim is None:
            return
        if gives_back:
            write = partial(self._records.release, claim)
        elif outcome is None:
            write = partial(self._records.requeue, claim)
        else:
            write = partial(self._records.finish, claim, outcome, progress=progress)
        self._to_write.append(_Ending(claim, write))

    def _on_death(self, slot: _Slot) -> None:
        self._replace(slot)
        claim = slot.claim
        if slot.cancelled:
            self._end_job(slot, Outcome("cancelled"))
        elif claim is not None and claim.attempt >= self._options.max_attempts:
            self._end_job(slot, Outcome("failed", failure=LOST))
        else:
            self._end_job(slot, None)

    # What workers and service tell

    def _listen(self) -> None:
        """Sleep until somebody tells something or something is due, and hear it."""
        talking: dict[Any, _Slot] = {slot.process.pipe: slot for slot in self._slots if slot.process is not None}
        for source in wait([self._bell, *talking], max(0.0, self._next_due_s() - monotonic())):
            if source is self._bell:
                self._bell.recv(4096)
                self._may_wait = True
            else:
                self._hear(talking[source])

    def _next_due_s(self) -> float:
        running = any(slot.claim for slot in self._slots)
        duties = [duty.due_s for duty in self._duties if running or duty.do != self._follow]
        database = [slot.progress_due_s for slot in self._slots if slot.progress is not None] + duties
        database.append(self._room_due_s)
        if self._to_write:
            database.append(0.0)
        starts = [slot.start_s for slot in self._slots if slot.process is None]
        ends = [slot.job_ends_s for slot in self._slots]
        return min([max(self._database_due_s, min(database)), *starts, *ends])

    def _hear(self, slot: _Slot) -> None:
        assert slot.process is not None  # noqa: S101
        try:
            message = slot.process.pipe.recv()
        except (EOFError, OSError):
            self._on_death(slot)
            return
        if isinstance(message, Ended):
            self._end_job(slot, _outcome(message, cancelled=slot.cancelled))
        elif isinstance(message, Progress):
            # Nobody sees that of a part: a job made of parts counts those that are done.
            slot.progress = message.progress if slot.claim and slot.claim.whole else None
        elif isinstance(message, Ready):
            slot.ready, slot.unavailable, self._may_wait = True, message.unavailable, True

    # The database

    def _write(self) -> None:
        """Write what has ended and what was reported; what the database refuses now is kept for later."""
        while self._to_write:
            record = self._to_write[0].write()
            self._to_write.popleft()
            if record is not None:
                self._on_change(record)
            if record is None or not record.finished:
                self._may_wait = True  # a run that was given back, or the join of parts that are done
        for slot in self._slots:
            if slot.claim and slot.progress is not None and monotonic() >= slot.progress_due_s:
                self._records.report(slot.claim, slot.progress)
                slot.progress, slot.progress_due_s = None, monotonic() + PROGRESS_EVERY_S

    def _renew(self) -> None:
        held = self._held()
        if held:
            self._records.renew(self._owner, held, lease_s=LEASE_S)

    def _recover(self) -> None:
        attempts = self._options.max_attempts
        found = self._records.recover(self._held(), self._is_lost, max_attempts=attempts, failure=LOST)
        if found:
            _log.warning("jobs of a lost process were found", jobs=found)
        self._may_wait = True

    def _is_lost(self, owner: str) -> bool:
        """Whether nobody does what this owner was given; of this engine it is what it was given and never heard of."""
        return owner == self._owner or is_gone(owner)

    def _held(self) -> list[str]:
        running = [slot.claim.id for slot in self._slots if slot.claim is not None]
        return running + [ending.claim.id for ending in self._to_write]

    def _follow(self) -> None:
        """See which running jobs other processes have cancelled, or taken because this one seemed lost."""
        if not any(slot.claim for slot in self._slots):
            return
        held = self._records.running(self._owner)
        for slot in self._slots:
            if slot.claim is None:
                continue
            run = (slot.claim.id, slot.claim.attempt)
            if run not in held:
                self._replace(slot)
                slot.forget()
            elif held[run]:
                self._cancel(slot)

    def _sweep(self) -> None:
        self._records.sweep(self._options.retention_s)

    def _give_back(self) -> None:
        """Queue again what ran when the service stopped, as if it had not begun."""
        for slot in self._slots:
            if slot.claim is not None and slot.cancelled:
                self._records.finish(slot.claim, Outcome("cancelled"))
            elif slot.claim is not None:
                self._records.release(slot.claim)


def _outcome(message: Ended, *, cancelled: bool) -> Outcome:
    if cancelled:
        return Outcome("cancelled", message.result)
    if message.failure is not None:
        return Outcome("failed", failure=Failure.from_json(message.failure))
    return Outcome("done", message.result)
