"""The engine past one machine: runs go to a Dask cluster, given by the address of its scheduler.

The thread here holds `app.jobs.dask_dispatch`, where the work is done.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from app.jobs.dask_dispatch import AWAY, Dispatch
from app.jobs.engine import EngineOptions, EngineStatus
from app.jobs.job import JobRecord
from app.jobs.kinds import Kind

if TYPE_CHECKING:
    from app.jobs.records import Records


class DaskEngine:
    """Runs jobs on a Dask cluster.

    Args:
        kinds: the table of kinds.
        options: how; ``workers`` and ``devices`` are the cluster's matter and not read.
        address: of the scheduler, such as ``tcp://host:8786``.
    """

    def __init__(self, kinds: Mapping[str, Kind], options: EngineOptions, address: str) -> None:
        self._kinds = dict(kinds)
        self._options = options
        self._address = address
        self._dispatch: Dispatch | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self, records: Records, on_change: Callable[[JobRecord], None]) -> None:
        self._dispatch = Dispatch(records, on_change, self._kinds, self._options, self._address)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._live, args=(self._loop, self._dispatch), name="jobs", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._thread is not None and self._dispatch is not None:
            self._call(self._dispatch.stop)
            self._thread.join()
            self._thread = None

    def wake(self) -> None:
        if self._dispatch is not None:
            self._call(self._dispatch.wake)

    def cancel(self, job_id: str) -> None:
        if self._dispatch is not None:
            self._call(self._dispatch.cancel, job_id)

    def status(self) -> EngineStatus:
        return self._dispatch.status() if self._dispatch is not None else EngineStatus(0, 0, {}, AWAY)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(function, *arguments)

    @staticmethod
    def _live(loop: asyncio.AbstractEventLoop, dispatch: Dispatch) -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(dispatch.live())
