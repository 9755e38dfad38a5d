"""A job and how it stands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

R = TypeVar("R")

State = Literal["queued", "running", "done", "failed", "cancelled"]
FINISHED: frozenset[str] = frozenset({"done", "failed", "cancelled"})
"""States that a job never leaves."""


@dataclass(frozen=True)
class JobSummary:
    """A job without its result; date-times are in UTC.

    ``progress`` is what it last reported: of batches ``done`` and ``total``, of a search lattices and the best cell.
    ``owner`` is who submitted it, None: a caller without a key.
    ``problem`` has the members of an `application/problem+json`; `Client.jobs` raises it as the exception.
    """

    id: str
    owner: str | None
    kind: str
    state: State
    priority: int
    created: datetime
    started: datetime | None
    finished: datetime | None
    attempts: int
    progress: Any
    problem: dict[str, Any] | None

    @property
    def has_finished(self) -> bool:
        return self.state in FINISHED


@dataclass(frozen=True)
class Job(JobSummary, Generic[R]):
    """A job; ``result`` is there when it is done, as the request itself would have answered."""

    result: R | None


@dataclass(frozen=True)
class JobList:
    """Jobs, the newest first."""

    jobs: list[JobSummary]
