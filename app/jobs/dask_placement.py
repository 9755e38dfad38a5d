"""Which run goes to which worker of a cluster: rules without input or output."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from app.jobs.job import INTERACTIVE, LOWEST, Claim, Outcome

SHORT_S: Final = 1.0
"""A run may wait behind others on a busy worker where runs of their kind last less than this on average."""
FRESHNESS: Final = 0.2
"""Share of the newest run in the average."""


@dataclass(frozen=True)
class Ending:
    """What is to be written of a run: an outcome, or what its name says.

    ``requeue``: its worker has died. ``release``: as if it had not begun. ``drop``: it is another engine's now.
    """

    name: Literal["finish", "requeue", "release", "drop"]
    outcome: Outcome | None = None


@dataclass(eq=False)
class Run:
    """A claim, and where it is done. Times are of the monotonic clock.

    Attributes:
        over: how it has ended, as soon as that is known.
        key: of its task in the cluster.
        future: Dask's, of its answer.
        hearing: the task that waits for the answer.
        began_s: when its worker said that it had begun; None before.
        cancelled: its job was cancelled.
        makes_room: it is taken back for the sake of somebody who waits.
        progress: what it reported and what was not written yet.
    """

    claim: Claim
    over: asyncio.Future[Ending]
    member: Member
    key: str = ""
    future: Any = None
    hearing: asyncio.Task[None] | None = None
    began_s: float | None = None
    cancelled: bool = False
    makes_room: bool = False
    progress: bytes | None = None


@dataclass(eq=False)
class Member:
    """A worker of the cluster. Times are of the monotonic clock.

    Attributes:
        threads: how many tasks it does at a time.
        foreign: tasks of other users and of other services that it has.
        ready: it was prepared, and may be given runs.
        unavailable: kinds that it cannot run, and why.
        failures: preparations that went wrong, one after another.
        due_s: when it may be prepared again.
        runs: what this service has given it, in that order.
    """

    address: str
    threads: int
    foreign: int = 0
    ready: bool = False
    unavailable: Mapping[str, str] = field(default_factory=dict)
    failures: int = 0
    due_s: float = 0.0
    runs: list[Run] = field(default_factory=list)

    @property
    def free(self) -> int:
        """Threads without a task; negative where tasks wait for a thread."""
        return self.threads - self.foreign - len(self.runs)


class Pace:
    """How long runs last on average, by kind and by whether they are whole jobs."""

    def __init__(self) -> None:
        self._lasts_s: dict[tuple[str, bool], float] = {}

    def note(self, claim: Claim, lasted_s: float) -> None:
        key = (claim.kind, claim.whole)
        before_s = self._lasts_s.get(key, lasted_s)
        self._lasts_s[key] = before_s + FRESHNESS * (lasted_s - before_s)

    def is_short(self, claim: Claim) -> bool:
        """Whether runs like this one are known to be short."""
        return self._lasts_s.get((claim.kind, claim.whole), SHORT_S) < SHORT_S


def usable(members: Iterable[Member]) -> list[Member]:
    """The members that are ready, without those that cannot run what others can."""
    ready = [member for member in members if member.ready and member.threads > 0]
    fewest = min((len(member.unavailable) for member in ready), default=0)
    return [member for member in ready if len(member.unavailable) == fewest]


def idle(members: Sequence[Member]) -> Member | None:
    """A member with a free thread, the one with most of them."""
    most = max(members, key=lambda member: member.free, default=None)
    return most if most is not None and most.free > 0 else None


def soon_idle(members: Sequence[Member], pace: Pace) -> Member | None:
    """A busy member that has only short runs, and for each thread less than one that waits: it need never be idle."""
    short = [
        member for member in members if not member.foreign and all(pace.is_short(run.claim) for run in member.runs)
    ]
    most = max(short, key=lambda member: member.free / member.threads, default=None)
    return most if most is not None and most.free > -most.threads else None


def stray(members: Iterable[Member]) -> Run | None:
    """A run that waits behind others on its member, of the highest priority; it may go to an idle one."""
    crowded = [member for member in members if member.free < 0]
    waiting = [run for member in crowded for run in member.runs if run.began_s is None and not run.cancelled]
    return max(waiting, key=lambda run: run.claim.priority, default=None)


def min_priority(members: Sequence[Member]) -> int:
    """Of several threads, whole jobs of a batch leave one free for what somebody waits for."""
    claims = [run.claim for member in members for run in member.runs]
    batches = sum(claim.whole and claim.priority < INTERACTIVE for claim in claims)
    threads = sum(member.threads for member in members)
    return INTERACTIVE if batches >= max(1, threads - 1) else LOWEST


def to_interrupt(members: Sequence[Member]) -> Run | None:
    """Where all threads are busy, the part of a batch that has lost least when it is taken back.

    None where a thread is free, or becomes so because another part was taken back.
    """
    runs = [run for member in members for run in member.runs]
    if idle(members) is not None or any(run.makes_room for run in runs):
        return None
    parts = [run for run in runs if run.claim.parent and run.claim.priority < INTERACTIVE and run.began_s is not None]
    return max(parts, key=lambda run: run.began_s or 0.0, default=None)
