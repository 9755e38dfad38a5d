"""An engine that runs nothing and changes nothing: for whoever submits, looks and cancels, and leaves the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from app.jobs.engine import EngineStatus
from app.jobs.job import JobRecord

if TYPE_CHECKING:
    from app.jobs.records import Records


class Onlooker:
    """An `app.jobs.engine.Engine` without workers: what it is told, the others see in the records."""

    def start(self, records: Records, on_change: Callable[[JobRecord], None]) -> None:
        """Nothing is to be done."""

    def stop(self) -> None:
        """Nothing runs."""

    def wake(self) -> None:
        """The engines look by themselves."""

    def cancel(self, job_id: str) -> None:
        """The engine that runs the job sees it in the records."""

    def status(self) -> EngineStatus:
        return EngineStatus(0, 0, {})
