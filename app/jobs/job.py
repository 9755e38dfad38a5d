"""What a job is: its states, its record, and how its failure is told. Light to import: no SQL, no processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from app.errors import AppError

State = Literal["queued", "running", "done", "failed", "cancelled"]

FINISHED: Final[frozenset[str]] = frozenset({"done", "failed", "cancelled"})
"""States that a job never leaves."""

LOWEST: Final = -(2**31)
BATCH: Final = 0
"""Priority of one of many."""
INTERACTIVE: Final = 10
"""Priority of a job that somebody waits for: it is started before every waiting job of a lower one, parts of jobs
included, and of several workers whole jobs of a lower one leave one free for it."""


@dataclass(frozen=True)
class Failure:
    """Why a job failed, in words for the caller.

    Attributes:
        kind: slug of the error, as `app.errors` has it.
        title: the kind in one line.
        detail: what was found, what was expected, how to mend it.
        details: further JSON-ready members.
    """

    kind: str
    title: str
    detail: str
    details: dict[str, Any]

    @classmethod
    def from_error(cls, error: AppError) -> Failure:
        return cls(error.kind, error.title, error.message, error.details)

    @classmethod
    def from_json(cls, text: bytes) -> Failure:
        return cls(**orjson.loads(text))

    def to_json(self) -> bytes:
        # A detail that JSON cannot hold must not hide the error itself.
        return orjson.dumps(self, default=str, option=orjson.OPT_NON_STR_KEYS)


UNEXPECTED: Final = Failure(
    AppError.kind, AppError.title, "The job failed unexpectedly; the service's log says why.", {}
)
"""Told of an error that is not an `AppError`, so that nothing leaks."""


@dataclass(frozen=True)
class JobRecord:
    """One job as the database has it, without its payload.

    Attributes:
        id: unguessable: of a job that is nobody's, whoever knows it may read and cancel the job.
        progress: JSON, the last that the job reported; None before the first. Of a job made of parts
            ``{"done": n, "total": n}``.
        result: JSON; of a cancelled job what it had until then, if it gave that.
        failure: set where the state is ``failed``.
        attempts: times that it was started; more than one where a worker died. Of a job made of parts: its join.
        revision: grows with every change of the record.
        parts: how many parts it is made of; 0 where it is not.
        parts_done: how many of them are done.
        created_s, started_s, finished_s: Unix times.
        principal: who submitted it and may read and cancel it; empty: anybody.
    """

    id: str
    kind: str
    state: State
    priority: int
    attempts: int
    progress: bytes | None
    result: bytes | None
    failure: Failure | None
    created_s: float
    started_s: float | None
    finished_s: float | None
    revision: int = 0
    parts: int = 0
    parts_done: int = 0
    principal: str = ""

    @property
    def finished(self) -> bool:
        return self.state in FINISHED


@dataclass(frozen=True)
class Claim:
    """A run that an engine may do: of a job, of one part of a job, or of the join of its parts.

    Attributes:
        id: of the job, or of the part.
        attempt: tells this run from an earlier one that was given up.
        parent: of a part the id of its job; empty otherwise.
        part: of a part its place among the others.
        results: set where all parts are done and this run joins them: what each gave, in their order.
    """

    id: str
    kind: str
    priority: int
    payload: bytes
    attempt: int
    parent: str = ""
    part: int = 0
    results: tuple[bytes, ...] | None = None

    @property
    def job_id(self) -> str:
        """Id of the job that callers know."""
        return self.parent or self.id

    @property
    def whole(self) -> bool:
        """Whether this run is all of a job, and not a part or a join, which are short."""
        return not self.parent and self.results is None


@dataclass(frozen=True)
class Outcome:
    """How one run of a job ended."""

    state: State
    result: bytes | None = None
    failure: Failure | None = None
