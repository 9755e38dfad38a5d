"""The statements of jobs made of parts, each function within a transaction.

A job is always locked before its parts. Its row counts the parts that are done, in the transaction that ends a part: so
no two engines can both end the last one, no crash comes in between, and a look at the job reads one row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from app.jobs.job import FINISHED, Claim, Outcome
from app.jobs.table import IS_JOB, NEXT_REVISION, SHOWN, SPLIT, c, jobs, run_of


class RunLost(Exception):
    """A part that was given to another engine; what the transaction has done so far is to be undone."""


def part_rows(parent: dict[str, Any], payloads: Sequence[bytes]) -> list[dict[str, Any]]:
    """The rows of all parts of a job whose own row is ``parent``."""
    shared = parent | {"parent": parent["id"], "parts": 0, "state": "queued", "idempotency": None, "work": None}
    return [
        shared | {"id": f"{parent['id']}.{number}", "part": number, "payload": payload}
        for number, payload in enumerate(payloads)
    ]


def begin(parent: str, now_s: float) -> sa.Update:
    """Start a job with the first of its parts."""
    unstarted = (c.id == parent, c.state == SPLIT, c.started_s.is_(None))
    return jobs.update().where(*unstarted).values(started_s=now_s, **NEXT_REVISION)


def results(parent: str) -> sa.Select[tuple[bytes]]:
    """What the parts gave, in their order."""
    return sa.select(c.result).where(c.parent == parent).order_by(c.part)


def end_part(connection: sa.Connection, claim: Claim, outcome: Outcome, now_s: float) -> Any | None:
    """Write how a part ended and what that means for its job; give the job's row.

    The last part that is done queues the job for its join. One that fails fails the job, and drops the other parts.
    None where the job has finished already, or where the run was not the caller's any more.

    Raises:
        RunLost: as the second of these; to undo what was done.
    """
    changed = _job_after(outcome, now_s)
    told = connection.execute(
        jobs.update().where(c.id == claim.parent, c.state == SPLIT, _runs(claim)).values(**changed).returning(*SHOWN)
    ).first()
    if told is None:
        connection.execute(jobs.delete().where(*run_of(claim)))
    elif outcome.state == "done":
        kept = {"state": "done", "result": outcome.result, "payload": b"", "finished_s": now_s}
        _must_change(connection.execute(jobs.update().where(*run_of(claim)).values(**kept)))
    else:
        _must_change(connection.execute(jobs.delete().where(*run_of(claim))))
        drop(connection, claim.parent)
    return told


def drop(connection: sa.Connection, parent: str) -> None:
    """Forget the parts of a job that has finished; those that run are flagged, and forgotten at their end."""
    connection.execute(jobs.delete().where(c.parent == parent, c.state != "running"))
    connection.execute(jobs.update().where(c.parent == parent).values(cancel_requested=True))


def drop_unwanted(claim: Claim) -> sa.Delete:
    """Forget a part that was queued again after its job had finished."""
    return jobs.delete().where(c.id == claim.id, c.state == "queued", c.cancel_requested)


def orphans() -> sa.ColumnElement[bool]:
    """Parts that do not run, of jobs that have finished or are no longer known."""
    job = jobs.alias()
    wanted = sa.select(job.c.id).where(job.c.id == c.parent, job.c.state.not_in([*sorted(FINISHED), "expired"]))
    return sa.and_(sa.not_(IS_JOB), c.state != "running", sa.not_(sa.exists(wanted)))


def _job_after(outcome: Outcome, now_s: float) -> dict[str, Any]:
    if outcome.state == "done":
        last = c.parts_done + 1 == c.parts
        return {"parts_done": c.parts_done + 1, "state": sa.case((last, "queued"), else_=SPLIT), **NEXT_REVISION}
    failure = outcome.failure and outcome.failure.to_json()
    ended = {"state": outcome.state, "failure": failure, "payload": b"", "finished_s": now_s}
    return ended | NEXT_REVISION


def _runs(claim: Claim) -> sa.Exists:
    part = jobs.alias()
    mine = (part.c.id == claim.id, part.c.attempts == claim.attempt, part.c.state == "running")
    return sa.exists(sa.select(part.c.id).where(*mine))


def _must_change(done: sa.CursorResult[Any]) -> None:
    if done.rowcount == 0:
        raise RunLost
