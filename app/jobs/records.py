"""Job records in SQL: durable, shared by every service process over the same database.

Every operation is one statement in autocommit, so that no two processes can take the same job and nothing is half
done; the statements are the same for SQLite and PostgreSQL.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
import structlog
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateIndex, CreateTable

from app.errors import Busy, Gone, JobsUnavailable, NotFound
from app.jobs.job import FINISHED, LOWEST, Claim, Failure, JobRecord, Outcome

TOMBSTONE_S: Final = 7 * 86400.0
"""How long an id is remembered after its record is gone [s]: it answers 410 rather than 404."""
BUSY_TIMEOUT_S: Final = 5.0
EXPIRED: Final = "expired"

_log = structlog.stdlib.get_logger("app.jobs")

_metadata = sa.MetaData()

# The number is that of the layout: a release with another layout begins a table of its own.
_jobs = sa.Table(
    "beamline_jobs_1",
    _metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("progress", sa.LargeBinary),
    sa.Column("result", sa.LargeBinary),
    sa.Column("failure", sa.LargeBinary),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("cancel_requested", sa.Boolean, nullable=False),
    sa.Column("owner", sa.String(200)),  # the service process that runs it
    sa.Column("worker", sa.String(64)),
    sa.Column("lease_until_s", sa.Float(53)),
    sa.Column("created_s", sa.Float(53), nullable=False),
    sa.Column("started_s", sa.Float(53)),
    sa.Column("finished_s", sa.Float(53)),
    sa.Index("beamline_jobs_1_queue", "state", sa.desc("priority"), "created_s"),
    sa.Index("beamline_jobs_1_finished", "finished_s"),
)
_c = _jobs.c
_SHOWN = (_c.id, _c.kind, _c.state, _c.priority, _c.attempts, _c.progress, _c.result, _c.failure,
          _c.created_s, _c.started_s, _c.finished_s)  # fmt: skip
_INSERTED = ("id", "kind", "state", "priority", "payload", "attempts", "cancel_requested", "created_s")
_FORGET = {"payload": b"", "progress": None, "result": None, "failure": None}
_LET_GO = {"owner": None, "worker": None, "lease_until_s": None}


class Records:
    """The table of jobs. Every method may be called from any thread and blocks for as long as the database does.

    All raise `JobsUnavailable` where the database fails.

    Args:
        url: SQLAlchemy's; a SQLite file is created with its folder.
        clock: seconds since 1970.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        with _told():
            self._engine = _open(sa.make_url(url))
            try:
                self._create_tables()
            except SQLAlchemyError:
                self._engine.dispose()
                raise

    def close(self) -> None:
        self._engine.dispose()

    def add(self, kind: str, payload: bytes, *, priority: int, max_queued: int) -> str:
        """Queue a job and give its id.

        Raises:
            Busy: as many as ``max_queued`` wait already.
        """
        job_id = secrets.token_urlsafe(18)
        values = (job_id, kind, "queued", priority, payload, 0, False, self._clock())
        row = [sa.literal(value, _c[name].type) for name, value in zip(_INSERTED, values, strict=True)]
        room = _queue_length() < max_queued
        if self._change(_jobs.insert().from_select(_INSERTED, sa.select(*row).where(room))) == 0:
            raise Busy(f"{max_queued} jobs are waiting already; send this one again a little later")
        return job_id

    def get(self, job_id: str) -> JobRecord:
        """Give one record.

        Raises:
            NotFound: no such id.
            Gone: it has finished, and its record was kept as long as the service keeps them.
        """
        rows = self._rows(sa.select(*_SHOWN).where(_c.id == job_id))
        if not rows:
            raise NotFound("there is no job of that id")
        if rows[0].state == EXPIRED:
            raise Gone("the job has finished, and its result is no longer kept")
        return _record(rows[0])

    def count(self) -> dict[str, int]:
        """Number of jobs by state."""
        counted = self._rows(sa.select(_c.state, sa.func.count()).group_by(_c.state))
        return {row[0]: row[1] for row in counted if row[0] != EXPIRED}

    def claim(self, owner: str, worker: str, *, lease_s: float, min_priority: int = LOWEST) -> Claim | None:
        """Take the waiting job of the highest priority, the oldest first; None where none of ``min_priority`` waits."""
        now = self._clock()
        first = (
            sa.select(_c.id)
            .where(_c.state == "queued", _c.priority >= min_priority)
            .order_by(_c.priority.desc(), _c.created_s)
            .limit(1)
            .with_for_update(skip_locked=True)
        ).scalar_subquery()
        taken = (
            _jobs.update()
            .where(_c.id == first, _c.state == "queued")
            .values(
                state="running",
                owner=owner,
                worker=worker,
                lease_until_s=now + lease_s,
                started_s=now,
                attempts=_c.attempts + 1,
                progress=None,
            )
            .returning(_c.id, _c.kind, _c.priority, _c.payload, _c.attempts)
        )
        rows = self._rows(taken)
        return Claim(*rows[0]) if rows else None

    def report(self, claim: Claim, progress: bytes) -> None:
        self._change(_jobs.update().where(*_run_of(claim)).values(progress=progress))

    def finish(self, claim: Claim, outcome: Outcome, *, progress: bytes | None = None) -> JobRecord | None:
        """Write how a run ended; None where the job is no longer this run's (its lease was lost)."""
        failure = outcome.failure and outcome.failure.to_json()
        values: dict[str, Any] = {"state": outcome.state, "result": outcome.result, "failure": failure, "payload": b""}
        values |= {"finished_s": self._clock(), "progress": _c.progress if progress is None else progress}
        ended = _jobs.update().where(*_run_of(claim)).values(**values, **_LET_GO).returning(*_SHOWN)
        rows = self._rows(ended)
        return _record(rows[0]) if rows else None

    def release(self, claim: Claim) -> None:
        """Queue a job again as if this run had never been: the service stops."""
        values = {"state": "queued", "attempts": _c.attempts - 1, "started_s": None, **_LET_GO}
        self._change(_jobs.update().where(*_run_of(claim)).values(**values))

    def requeue(self, claim: Claim) -> None:
        """Queue a job again after its worker died."""
        self._change(_jobs.update().where(*_run_of(claim)).values(state="queued", started_s=None, **_LET_GO))

    def cancel(self, job_id: str) -> JobRecord:
        """Cancel a waiting job, ask for the end of a running one, and leave a finished one as it is.

        Raises:
            NotFound, Gone: as for `get`.
        """
        waiting = {"state": "cancelled", "cancel_requested": True, "payload": b"", "finished_s": self._clock()}
        self._change(_jobs.update().where(_c.id == job_id, _c.state == "queued").values(**waiting))
        self._change(_jobs.update().where(_c.id == job_id, _c.state == "running").values(cancel_requested=True))
        return self.get(job_id)

    def renew(self, owner: str, job_ids: Collection[str], *, lease_s: float) -> None:
        """Prolong the leases of these jobs, where ``owner`` still runs them."""
        held = (_c.id.in_(job_ids), _c.owner == owner, _c.state == "running")
        self._change(_jobs.update().where(*held).values(lease_until_s=self._clock() + lease_s))

    def running(self, owner: str) -> dict[tuple[str, int], bool]:
        """The runs that ``owner`` holds, as (id, attempt), and whether each is to be cancelled."""
        held = sa.select(_c.id, _c.attempts, _c.cancel_requested).where(_c.state == "running", _c.owner == owner)
        return {(row[0], row[1]): row[2] for row in self._rows(held)}

    def recover(
        self, held: Collection[str], is_gone: Callable[[str], bool], *, max_attempts: int, failure: Failure
    ) -> int:
        """Queue again what nobody runs any more: jobs whose lease has passed, and those of owners known to be gone.

        Args:
            held: ids of the caller's own jobs, which are left alone.
            is_gone: whether an owner certainly runs no more.
            max_attempts: a job that was started as often as this fails instead.
            failure: what is told then.

        Returns:
            The number of jobs found.
        """
        others = (_c.state == "running", _c.id.not_in(held))
        owners = [row[0] for row in self._rows(sa.select(_c.owner).where(*others).distinct())]
        if not owners:
            return 0
        gone = [owner for owner in owners if is_gone(owner)]
        lost = sa.and_(*others, sa.or_(_c.lease_until_s < self._clock(), _c.owner.in_(gone)))
        ended = {"finished_s": self._clock(), "payload": b"", **_LET_GO}
        told = failure.to_json()
        outcomes = [
            (_c.cancel_requested, {"state": "cancelled", **ended}),
            (_c.attempts >= max_attempts, {"state": "failed", "failure": told, **ended}),
            (sa.true(), {"state": "queued", "started_s": None, **_LET_GO}),
        ]
        return sum(self._change(_jobs.update().where(lost, which).values(**values)) for which, values in outcomes)

    def sweep(self, retention_s: float) -> None:
        """Empty the records that finished more than ``retention_s`` ago, and forget the oldest of those."""
        now = self._clock()
        old = (_c.state.in_(sorted(FINISHED)), _c.finished_s < now - retention_s)
        self._change(_jobs.update().where(*old).values(state=EXPIRED, **_FORGET))
        self._change(_jobs.delete().where(_c.state == EXPIRED, _c.finished_s < now - retention_s - TOMBSTONE_S))

    def _create_tables(self) -> None:
        self._change(CreateTable(_jobs, if_not_exists=True))
        for index in sorted(_jobs.indexes, key=lambda index: str(index.name)):
            self._change(CreateIndex(index, if_not_exists=True))

    def _rows(self, statement: Any) -> Sequence[Any]:
        with _told(), self._engine.connect() as connection:
            return connection.execute(statement).all()

    def _change(self, statement: Any) -> int:
        """Execute a statement and give the number of rows that it changed."""
        with _told(), self._engine.connect() as connection:
            return connection.execute(statement).rowcount


@contextmanager
def _told() -> Iterator[None]:
    """Turn the database's errors into ours; what they say goes to the log only."""
    try:
        yield
    except (SQLAlchemyError, OSError, ImportError) as error:
        _log.warning("the jobs database failed", error=str(error).splitlines()[0])
        raise JobsUnavailable("The database of jobs does not answer; try again later.") from error


def _open(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        return sa.create_engine(url, isolation_level="AUTOCOMMIT", pool_pre_ping=True)
    if not url.database or url.database == ":memory:":
        raise ValueError("the jobs need a database file: several threads and processes share it")
    Path(url.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", connect_args={"timeout": BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _tune_sqlite)
    return engine


def _tune_sqlite(connection: Any, _record: object) -> None:
    # Readers never wait for a writer; a commit survives the death of any process, not always a power cut.
    connection.execute("PRAGMA journal_mode=WAL").close()
    connection.execute("PRAGMA synchronous=NORMAL").close()


def _queue_length() -> sa.ScalarSelect[int]:
    return sa.select(sa.func.count()).select_from(_jobs).where(_c.state == "queued").scalar_subquery()


def _run_of(claim: Claim) -> tuple[sa.ColumnElement[bool], ...]:
    return _c.id == claim.id, _c.attempts == claim.attempt, _c.state == "running"


def _record(row: Any) -> JobRecord:
    told: dict[str, Any] = dict(row._mapping)
    failure = told.pop("failure")
    return JobRecord(**told, failure=None if failure is None else Failure.from_json(failure))
