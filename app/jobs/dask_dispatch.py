"""Between the records and a Dask cluster: claims runs, has them done, and writes what becomes of them.

The records stay the truth. A run is claimed when a worker has room for it, and is given to that worker alone. Where the
worker leaves, the run is queued again and its start is counted; where the scheduler is away, all runs are queued again
and none is claimed until it is back. What a cluster still does with a run that was given up is never heard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog

from app import __version__
from app.errors import JobsUnavailable, JobTimedOut
from app.jobs import dask_placement as placement
from app.jobs.dask_placement import Ending, Member, Pace, Run
from app.jobs.embedded import (
    DATABASE_RETRY_S,
    FOLLOW_EVERY_S,
    GRACE_S,
    LEASE_S,
    LONG_PART_S,
    LOST,
    PROGRESS_EVERY_S,
    RECOVER_EVERY_S,
    RENEW_EVERY_S,
)
from app.jobs.engine import EngineOptions, EngineStatus
from app.jobs.job import INTERACTIVE, Failure, JobRecord, Outcome
from app.jobs.kinds import Kind
from app.jobs.supervisor import is_gone, new_owner

if TYPE_CHECKING:
    from app.jobs.dask_cluster import Cluster
    from app.jobs.dask_worker import Answer
    from app.jobs.records import Records

DATABASE_THREADS: Final = 2
FIRST_BACKOFF_S: Final = 0.5
LONGEST_BACKOFF_S: Final = 8.0
ANSWER_MARGIN_S: Final = 0.3
"""How much later than the end of its process the answer of a cancelled run is waited for."""
AWAY: Final = "The Dask scheduler does not answer, or cannot run this project; the service's log says why."
NO_WORKERS: Final = "The Dask cluster has no worker that can run this project."

REQUEUE: Final = Ending("requeue")
RELEASE: Final = Ending("release")
DROP: Final = Ending("drop")

_log = structlog.stdlib.get_logger("app.jobs")
_Value = TypeVar("_Value")


class Dispatch:
    """An engine between its start and its stop, within one event loop; the database has threads of its own.

    Args:
        records: where runs are claimed and their ends are written.
        on_change: called with what `Records.finish` gives.
        kinds: the table of kinds.
        options: how to run them.
        address: of the scheduler.
    """

    def __init__(
        self,
        records: Records,
        on_change: Callable[[JobRecord], None],
        kinds: Mapping[str, Kind],
        options: EngineOptions,
        address: str,
    ) -> None:
        self._records = records
        self._on_change = on_change
        self._kinds = kinds
        self._options = options
        self._address = address
        self._owner = new_owner()
        self._cluster: Cluster | None = None
        self._pace = Pace()
        self._runs: dict[str, Run] = {}
        self._by_key: dict[str, Run] = {}
        self._asides: set[asyncio.Task[None]] = set()
        self._bell = asyncio.Event()
        self._news = asyncio.Event()
        self._stopped = asyncio.Event()
        self._claiming = asyncio.Lock()
        self._threads = ThreadPoolExecutor(DATABASE_THREADS, "jobs-dask-database")

    async def live(self) -> None:
        """Work until `stop`; then give back what still runs."""
        duties = [
            self._stay_connected,
            self._fill,
            self._write_progress,
            partial(self._every, RENEW_EVERY_S, self._renew),
            partial(self._every, RECOVER_EVERY_S, self._recover),
            partial(self._every, FOLLOW_EVERY_S, self._follow),
            partial(self._every, FOLLOW_EVERY_S, self._make_room),
            partial(self._every, self._options.sweep_every_s, self._sweep),
        ]
        tasks = [asyncio.create_task(self._again_and_again(duty)) for duty in duties]
        await self._stopped.wait()
        async with self._claiming:  # a claim that was being made is known here before all is given back
            for task in tasks:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*self._asides, return_exceptions=True)
        self._threads.shutdown()

    def stop(self) -> None:
        self._stopped.set()

    def wake(self) -> None:
        self._bell.set()

    def cancel(self, job_id: str) -> None:
        """Cancel the runs of a job."""
        for run in list(self._runs.values()):
            if run.claim.job_id == job_id:
                self._cancel(run)

    def status(self) -> EngineStatus:
        """Tell how the cluster stands; may be called from any thread."""
        cluster = self._cluster
        if cluster is None:
            return EngineStatus(0, 0, {}, AWAY)
        usable = placement.usable(cluster.members)
        unavailable = {kind: why for member in usable for kind, why in member.unavailable.items()}
        threads = sum(member.threads for member in cluster.members)
        ready = sum(member.threads for member in usable)
        return EngineStatus(threads, ready, unavailable, "" if ready else NO_WORKERS)

    # Duties: each goes on until the engine stops.

    async def _again_and_again(self, duty: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            try:
                await duty()
            except JobsUnavailable:  # the database has told
                await asyncio.sleep(DATABASE_RETRY_S)
            except Exception:
                _log.exception("the engine of jobs stumbled")
                await asyncio.sleep(DATABASE_RETRY_S)

    async def _every(self, pause_s: float, duty: Callable[[], Coroutine[Any, Any, None]]) -> None:
        await duty()
        await asyncio.sleep(pause_s)

    async def _stay_connected(self) -> None:
        try:  # imported here: `distributed` takes a second
            from app.jobs.dask_cluster import ClusterAway, connect
            from app.jobs.dask_worker import Preparation
        except ImportError as error:
            _log.error("Dask is not installed; install the dependency group `cluster`", missing=error.name)
            await self._stopped.wait()
            return
        options = self._options
        preparation = Preparation(__version__, self._kinds, options.log_level, options.log_format)
        calls = {"on_news": self._hear_news, "on_gone": self._lose_member, "on_change": self.wake}
        backoff_s, told = FIRST_BACKOFF_S, ""
        while True:
            try:
                cluster = await connect(self._address, preparation, **calls)
                backoff_s, told = FIRST_BACKOFF_S, ""
                await self._use(cluster)
            except ClusterAway as error:
                if str(error) != told:
                    _log.warning("the Dask cluster is away", address=self._address, reason=str(error))
                told = str(error)
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, LONGEST_BACKOFF_S)

    async def _use(self, cluster: Cluster) -> None:
        self._cluster = cluster
        _log.info("connected to a Dask cluster", address=self._address)
        try:
            await cluster.watch()
        finally:
            self._cluster = None
            for run in list(self._runs.values()):
                self._end(run, Ending("finish", Outcome("cancelled")) if run.cancelled else RELEASE)
            await cluster.close()  # with it, the scheduler forgets what it was given

    async def _fill(self) -> None:
        await self._bell.wait()
        self._bell.clear()
        try:
            while await self._place_one():
                pass
        except JobsUnavailable:
            self._bell.set()
            raise

    async def _write_progress(self) -> None:
        await self._news.wait()
        self._news.clear()
        for run in list(self._runs.values()):
            progress, run.progress = run.progress, None
            if progress is not None and not run.over.done():
                await self._ask(self._records.report, run.claim, progress)
        await asyncio.sleep(PROGRESS_EVERY_S)

    async def _renew(self) -> None:
        if self._runs:
            await self._ask(partial(self._records.renew, self._owner, list(self._runs), lease_s=LEASE_S))

    async def _recover(self) -> None:
        attempts = self._options.max_attempts
        async with self._claiming:  # a run that is being claimed is not lost
            recover = partial(self._records.recover, list(self._runs), self._is_lost)
            found = await self._ask(partial(recover, max_attempts=attempts, failure=LOST))
        if found:
            _log.warning("jobs of a lost process were found", jobs=found)
        self.wake()

    def _is_lost(self, owner: str) -> bool:
        """Whether nobody does what this owner was given; of this engine it is what it was given and never heard of."""
        return owner == self._owner or is_gone(owner)

    async def _follow(self) -> None:
        """See which runs other processes have cancelled, or taken because this one seemed lost."""
        runs = list(self._runs.values())
        if not runs:
            return
        held = await self._ask(self._records.running, self._owner)
        for run in runs:
            identity = (run.claim.id, run.claim.attempt)
            if identity not in held:
                self._end(run, DROP)
            elif held[identity]:
                self._cancel(run)

    async def _make_room(self) -> None:
        """Where somebody waits and no worker is free, take back the part of a batch that has lost least.

        Short parts are waited for. The part is queued again, as if it had not begun.
        """
        cluster, run = self._cluster, placement.to_interrupt(self._members())
        if cluster is None or run is None or monotonic() < (run.began_s or 0.0) + LONG_PART_S:
            return
        crowded = placement.stray(self._members())
        waits_here = crowded is not None and crowded.claim.priority >= INTERACTIVE
        if (waits_here or await self._ask(self._records.waits, INTERACTIVE)) and not run.cancelled:
            run.makes_room = True
            self._end_softly(cluster, run, RELEASE)

    async def _sweep(self) -> None:
        await self._ask(self._records.sweep, self._options.retention_s)

    # Runs, from the claim to what is written

    async def _place_one(self) -> bool:
        """Give one run to a worker: one that waits behind others elsewhere, or one of the records."""
        members = self._members()
        idle, stray = placement.idle(members), placement.stray(members)
        if idle is not None and stray is not None and stray.claim.priority >= INTERACTIVE:
            return self._move(stray, idle)
        if await self._claim(idle or placement.soon_idle(members, self._pace)):
            return True
        return idle is not None and stray is not None and self._move(stray, idle)

    async def _claim(self, member: Member | None) -> bool:
        if member is None:
            return False
        least = placement.min_priority(self._members())
        async with self._claiming:
            claim = await self._ask(
                partial(self._records.claim, self._owner, member.address[:64], lease_s=LEASE_S, min_priority=least)
            )
            if claim is None:
                return False
            run = Run(claim, asyncio.get_running_loop().create_future(), member)
            self._runs[claim.id] = run
        self._aside(self._attend(run))
        self._send(run, member)
        return True

    def _move(self, run: Run, member: Member) -> bool:
        """Give a run that has not begun to an idle worker; False where that is too late."""
        if run.over.done() or run.began_s is not None or not member.ready:
            return False
        self._leave(run)
        self._send(run, member)
        return True

    def _send(self, run: Run, member: Member) -> None:
        cluster = self._cluster
        if cluster is None or not member.ready or self._stopped.is_set():
            self._end(run, RELEASE)
            return
        run.member = member
        member.runs.append(run)
        cluster.send(run, self._options.max_job_s)
        self._by_key[run.key] = run
        run.hearing = asyncio.create_task(self._hear(run, run.future))

    def _leave(self, run: Run) -> None:
        """Take a run from its worker, whether it has answered or not."""
        self._by_key.pop(run.key, None)
        if run in run.member.runs:
            run.member.runs.remove(run)
        if run.hearing is not None:
            run.hearing.cancel()
        if self._cluster is not None and run.future is not None:
            self._cluster.forget(run)

    async def _hear(self, run: Run, future: Any) -> None:
        """Wait for the answer of a run's worker."""
        from distributed.client import FutureCancelledError

        try:
            answer: Answer = await future
        except FutureCancelledError:  # the scheduler was lost, or somebody has told it to forget everything
            self._end(run, RELEASE)
        except Exception as error:
            _log.warning("the cluster has lost a run", job=run.claim.job_id, reason=f"{type(error).__name__}: {error}")
            self._end(run, self._after_death(run))
        else:
            self._end(run, self._after(run, answer))

    def _after(self, run: Run, answer: Answer) -> Ending:
        if answer.how == "unprepared" and self._cluster is not None:
            self._cluster.refuse(run.member)
        if run.cancelled:
            return Ending("finish", Outcome("cancelled", answer.ended and answer.ended.result))
        if run.makes_room or answer.how == "cancelled":
            return RELEASE
        if answer.how == "timed-out":
            error = JobTimedOut(f"The job was ended after {self._options.max_job_s:g} s, the longest that one may run.")
            return Ending("finish", Outcome("failed", failure=Failure.from_error(error)))
        if answer.ended is None:
            return self._after_death(run)
        if run.began_s is not None:
            self._pace.note(run.claim, monotonic() - run.began_s)
        if answer.ended.failure is not None:
            return Ending("finish", Outcome("failed", failure=Failure.from_json(answer.ended.failure)))
        return Ending("finish", Outcome("done", answer.ended.result))

    def _after_death(self, run: Run) -> Ending:
        if run.cancelled:
            return Ending("finish", Outcome("cancelled"))
        if run.makes_room:
            return RELEASE
        if run.claim.attempt >= self._options.max_attempts:
            return Ending("finish", Outcome("failed", failure=LOST))
        return REQUEUE

    def _end(self, run: Run, ending: Ending) -> None:
        """Settle how a run has ended; what comes later is not heard."""
        if not run.over.done():
            run.over.set_result(ending)

    async def _attend(self, run: Run) -> None:
        """See a run to its end, and write that: again and again, until the database takes it or the engine stops."""
        ending = await run.over
        self._leave(run)
        self.wake()
        try:
            while not await self._written(run, ending) and not self._stopped.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopped.wait(), DATABASE_RETRY_S)
        finally:
            if self._runs.get(run.claim.id) is run:  # else it was queued again, and is claimed anew already
                del self._runs[run.claim.id]
            self.wake()

    async def _written(self, run: Run, ending: Ending) -> bool:
        try:
            record = await self._ask(self._write, run, ending)
        except JobsUnavailable:
            return False
        if record is not None:
            self._on_change(record)
        return True

    def _write(self, run: Run, ending: Ending) -> JobRecord | None:
        if ending.outcome is not None:
            return self._records.finish(run.claim, ending.outcome, progress=run.progress)
        if ending.name == "requeue":
            self._records.requeue(run.claim)
        elif ending.name == "release":
            self._records.release(run.claim)
        return None

    def _cancel(self, run: Run) -> None:
        cluster = self._cluster
        if run.cancelled or run.over.done() or cluster is None:
            return
        run.cancelled = True
        if run.began_s is None:
            self._end(run, Ending("finish", Outcome("cancelled")))
        else:
            self._end_softly(cluster, run, Ending("finish", Outcome("cancelled")))

    def _end_softly(self, cluster: Cluster, run: Run, ending: Ending) -> None:
        """Ask for the end of a run; where its worker does not answer, it has ended nevertheless."""
        cluster.cancel(run)
        asyncio.get_running_loop().call_later(GRACE_S + ANSWER_MARGIN_S, self._end, run, ending)

    # What the cluster tells

    def _hear_news(self, news: Mapping[str, Any]) -> None:
        run = self._by_key.get(news["run"])
        if run is None:
            return
        if "began" in news:
            run.began_s = monotonic()
        else:
            run.progress = news["progress"]
            self._news.set()

    def _lose_member(self, member: Member) -> None:
        for run in list(member.runs):
            self._end(run, self._after_death(run))

    def _members(self) -> list[Member]:
        return [] if self._cluster is None else placement.usable(self._cluster.members)

    async def _ask(self, question: Callable[..., _Value], *arguments: Any) -> _Value:
        return await asyncio.get_running_loop().run_in_executor(self._threads, question, *arguments)

    def _aside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._asides.add(task)
        task.add_done_callback(self._asides.discard)
