"""The statements of jobs made of parts, each function within a transaction.

A job is always locked before its parts. Its row counts the parts that are done, in the transaction that ends a part: so
no two engines can both end the last one, no crash comes in between, and a look at the job reads one row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from app.jobs.job import FINISHED, Claim, Outcome
from app.jobs.table import EXPIRED, IS_JOB, NEXT_REVISION, RUN, SHOWN, SPLIT, c, jobs, run_of

_other = jobs.alias()
_runs = sa.exists(
    sa.select(_other.c.id).where(
        _other.c.id == sa.bindparam("run_id"),
        _other.c.attempts == sa.bindparam("run_attempt"),
        _other.c.state == "running",
    )
)
_of_split_job = jobs.update().where(c.id == sa.bindparam("job_id"), c.state == SPLIT, _runs).returning(*SHOWN)

# Built once: it takes longer to build a statement than to execute it.
_COUNT_PART: Final = _of_split_job.values(
    parts_done=c.parts_done + 1, state=sa.case((c.parts_done + 1 == c.parts, "queued"), else_=SPLIT), **NEXT_REVISION
)
_END_JOB: Final = _of_split_job.values(
    state=sa.bindparam("new_state"),
    failure=sa.bindparam("new_failure"),
    payload=b"",
    finished_s=sa.bindparam("now_s"),
    **NEXT_REVISION,
)
_KEEP_PART: Final = (
    jobs.update()
    .where(*RUN)
    .values(state="done", result=sa.bindparam("new_result"), payload=b"", finished_s=sa.bindparam("now_s"))
)
_FORGET_PART: Final = jobs.delete().where(*RUN)


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
    run = run_of(claim)
    of_job = run | {"job_id": claim.parent}
    if outcome.state == "done":
        told = connection.execute(_COUNT_PART, of_job).first()
        kept = run | {"new_result": outcome.result, "now_s": now_s}
        ended = connection.execute(_KEEP_PART, kept) if told else connection.execute(_FORGET_PART, run)
    else:
        failure = outcome.failure and outcome.failure.to_json()
        values = {"new_state": outcome.state, "new_failure": failure, "now_s": now_s}
        told = connection.execute(_END_JOB, of_job | values).first()
        ended = connection.execute(_FORGET_PART, run)
        if told:
            drop(connection, claim.parent)
    if told and ended.rowcount == 0:
        raise RunLost
    return told


def drop(connection: sa.Connection, parent: str) -> None:
    """Forget the parts of a job that has finished; those that run are flagged, and forgotten at their end."""
    connection.execute(jobs.delete().where(c.parent == parent, c.state != "running"))
    connection.execute(jobs.update().where(c.parent == parent).values(cancel_requested=True))


def drop_unwanted(claim: Claim) -> sa.Delete:
    """Forget a part that was queued again after its job had finished."""
    return jobs.delete().where(c.id == claim.id, c.state == "queued", c.cancel_requested)


def ended_parents() -> sa.Select[tuple[str]]:
    """Jobs that have finished, or are no longer known, and of which there are parts."""
    parent = sa.select(c.parent).where(sa.not_(IS_JOB)).distinct().subquery().c.parent
    ended = _other.c.state.in_([*sorted(FINISHED), EXPIRED])
    return sa.select(parent).where(sa.not_(sa.exists(sa.select(_other.c.id).where(_other.c.id == parent, ~ended))))
