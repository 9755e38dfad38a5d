"""A Dask cluster as its engine sees it: who its workers are, how runs reach them, and what they tell."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any, Final, cast

import structlog
from dask import config
from distributed import Client

from app import __version__
from app.jobs import dask_worker
from app.jobs.dask_placement import Member, Run
from app.jobs.dask_worker import KEY_PREFIX, Order, Preparation
from app.jobs.messages import Work

CONNECT_TIMEOUT_S: Final = 5.0
LOOK_EVERY_S: Final = 0.5
LOOK_TIMEOUT_S: Final = 15.0
PREPARE_TIMEOUT_S: Final = 300.0
LONGEST_BACKOFF_S: Final = 30.0
LARGE_TASK: Final = "1 GiB"
"""Dask warns of tasks above 10 MiB; the records have let ours through."""

_log = structlog.stdlib.get_logger("app.jobs")


class ClusterAway(Exception):
    """The scheduler does not answer, is another one than before, or is not one that could run our jobs."""


class Cluster:
    """A connection to a scheduler. Use it within one event loop.

    Args:
        client: a connected one.
        scheduler_id: of the scheduler that it is connected to.
        preparation: what each worker must have before it is given runs.
        on_news: called with what a worker tells of a run, a mapping with its key as ``run``.
        on_gone: called with each worker that has left.
        on_change: called where a place may have become free.
    """

    def __init__(
        self,
        client: Any,
        scheduler_id: str,
        preparation: Preparation,
        *,
        on_news: Callable[[Mapping[str, Any]], None],
        on_gone: Callable[[Member], None],
        on_change: Callable[[], None],
    ) -> None:
        self._client = client
        self._scheduler_id = scheduler_id
        self._preparation = preparation
        self._on_gone = on_gone
        self._on_change = on_change
        self._members: dict[str, Member] = {}
        self._preparing: dict[str, asyncio.Task[None]] = {}
        self._asides: set[asyncio.Task[None]] = set()
        client.subscribe_topic(client.id, lambda event: _pass_on(event, on_news))

    @property
    def members(self) -> list[Member]:
        """All workers of the cluster."""
        return list(self._members.values())

    async def watch(self) -> None:
        """Follow the workers that come and go, until the scheduler is away.

        Raises:
            ClusterAway: always, in the end.
        """
        while True:
            await self._look()
            await asyncio.sleep(LOOK_EVERY_S)

    def send(self, run: Run, max_job_s: float) -> None:
        """Give a run to its member, and to no other worker; its future becomes that of its answer."""
        claim = run.claim
        run.key = f"{KEY_PREFIX}{claim.kind}-{uuid.uuid4().hex}"
        work = Work(claim.kind, claim.payload, claim.results)
        order = Order(self._preparation.crew, run.key, self._client.id, work, max_job_s, claim.whole)
        place = {"workers": [run.member.address], "priority": claim.priority}
        run.future = self._client.submit(dask_worker.run, order, key=run.key, pure=False, **place)

    def forget(self, run: Run) -> None:
        """Make the cluster forget a run that was sent; one that it still does comes to its end."""
        if run.future.done():
            run.future.release()
        elif self._client.status == "running":
            self._aside(run.future.cancel())

    def cancel(self, run: Run) -> None:
        """Have the worker flag a run, and end it a little later; the answer comes as ever."""
        crew = self._preparation.crew
        self._aside(self._client.run(dask_worker.cancel, crew, run.key, workers=[run.member.address]))

    def refuse(self, member: Member) -> None:
        """Give a worker no more runs until it has been prepared again."""
        member.ready = False
        self._put_off(member)

    async def close(self) -> None:
        tasks = [*self._asides, *self._preparing.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await _close(self._client)

    async def _look(self) -> None:
        threads, running, keys = await self._asked()
        for address in self._members.keys() - threads.keys():
            self._drop(self._members.pop(address))
        for address in threads:
            member = self._members.setdefault(address, Member(address, 0))
            member.threads = running.get(address, 0)
            member.foreign = _count_foreign(keys.get(address, ()), member)
            self._prepare(member)
        self._on_change()

    async def _asked(self) -> tuple[dict[str, int], dict[str, int], Mapping[str, Any]]:
        """Threads of all workers, of those that take tasks (a full memory pauses one), and the keys of their tasks."""
        scheduler = self._client.scheduler
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                identity, *told = await asyncio.gather(
                    scheduler.identity(n_workers=0),
                    scheduler.ncores(),
                    scheduler.ncores_running(),
                    scheduler.processing(),
                )
        except Exception as error:
            raise ClusterAway("the scheduler does not answer") from error
        if self._client.status != "running" or identity["id"] != self._scheduler_id:
            raise ClusterAway("the scheduler has gone")
        return told[0], told[1], told[2]

    def _drop(self, member: Member) -> None:
        _log.warning("a worker has left the cluster", worker=member.address, runs=len(member.runs))
        if member.address in self._preparing:
            self._preparing[member.address].cancel()
        member.ready = False
        self._on_gone(member)

    def _prepare(self, member: Member) -> None:
        if not member.ready and member.address not in self._preparing and monotonic() >= member.due_s:
            self._preparing[member.address] = asyncio.create_task(self._make_ready(member))

    async def _make_ready(self, member: Member) -> None:
        try:
            async with asyncio.timeout(PREPARE_TIMEOUT_S):
                told = await self._client.run(dask_worker.prepare, self._preparation, workers=[member.address])
            member.unavailable = told[member.address]
        except Exception as error:
            self._put_off(member)
            reason = f"{type(error).__name__}: {error}"
            _log.warning("a worker of the cluster cannot be used", worker=member.address, reason=reason)
        else:
            member.ready, member.failures = True, 0
            _log.info("a worker of the cluster is ready", worker=member.address, threads=member.threads)
            self._on_change()
        finally:
            self._preparing.pop(member.address, None)

    def _put_off(self, member: Member) -> None:
        member.failures += 1
        member.due_s = monotonic() + min(2.0 ** (member.failures - 1), LONGEST_BACKOFF_S)

    def _aside(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do something that nothing waits for; where it fails, the worker or the scheduler is away."""
        task = asyncio.ensure_future(_quietly(work))
        self._asides.add(task)
        task.add_done_callback(self._asides.discard)


async def connect(address: str, preparation: Preparation, **calls: Callable[..., None]) -> Cluster:
    """Connect to a scheduler; certificates for a ``tls://`` address are those of Dask's own configuration.

    Args:
        address: such as ``tcp://host:8786``.
        preparation: see `Cluster`.
        calls: see `Cluster`.

    Raises:
        ClusterAway: nobody answers, or somebody who could not run our jobs.
    """
    config.set({"distributed.admin.large-graph-warning-threshold": LARGE_TASK})
    _take_over_logs()
    client, usable = None, False
    try:
        client = cast(Any, Client)(
            address, asynchronous=True, set_as_default=False, timeout=CONNECT_TIMEOUT_S, name="beamline"
        )
        await client
        scheduler_id = await _checked(client)
        usable = True
    except ClusterAway:
        raise
    except Exception as error:
        raise ClusterAway(f"no connection: {type(error).__name__}: {error}") from error
    finally:
        if client is not None and not usable:
            await _close(client)
    return Cluster(client, scheduler_id, preparation, **calls)


async def _close(client: Any) -> None:
    with suppress(Exception):  # there may be nobody to take leave from
        await client.close(timeout=CONNECT_TIMEOUT_S)


async def _checked(client: Any) -> str:
    """Give the id of a scheduler that can pass our runs on.

    Raises:
        ClusterAway: it cannot.
    """
    try:
        identity = await client.scheduler.identity(n_workers=0)
        version = await client.run_on_scheduler(_version)
    except Exception as error:
        raise ClusterAway("the scheduler cannot import this project; start it in the same environment") from error
    if version != __version__:
        raise ClusterAway(f"the scheduler has version {version} of the project, the service {__version__}")
    return identity["id"]


def _version() -> str:
    """Tell the version of the project; called where the scheduler runs."""
    return __version__


def _pass_on(event: tuple[float, Any], on_news: Callable[[Mapping[str, Any]], None]) -> None:
    """The topic also has what the scheduler notes of its client."""
    _, message = event
    if isinstance(message, dict) and "run" in message:
        on_news(message)


def _count_foreign(keys: Iterable[Any], member: Member) -> int:
    ours = {run.key for run in member.runs}
    return sum(key not in ours for key in keys)


async def _quietly(work: Coroutine[Any, Any, Any]) -> None:
    with suppress(Exception):
        await work


def _take_over_logs() -> None:
    """Write what Dask logs as our own logs are written, and only what matters."""
    for name in ("distributed", "distributed.client", "bokeh", "tornado", "tornado.application"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.getLogger("distributed").setLevel(logging.WARNING)
