"""The table of jobs and of parts of jobs, and what of it is shown.

A job made of parts is one row; each part is another, with the job as its parent. The job waits for its parts in a state
of its own (`SPLIT`); when the last is done it is queued like any other job, for its join.
"""

from __future__ import annotations

from typing import Any, Final

import orjson
import sqlalchemy as sa

from app.jobs.job import Claim, Failure, JobRecord

SPLIT: Final = "split"
"""State of a job whose parts are not all done."""
EXPIRED: Final = "expired"
"""State of a record that is no longer kept: its id answers 410."""

metadata = sa.MetaData()

# The number is that of the layout: a release with another layout begins a table of its own. The long columns
# stand last, so that the short ones are read without them.
jobs = sa.Table(
    "beamline_jobs_2",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("parent", sa.String(64), nullable=False),  # empty: a job, and not a part of one
    sa.Column("part", sa.Integer, nullable=False),
    sa.Column("parts", sa.Integer, nullable=False),
    sa.Column("parts_done", sa.Integer, nullable=False),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("cancel_requested", sa.Boolean, nullable=False),
    sa.Column("principal", sa.String(200), nullable=False),  # who asked; empty: anybody
    sa.Column("idempotency", sa.String(64)),  # digest of the caller's key
    sa.Column("work", sa.String(64)),  # digest of what the key came with
    sa.Column("owner", sa.String(200)),  # the service process that runs it
    sa.Column("worker", sa.String(64)),
    sa.Column("lease_until_s", sa.Float(53)),
    sa.Column("created_s", sa.Float(53), nullable=False),
    sa.Column("started_s", sa.Float(53)),
    sa.Column("finished_s", sa.Float(53)),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("progress", sa.LargeBinary),
    sa.Column("result", sa.LargeBinary),
    sa.Column("failure", sa.LargeBinary),
    sa.Index("beamline_jobs_2_queue", "state", sa.desc("priority"), "created_s", "part"),
    sa.Index("beamline_jobs_2_family", "parent", "state", "started_s"),
    sa.Index("beamline_jobs_2_newest", "parent", "created_s"),
    sa.Index("beamline_jobs_2_finished", "finished_s"),
    sa.Index("beamline_jobs_2_once", "principal", "idempotency", unique=True),
)
c = jobs.c

IS_JOB: Final = c.parent == ""
NEXT_REVISION: Final[dict[str, Any]] = {"revision": c.revision + 1}
LET_GO: Final[dict[str, Any]] = {"owner": None, "worker": None, "lease_until_s": None}

_waits = sa.or_(c.state == "queued", c.state == SPLIT)
WAITS_UNSTARTED: Final = sa.and_(_waits, c.started_s.is_(None))
"""Nothing of the job has run yet; a job that waits for its parts or its join has been started."""
shown_state = sa.case(
    (sa.and_(_waits, c.started_s.is_not(None)), "running"), (c.state == SPLIT, "queued"), else_=c.state
).label("state")
"""The state as callers know it: from its first part to the end of its join a job runs."""

SUMMARY: Final = (c.id, c.kind, shown_state, c.priority, c.attempts, c.progress, c.failure, c.created_s,
                  c.started_s, c.finished_s, c.revision, c.parts, c.parts_done, c.principal)  # fmt: skip
"""What `record` reads, without the result."""
SHOWN: Final = (*SUMMARY, c.result)


RUN: Final = (c.id == sa.bindparam("run_id"), c.attempts == sa.bindparam("run_attempt"), c.state == "running")
"""The row of a run, for as long as the run is its owner's; see `run_of`."""


def run_of(claim: Claim) -> dict[str, Any]:
    """The values of `RUN`."""
    return {"run_id": claim.id, "run_attempt": claim.attempt}


def record(row: Any) -> JobRecord:
    """Give the record in a row of `SHOWN`, or of `SUMMARY` without its result."""
    told: dict[str, Any] = {"result": None, **row._mapping}
    failure = told.pop("failure")
    if told["parts"]:
        told["progress"] = orjson.dumps({"done": told["parts_done"], "total": told["parts"]})
    return JobRecord(**told, failure=None if failure is None else Failure.from_json(failure))
