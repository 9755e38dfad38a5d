"""A database of the release before owners: opened, its jobs kept, and used on."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from app.errors import NotFound
from app.jobs.job import Outcome
from app.jobs.records import Records

BLOB = {"sqlite": "BLOB", "postgresql": "BYTEA"}
LAYOUT = """
CREATE TABLE beamline_jobs_2 (
  id VARCHAR(64) NOT NULL PRIMARY KEY, parent VARCHAR(64) NOT NULL, part INTEGER NOT NULL, parts INTEGER NOT NULL,
  parts_done INTEGER NOT NULL, kind VARCHAR(64) NOT NULL, state VARCHAR(16) NOT NULL, priority INTEGER NOT NULL,
  revision INTEGER NOT NULL, attempts INTEGER NOT NULL, cancel_requested BOOLEAN NOT NULL,
  principal VARCHAR(200) NOT NULL, idempotency VARCHAR(64), work VARCHAR(64), owner VARCHAR(200), worker VARCHAR(64),
  lease_until_s FLOAT, created_s FLOAT NOT NULL, started_s FLOAT, finished_s FLOAT, payload {blob} NOT NULL,
  progress {blob}, result {blob}, failure {blob});
CREATE INDEX beamline_jobs_2_queue ON beamline_jobs_2 (state, priority DESC, created_s, part);
CREATE INDEX beamline_jobs_2_family ON beamline_jobs_2 (parent, state);
CREATE INDEX beamline_jobs_2_newest ON beamline_jobs_2 (parent, created_s);
CREATE INDEX beamline_jobs_2_finished ON beamline_jobs_2 (finished_s);
CREATE UNIQUE INDEX beamline_jobs_2_once ON beamline_jobs_2 (principal, idempotency)
"""
"""As that release has made it, word for word."""
ROW = """
INSERT INTO beamline_jobs_2 (id, parent, part, parts, parts_done, kind, state, priority, revision, attempts,
  cancel_requested, principal, created_s, payload) VALUES
  ('aaaa', '', 0, 0, 0, 'indexing.solve', 'queued', 10, 1, 0, false, '', 1700000000.0, :payload)
"""


@pytest.fixture
def older_url(database_url: str) -> str:
    """The address of a database in which a job waits."""
    url = sa.make_url(database_url)
    if url.get_backend_name() == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    else:
        from pathlib import Path

        Path(str(url.database)).parent.mkdir()
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in LAYOUT.format(blob=BLOB[engine.dialect.name]).split(";"):
            connection.exec_driver_sql(statement)
        connection.execute(sa.text(ROW), {"payload": b"{}"})
    engine.dispose()
    return database_url


def test_its_jobs_are_anybodys_and_new_ones_their_owners(older_url: str) -> None:
    records = Records(older_url)
    for reader in (None, "", "key:ada"):
        assert (records.get("aaaa", reader).state, records.get("aaaa", reader).principal) == ("queued", "")
    claim = records.claim("engine", "worker", lease_s=10.0)
    assert claim is not None
    assert claim.id == "aaaa"
    assert records.finish(claim, Outcome("done", result=b"1")) is not None
    mine = records.add("k", b"{}", priority=0, max_queued=10, principal="key:ada", key="scan", max_of_owner=1)
    with pytest.raises(NotFound):
        records.get(mine, "key:bob")
    assert [record.id for record in records.newest(owner="key:ada", limit=5)] == [mine]
    assert {record.id for record in records.newest(limit=5)} == {"aaaa", mine}
    records.close()
