"""Job records in SQL: durable, shared by every service process over the same database.

An operation on one row is one statement in autocommit, so that no two processes can take the same job; what belongs to
several rows, as a job and its parts, is one transaction. The statements are the same for SQLite and PostgreSQL.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from app.errors import Busy, Gone, IdempotencyConflict, JobsUnavailable, NotFound
from app.jobs import parts as family
from app.jobs.calm import Calm
from app.jobs.database import Database
from app.jobs.job import FINISHED, LOWEST, Claim, Failure, JobRecord, Outcome, State
from app.jobs.table import (
    EXPIRED,
    IS_JOB,
    LET_GO,
    NEXT_REVISION,
    RUN,
    SHOWN,
    SPLIT,
    SUMMARY,
    WAITS_UNSTARTED,
    c,
    jobs,
    record,
    run_of,
    shown_state,
)

TOMBSTONE_S: Final = 7 * 86400.0
"""How long an id is remembered after its record is gone [s]: it answers 410 rather than 404."""
KEY_TRIES: Final = 3
_FORGET: Final = {"payload": b"", "progress": None, "result": None, "failure": None, "idempotency": None, "work": None}
_CLAIMED: Final = (c.id, c.kind, c.priority, c.payload, c.attempts, c.parent, c.part, c.parts)

# What is done all the time is built once: it takes longer to build a statement than to execute it.
_ADDED: Final = ("id", "parent", "part", "parts", "parts_done", "kind", "state", "priority", "revision", "attempts",
                 "cancel_requested", "principal", "idempotency", "work", "created_s", "payload")  # fmt: skip
_waiting = sa.select(sa.func.count()).select_from(jobs).where(IS_JOB, WAITS_UNSTARTED).scalar_subquery()
_row = sa.select(*(sa.bindparam(f"new_{name}", type_=c[name].type) for name in _ADDED))
_ADD: Final = (
    jobs.insert()
    .from_select(_ADDED, _row.where(_waiting < sa.bindparam("max_queued", type_=sa.Integer)))
    .returning(c.id)
)
_first = (
    sa.select(c.id)
    .where(c.state == "queued", sa.or_(c.priority >= sa.bindparam("min_priority"), sa.not_(IS_JOB), c.parts > 0))
    .order_by(c.priority.desc(), c.created_s, c.part)
    .limit(1)
    .with_for_update(skip_locked=True)
)
_CLAIM: Final = (
    jobs.update()
    .where(c.id == _first.scalar_subquery(), c.state == "queued")
    .values(
        state="running",
        owner=sa.bindparam("new_owner"),
        worker=sa.bindparam("new_worker"),
        lease_until_s=sa.bindparam("lease_ends_s"),
        started_s=sa.func.coalesce(c.started_s, sa.bindparam("now_s", type_=c.started_s.type)),
        attempts=c.attempts + 1,
        progress=None,
        **NEXT_REVISION,
    )
    .returning(*_CLAIMED)
)
_FINISH: Final = (
    jobs.update()
    .where(*RUN)
    .values(
        state=sa.bindparam("new_state"),
        result=sa.bindparam("new_result"),
        failure=sa.bindparam("new_failure"),
        progress=sa.func.coalesce(sa.bindparam("new_progress", type_=c.progress.type), c.progress),
        finished_s=sa.bindparam("now_s"),
        payload=b"",
        **LET_GO,
        **NEXT_REVISION,
    )
    .returning(*SHOWN)
)
_REPORT: Final = jobs.update().where(*RUN).values(progress=sa.bindparam("new_progress"), **NEXT_REVISION)
_WAITS: Final = sa.select(c.id).where(c.state == "queued", c.priority >= sa.bindparam("min_priority")).limit(1)
_GET: Final = sa.select(*SHOWN).where(c.id == sa.bindparam("job_id"), IS_JOB)
_UNFINISHED: Final = c.state.in_(["queued", SPLIT, "running"])
_OF_OWNER: Final = (
    sa.select(sa.func.count()).select_from(jobs).where(IS_JOB, _UNFINISHED, c.principal == sa.bindparam("whose"))
)


class Records:
    """The table of jobs. Every method may be called from any thread and blocks for as long as the database does.

    All raise `JobsUnavailable` where the database fails.

    Args:
        url: SQLAlchemy's; a SQLite file is created with its folder.
        clock: seconds since 1970.
        steady: seconds of a clock that nobody sets.
    """

    def __init__(
        self, url: str, *, clock: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._calm = Calm(clock, steady)
        self._database = Database(url)
        try:
            self._database.create(jobs)
        except JobsUnavailable:
            self._database.close()
            raise

    def close(self) -> None:
        self._database.close()

    def add(
        self,
        kind: str,
        payload: bytes,
        *,
        priority: int,
        max_queued: int,
        parts: Sequence[bytes] = (),
        key: str | None = None,
        asked: bytes | None = None,
        principal: str = "",
        max_of_owner: int | None = None,
    ) -> str:
        """Queue a job, with all its parts or not at all, and give its id.

        Args:
            kind: what is to run.
            payload: of the job; where it is made of parts, of their join.
            priority: of the job and its parts.
            max_queued: most jobs that wait; parts, and jobs of which a part has begun, do not count.
            parts: the payload of each part.
            key: of the caller's choice: a job that was added with it before, and is still kept, is not added again.
            asked: what makes two jobs with one key the same; payload and parts where it is left out.
            principal: who submits it; the key is one of its own. Empty: anybody.
            max_of_owner: most jobs of one principal that wait or run; it does not count for anybody's.

        Raises:
            Busy: as many as ``max_queued`` wait already, or as many as ``max_of_owner`` of this owner are under way.
            IdempotencyConflict: the key came before with another job.
        """
        row = self._row(kind, payload, priority=priority, parts=parts, principal=principal)
        limits = _Limits(max_queued, max_of_owner if principal else None)
        if key is None:
            return self._insert(row, parts, limits)
        same: tuple[bytes, Sequence[bytes]] = (payload, parts) if asked is None else (asked, ())
        row |= {"idempotency": sha256(key.encode()).hexdigest(), "work": _digest(kind, *same)}
        for _ in range(KEY_TRIES):
            known = self._known(row)
            if known is not None:
                return known
            try:
                return self._insert(row, parts, limits)
            except _KeyTaken:  # by another process, this moment
                continue
        raise JobsUnavailable("The database of jobs does not say whether this key is known; try again.")

    def get(self, job_id: str, reader: str | None = None) -> JobRecord:
        """Give one record.

        Args:
            reader: who asks: the jobs of others are not there for it. None: somebody who sees those of all.

        Raises:
            NotFound: no such id.
            Gone: it has finished, and its record was kept as long as the service keeps them.
        """
        rows = self._database.rows(_GET, {"job_id": job_id})
        if not rows or (reader is not None and rows[0].principal not in ("", reader)):
            raise NotFound("there is no job of that id")
        if rows[0].state == EXPIRED:
            raise Gone("the job has finished, and its result is no longer kept")
        return record(rows[0])

    def newest(
        self, *, state: State | None = None, kind: str | None = None, owner: str | None = None, limit: int
    ) -> list[JobRecord]:
        """Give the records of jobs, without their results, the newest first; with an owner only those of its own."""
        wanted = [IS_JOB, c.state != EXPIRED]
        wanted += [] if owner is None else [c.principal == owner]
        wanted += [] if state is None else [shown_state == state]
        wanted += [] if kind is None else [c.kind == kind]
        asked = sa.select(*SUMMARY).where(*wanted).order_by(c.created_s.desc(), c.id).limit(limit)
        return [record(row) for row in self._database.rows(asked)]

    def changed(self, seen: Mapping[str, int]) -> list[JobRecord]:
        """Of these jobs, the records of those that are at another revision than the one that was seen."""
        asked = sa.select(c.id, c.revision).where(c.id.in_(list(seen)), IS_JOB, c.state != EXPIRED)
        ids = [row.id for row in self._database.rows(asked) if row.revision != seen[row.id]]
        return [record(row) for row in self._database.rows(sa.select(*SHOWN).where(c.id.in_(ids)))] if ids else []

    def count(self) -> dict[str, int]:
        """Number of jobs by state."""
        ended = sa.select(c.state).where(IS_JOB, c.state.in_(["running", *sorted(FINISHED)]))
        waiting = sa.select(shown_state).where(IS_JOB, c.state.in_(["queued", SPLIT]))
        told = ended.union_all(waiting).subquery().c.state
        return dict(self._database.rows(sa.select(told, sa.func.count()).group_by(told)))

    def waits(self, priority: int) -> bool:
        """Whether a job of this priority or a higher one could be taken."""
        return bool(self._database.rows(_WAITS, {"min_priority": priority}))

    def claim(self, owner: str, worker: str, *, lease_s: float, min_priority: int = LOWEST) -> Claim | None:
        """Take the waiting run of the highest priority, the oldest first; None where none waits.

        Args:
            owner: name of the engine.
            worker: name of its worker.
            lease_s: how long the run is the owner's without `renew`.
            min_priority: of whole jobs; parts and joins, which are short, may have any.
        """
        now = self._clock()
        values = {"new_owner": owner, "new_worker": worker, "lease_ends_s": now + lease_s, "now_s": now}
        rows = self._database.rows(_CLAIM, values | {"min_priority": min_priority})
        return self._claimed(rows[0], now) if rows else None

    def report(self, claim: Claim, progress: bytes) -> None:
        self._database.change(_REPORT, run_of(claim) | {"new_progress": progress})

    def finish(self, claim: Claim, outcome: Outcome, *, progress: bytes | None = None) -> JobRecord | None:
        """Write how a run ended.

        Returns:
            The record of the job, which has ended, or of which a part has ended; None where nothing was changed that
            callers see: the run was no longer its owner's (its lease was lost), or its job has finished already.
        """
        if claim.parent:
            return self._finish_part(claim, outcome)
        failure = outcome.failure and outcome.failure.to_json()
        values = run_of(claim) | {"new_state": outcome.state, "new_result": outcome.result, "new_failure": failure}
        values |= {"new_progress": progress, "now_s": self._clock()}
        if claim.results is None:
            rows = self._database.rows(_FINISH, values)
            return record(rows[0]) if rows else None
        with self._database.transaction() as connection:
            row = connection.execute(_FINISH, values).first()
            if row is not None:
                family.drop(connection, claim.id)
            return record(row) if row is not None else None

    def release(self, claim: Claim) -> None:
        """Queue a run again as if it had never been: the service stops, or somebody is to be served first."""
        self._queue_again(claim, attempts=c.attempts - 1)

    def requeue(self, claim: Claim) -> None:
        """Queue a run again after its worker died."""
        self._queue_again(claim)

    def cancel(self, job_id: str) -> JobRecord:
        """Cancel a waiting job, ask for the end of a running one, and leave a finished one as it is.

        A job that waits for its parts is cancelled at once; those that run are asked for their end.

        Raises:
            NotFound, Gone: as for `get`.
        """
        values = {"state": "cancelled", "cancel_requested": True, "payload": b"", "finished_s": self._clock()}
        waiting = jobs.update().where(c.id == job_id, IS_JOB, c.state.in_(["queued", SPLIT]))
        with self._database.transaction() as connection:
            row = connection.execute(waiting.values(**values, **NEXT_REVISION).returning(*SHOWN)).first()
            if row is not None and row.parts:
                family.drop(connection, job_id)
        if row is not None:
            return record(row)
        running = (c.id == job_id, IS_JOB, c.state == "running")
        self._database.change(jobs.update().where(*running).values(cancel_requested=True, **NEXT_REVISION))
        return self.get(job_id)

    def renew(self, owner: str, ids: Collection[str], *, lease_s: float) -> None:
        """Prolong the leases of these runs, where ``owner`` still has them."""
        held = _unlocked(c.id.in_(ids), c.owner == owner, c.state == "running")
        self._database.change(jobs.update().where(held).values(lease_until_s=self._clock() + lease_s))

    def running(self, owner: str) -> dict[tuple[str, int], bool]:
        """The runs that ``owner`` holds, as (id, attempt), and whether each is to be cancelled."""
        held = sa.select(c.id, c.attempts, c.cancel_requested).where(c.state == "running", c.owner == owner)
        return {(row[0], row[1]): row[2] for row in self._database.rows(held)}

    def recover(
        self, held: Collection[str], is_gone: Callable[[str], bool], *, max_attempts: int, failure: Failure
    ) -> int:
        """Queue again what nobody runs any more: runs whose lease has passed, and those of owners known to be gone.

        To be called every second. Leases are believed once the database and the clock have been calm for a while, so
        that no run is taken from an owner who could not prolong its lease; see `app.jobs.calm`.

        Args:
            held: ids of the caller's own runs, which are left alone.
            is_gone: whether an owner certainly runs no more.
            max_attempts: a run that was started as often as this fails instead.
            failure: what is told then.

        Returns:
            The number of runs found.
        """
        others = (c.state == "running", c.id.not_in(held))
        owners = [row[0] for row in self._database.rows(sa.select(c.owner).where(*others).distinct())]
        leases_count = self._calm.answered()
        if not owners:
            return 0
        gone = [owner for owner in owners if is_gone(owner)]
        passed = c.lease_until_s < self._clock() if leases_count else sa.false()
        lost = sa.or_(passed, c.owner.in_(gone))
        found = self._database.rows(sa.select(*_CLAIMED, c.cancel_requested).where(*others, lost))
        for row in found:
            claim = _claim(row)
            if row.cancel_requested:
                self.finish(claim, Outcome("cancelled"))
            elif claim.attempt >= max_attempts:
                self.finish(claim, Outcome("failed", failure=failure))
            else:
                self.requeue(claim)
        return len(found)

    def sweep(self, retention_s: float) -> None:
        """Empty the records that finished more than ``retention_s`` ago, and forget the oldest of those."""
        now = self._clock()
        old = _unlocked(IS_JOB, c.state.in_(sorted(FINISHED)), c.finished_s < now - retention_s)
        self._database.change(jobs.update().where(old).values(state=EXPIRED, **_FORGET))
        oldest = _unlocked(c.state == EXPIRED, c.finished_s < now - retention_s - TOMBSTONE_S)
        self._database.change(jobs.delete().where(oldest))
        ended = [row.parent for row in self._database.rows(family.ended_parents())]
        if ended:
            self._database.change(jobs.delete().where(_unlocked(c.parent.in_(ended), c.state != "running")))

    def _row(
        self, kind: str, payload: bytes, *, priority: int, parts: Sequence[bytes], principal: str
    ) -> dict[str, Any]:
        return {
            "id": secrets.token_hex(16),
            "parent": "",
            "part": 0,
            "parts": len(parts),
            "parts_done": 0,
            "kind": kind,
            "state": SPLIT if parts else "queued",
            "priority": priority,
            "revision": 1,
            "attempts": 0,
            "cancel_requested": False,
            "principal": principal,
            "idempotency": None,
            "work": None,
            "created_s": self._clock(),
            "payload": payload,
        }

    def _insert(self, row: dict[str, Any], parts: Sequence[bytes], limits: _Limits) -> str:
        values = {"max_queued": limits.queued} | {f"new_{name}": value for name, value in row.items()}
        with self._database.transaction() as connection:
            if limits.of_owner is not None:
                limits.check(connection.execute(_OF_OWNER, {"whose": row["principal"]}).scalar_one())
            try:
                queued = connection.execute(_ADD, values).first()
            except IntegrityError:
                raise _KeyTaken from None
            if queued is None:
                raise Busy(f"{limits.queued} jobs are waiting already; send this one again a little later")
            if parts:
                connection.execute(jobs.insert(), family.part_rows(row, parts))
        return row["id"]

    def _known(self, row: Mapping[str, Any]) -> str | None:
        mine = (c.principal == row["principal"], c.idempotency == row["idempotency"])
        rows = self._database.rows(sa.select(c.id, c.work).where(*mine))
        if rows and rows[0].work != row["work"]:
            raise IdempotencyConflict("this key came before with another request; send a new key, or that request")
        return rows[0].id if rows else None

    def _claimed(self, row: Any, now_s: float) -> Claim:
        if row.parent and row.part == 0:  # the first part to be taken, whoever takes it
            self._database.change(family.begin(row.parent, now_s))
        results = [part.result for part in self._database.rows(family.results(row.id))] if row.parts else None
        return _claim(row, results)

    def _finish_part(self, claim: Claim, outcome: Outcome) -> JobRecord | None:
        try:
            with self._database.transaction() as connection:
                row = family.end_part(connection, claim, outcome, self._clock())
        except family.RunLost:
            return None
        return record(row) if row is not None else None

    def _queue_again(self, claim: Claim, **values: Any) -> None:
        kept = sa.case((c.parts > 0, c.started_s), else_=None)
        again = values | LET_GO | NEXT_REVISION | {"state": "queued", "started_s": kept}
        self._database.change(jobs.update().where(*RUN).values(**again), run_of(claim))
        if claim.parent:
            self._database.change(family.drop_unwanted(claim))


@dataclass(frozen=True)
class _Limits:
    """How many jobs there may be when one is added.

    Attributes:
        queued: that wait.
        of_owner: of the same owner, that wait or run; None: as many as wait. On PostgreSQL two that are added in the
            same moment do not see each other, so that there may be one or two more.
    """

    queued: int
    of_owner: int | None

    def check(self, unfinished: int) -> None:
        """Refuse one more where its owner has as many as it may."""
        if self.of_owner is not None and unfinished >= self.of_owner:
            raise Busy(
                f"{unfinished} jobs of this key wait or run already, and {self.of_owner} are allowed; wait for one of "
                "them, cancel one, or send many patterns as one batch"
            )


class _KeyTaken(Exception):
    """Another job was added with this key."""


def _claim(row: Any, results: Sequence[bytes] | None = None) -> Claim:
    joined = tuple(results or ()) if row.parts else None
    return Claim(row.id, row.kind, row.priority, row.payload, row.attempts, row.parent, row.part, joined)


def _unlocked(*conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """The rows that nobody is changing: what changes many at once waits for none, and so never in a circle."""
    return c.id.in_(sa.select(c.id).where(*conditions).with_for_update(skip_locked=True))


def _digest(kind: str, payload: bytes, parts: Sequence[bytes]) -> str:
    """A digest of what is asked for; the length of each text goes before it, so that no two lists read the same."""
    digest = sha256()
    for text in (kind.encode(), payload, *parts):
        digest.update(len(text).to_bytes(8, "big") + text)
    return digest.hexdigest()
