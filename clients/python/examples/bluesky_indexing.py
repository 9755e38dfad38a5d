"""Index each new powder pattern of a bluesky plan while the plan goes on.

    from bluesky import RunEngine
    from beamline_client import Client
    from bluesky_indexing import IndexEachPattern

    RE = RunEngine()
    index = IndexEachPattern(Client("http://beamline-models:8000"), on_result=print)
    RE.subscribe(index)
    RE(plan, wavelength_ang=1.5406)

A pattern is an event of the stream ``primary`` with two arrays, ``twotheta`` [deg] and ``intensity``; the wavelength
stands in the start document. Other names are arguments. Arrays that a detector leaves in files of its own, which come
as resources, are to be filled in first (`event_model.Filler`).

The scan never waits for an answer and never fails because of one: patterns go into a queue, a thread asks the service,
and what is wrong with one stands in its result.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from queue import Full, Queue
from threading import Thread
from typing import Any

from event_model import DocumentRouter

from beamline_client import BeamlineError, Client, Solution, SolveAnswer, columns

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """Where a pattern comes from."""

    run_uid: str
    scan_id: int | None
    seq_num: int

    @property
    def name(self) -> str:
        return f"scan {self.scan_id}, event {self.seq_num}"


@dataclass(frozen=True)
class Indexed:
    """What became of one pattern: an answer, or why there is none."""

    asked: Asked
    answer: SolveAnswer | None
    error: Exception | None

    @property
    def best(self) -> Solution | None:
        """The most probable cell, if any explains the lines."""
        return self.answer.solutions[0] if self.answer is not None and self.answer.solutions else None


class IndexEachPattern(DocumentRouter):
    """A callback of the run engine that asks for the unit cell of each pattern.

    Args:
        service: of the model server.
        on_result: called with each `Indexed`, in the thread that asks, in the order of the events.
        stream: whose events hold patterns.
        two_theta: field of the positions [deg].
        intensity: field of the intensities.
        wavelength: key in the start document [Angstrom].
        most_waiting: patterns that may wait; one that comes on top gets an error in place of an answer.
        options: of the search, such as ``max_seconds=5`` or ``lattices=["cF", "cI", "cP"]``.
    """

    def __init__(
        self,
        service: Client,
        *,
        on_result: Callable[[Indexed], object],
        stream: str = "primary",
        two_theta: str = "twotheta",
        intensity: str = "intensity",
        wavelength: str = "wavelength_ang",
        most_waiting: int = 1000,
        **options: Any,
    ) -> None:
        super().__init__()
        self._service = service
        self._on_result = on_result
        self._stream, self._wavelength = stream, wavelength
        self._fields = (two_theta, intensity)
        self._options = options
        self._runs: dict[str, dict[str, Any]] = {}
        self._of_descriptor: dict[str, str] = {}
        self._waiting: Queue[tuple[Asked, bytes, float] | None] = Queue(most_waiting)
        self._thread = Thread(target=self._work, name="index-each-pattern", daemon=True)
        self._thread.start()

    def start(self, doc: Any) -> None:
        if doc.get(self._wavelength) is None:
            log.warning(
                "run %s has no %s in its start document: its patterns stay unindexed", doc["uid"], self._wavelength
            )
            return
        self._runs[doc["uid"]] = doc

    def descriptor(self, doc: Any) -> None:
        if (
            doc.get("name") == self._stream
            and doc["run_start"] in self._runs
            and self._holds_patterns(doc["data_keys"])
        ):
            self._of_descriptor[doc["uid"]] = doc["run_start"]

    def event(self, doc: Any) -> None:
        run = self._runs.get(self._of_descriptor.get(doc["descriptor"], ""))
        if run is None or not self._holds_patterns(doc["data"]):
            return
        asked = Asked(run["uid"], run.get("scan_id"), doc["seq_num"])
        try:
            pattern = columns(*(doc["data"][field] for field in self._fields))
            self._waiting.put_nowait((asked, pattern, float(run[self._wavelength])))
        except (Full, TypeError, ValueError) as error:
            self._tell(Indexed(asked, None, error))

    def stop(self, doc: Any) -> None:
        self._runs.pop(doc["run_start"], None)
        self._of_descriptor = {key: run for key, run in self._of_descriptor.items() if run != doc["run_start"]}

    def close(self) -> None:
        """Answer what waits, and end."""
        self._waiting.put(None)
        self._thread.join()

    def _holds_patterns(self, names: Any) -> bool:
        return all(field in names for field in self._fields)

    def _work(self) -> None:
        while (item := self._waiting.get()) is not None:
            self._tell(self._indexed(*item))

    def _indexed(self, asked: Asked, pattern: bytes, wavelength_ang: float) -> Indexed:
        told: dict[str, Any] = {"filename": f"{asked.name}.xy", "content": "pattern", "axis": "two_theta_deg"}
        try:
            answer = self._service.solve_file(pattern, wavelength_ang=wavelength_ang, **told, **self._options)
        except BeamlineError as error:
            return Indexed(asked, None, error)
        return Indexed(asked, answer, None)

    def _tell(self, found: Indexed) -> None:
        try:
            self._on_result(found)
        except Exception:
            log.exception("on_result failed for %s", found.asked.name)
