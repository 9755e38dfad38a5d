"""What runs the jobs: the interface of an engine.

Callers never see an engine: they talk to `app.jobs.service.Jobs`, which writes a record and wakes the engine. An engine
takes jobs out of the records by itself, so that any number of engines, on any number of machines, share one database.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from app.jobs.job import JobRecord

if TYPE_CHECKING:
    from app.jobs.records import Records


@dataclass(frozen=True)
class EngineOptions:
    """How an engine runs its jobs.

    Attributes:
        workers: worker processes; 0 leaves the jobs to other engines over the same database.
        devices: one worker process for each of these, which sees no other device (CUDA_VISIBLE_DEVICES); where none
            is named, ``workers`` count.
        max_attempts: starts of one job; a further one follows only where its worker or its service died.
        max_job_s: a job that runs longer is ended.
        retention_s: how long the record of a finished job is kept.
        sweep_every_s: time between two removals of old records.
        log_level, log_format: of the workers, as for `app.logs.configure_logs`.
    """

    workers: int = 1
    devices: tuple[str, ...] = ()
    max_attempts: int = 3
    max_job_s: float = 3600.0
    retention_s: float = 86400.0
    sweep_every_s: float = 30.0
    log_level: str = "info"
    log_format: str = "auto"


@dataclass(frozen=True)
class EngineStatus:
    """How an engine stands.

    Attributes:
        workers: worker processes that it should have.
        ready: those that are warm.
        unavailable: kinds that they cannot run, and why.
        trouble: what keeps all jobs waiting, in words; empty where nothing does.
    """

    workers: int
    ready: int
    unavailable: Mapping[str, str]
    trouble: str = ""


class Engine(Protocol):
    """Runs what the records hold. None of its methods blocks, but `stop`."""

    def start(self, records: Records, on_change: Callable[[JobRecord], None]) -> None:
        """Begin.

        ``on_change`` is called, from another thread, with each record that `Records.finish` gives: a job that this
        engine has ended, or one of which it has ended a part.
        """
        ...

    def stop(self) -> None:
        """End; what still runs goes back into the queue."""
        ...

    def wake(self) -> None:
        """Tell that a job was queued."""
        ...

    def cancel(self, job_id: str) -> None:
        """Tell that a job is to be cancelled, with its parts that run; it may be another engine's."""
        ...

    def status(self) -> EngineStatus: ...
