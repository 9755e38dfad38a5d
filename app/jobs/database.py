"""The database under the records: SQLite or PostgreSQL, opened, asked, and its errors told as ours."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import Any, Final

import sqlalchemy as sa
import structlog
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateIndex, CreateTable

from app.errors import JobsUnavailable

BUSY_TIMEOUT_S: Final = 5.0
"""How long a statement waits for what another process has locked."""
REPEAT_S: Final = 30.0
"""How often the log says that the database still fails."""
CREATION_LOCK: Final = 0x6265616D6A6F6273
"""An advisory lock of PostgreSQL, known by its number: nobody else's."""
POSTGRESQL: Final[Mapping[str, object]] = MappingProxyType(
    {
        "application_name": "beamline-model-server",
        "connect_timeout": 5,
        # A server that is gone without a word is noticed after some 15 s, and not after the system's two hours.
        "keepalives_idle": 5,
        "keepalives_interval": 5,
        "keepalives_count": 2,
        "tcp_user_timeout": 15_000,
        # A process that is stopped in a transaction must not hold up the others.
        "options": f"-c lock_timeout={BUSY_TIMEOUT_S:g}s -c idle_in_transaction_session_timeout=15s",
    }
)
"""How connections to PostgreSQL are made, unless the URL says otherwise."""

_log = structlog.stdlib.get_logger("app.jobs")


class Database:
    """One statement at a time in autocommit, or several in a transaction, from any thread.

    All methods raise `JobsUnavailable` where the database fails.

    Args:
        url: SQLAlchemy's; a SQLite file is created with its folder.
    """

    def __init__(self, url: str) -> None:
        self._told = _Told()
        with self._told():
            self._engine = _open(sa.make_url(url))
        self._sqlite = self._engine.dialect.name == "sqlite"

    def close(self) -> None:
        self._engine.dispose()

    def rows(self, statement: Any, values: Mapping[str, Any] | None = None) -> Sequence[Any]:
        with self._told(), self._engine.connect() as connection:
            return connection.execute(statement, values).all()

    def change(self, statement: Any, values: Mapping[str, Any] | None = None) -> int:
        """Execute a statement and give the number of rows that it changed."""
        with self._told(), self._engine.connect() as connection:
            return connection.execute(statement, values).rowcount

    def create(self, table: sa.Table) -> None:
        """Make a table and its indexes where they are not there yet; many processes may do so at once."""
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        statements = [CreateTable(table, if_not_exists=True), *(CreateIndex(i, if_not_exists=True) for i in indexes)]
        if self._sqlite:
            for statement in statements:
                self.change(statement)
            return
        with self.transaction() as connection:
            # PostgreSQL looks and makes in two steps.
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(CREATION_LOCK)))
            for statement in statements:
                connection.execute(statement)

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Several statements of which all or none are done; an exception undoes them and passes.

        The isolation is READ COMMITTED: lock a job before its parts, everywhere, so that no two wait for each other.
        """
        with self._told(), self._engine.connect() as connection:
            if not self._sqlite:
                connection.execution_options(isolation_level="READ COMMITTED")
            with connection.begin():
                if self._sqlite:  # of many writers each waits its turn here, and none in the middle
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                yield connection


class _Told:
    """Turns the database's errors into ours. What they say goes to the log only, and there not each time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failing = False
        self._again_s = 0.0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError, ImportError) as error:
            self._failed(error)
            raise JobsUnavailable("The database of jobs does not answer; try again later.") from error
        if self._failing:
            self._answered()

    def _failed(self, error: Exception) -> None:
        with self._lock:
            due, self._failing = monotonic() >= self._again_s, True
            self._again_s = monotonic() + REPEAT_S if due else self._again_s
        if due:
            _log.warning("the jobs database failed", error=str(error).splitlines()[0])

    def _answered(self) -> None:
        with self._lock:
            failing, self._failing, self._again_s = self._failing, False, 0.0
        if failing:
            _log.info("the jobs database answers again")


def _open(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        return _open_postgresql(url)
    if not url.database or url.database == ":memory:":
        raise ValueError("the jobs need a database file: several threads and processes share it")
    Path(url.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", connect_args={"timeout": BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _tune_sqlite)
    return engine


def _open_postgresql(url: sa.URL) -> sa.Engine:
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    settings = {name: value for name, value in POSTGRESQL.items() if name not in url.query}
    return sa.create_engine(url, isolation_level="AUTOCOMMIT", pool_pre_ping=True, connect_args=settings)


def _tune_sqlite(connection: Any, _record: object) -> None:
    # Readers never wait for a writer; a commit survives the death of any process, not always a power cut.
    connection.execute("PRAGMA journal_mode=WAL").close()
    connection.execute("PRAGMA synchronous=NORMAL").close()
