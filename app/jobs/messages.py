"""What a service process and its workers tell each other through their pipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.jobs.kinds import Kind


@dataclass(frozen=True)
class Setup:
    """To a worker, first: the table of kinds, the import path, and how to write logs."""

    kinds: Mapping[str, Kind]
    path: tuple[str, ...]
    log_level: str
    log_format: str


@dataclass(frozen=True)
class Work:
    """To a worker: a job to run; with ``results``, those of its parts, which are to be joined."""

    kind: str
    payload: bytes
    results: tuple[bytes, ...] | None = None


@dataclass(frozen=True)
class Cancel:
    """To a worker: the running job should come to its end."""


@dataclass(frozen=True)
class Ready:
    """From a worker, once: it takes jobs; ``unavailable`` says which kinds it cannot run, and why."""

    unavailable: Mapping[str, str]


@dataclass(frozen=True)
class Progress:
    """From a worker: what the running job reports, JSON."""

    progress: bytes


@dataclass(frozen=True)
class Ended:
    """From a worker: the job has ended, with a result or with a failure, either of them JSON."""

    result: bytes | None = None
    failure: bytes | None = None
