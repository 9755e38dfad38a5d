"""The table of jobs keeps its layout from release to release, or gets a new name."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateIndex, CreateTable

from app.jobs.records import Records
from app.jobs.table import jobs

HERE = Path(__file__).parent
DONE, WAITING = "c7d555e0236897e03333affbbb5a4968", "b03ea230c11dee9f99086490d928ad38"


def statements(dialect: Dialect) -> set[str]:
    indexes = (CreateIndex(index) for index in jobs.indexes)
    return {" ".join(str(made.compile(dialect=dialect)).split()) for made in (CreateTable(jobs), *indexes)}


def kept(layout: Path, dialect: Dialect) -> set[str]:
    """The statements that the release made its table with."""
    _, _, section = layout.read_text().partition(f"-- {dialect.name}\n")
    return {" ".join(one.split()) for one in section.split("\n--")[0].split(";") if one.strip()}


@pytest.mark.parametrize("dialect", [sqlite.dialect(), postgresql.dialect()], ids=lambda dialect: dialect.name)
def test_a_changed_table_has_another_number(dialect: Dialect) -> None:
    layout = HERE / f"layout_{jobs.name.rpartition('_')[2]}.sql"
    assert layout.is_file(), "a new layout: keep a copy of its statements, and what the release before has left"
    assert statements(dialect) == kept(layout, dialect), (
        "older releases share this table: give the changed one a number"
    )


def test_what_the_release_before_has_left_is_read(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "jobs.sqlite3") as database:
        database.executescript((HERE / "jobs_0_1_0.sql").read_text())
    database.close()
    records = Records(f"sqlite:///{tmp_path}/jobs.sqlite3")
    try:
        assert records.count() == {"done": 2, "cancelled": 1, "running": 1, "queued": 2}
        assert b'"bravais":"cF"' in (records.get(DONE).result or b"")
        assert records.get(WAITING).state == "queued"
        assert {one.kind for one in records.newest(limit=10)} == {"indexing.solve", "indexing.batch"}
    finally:
        records.close()
