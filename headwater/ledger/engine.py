"""Opening the ledger's database: pragmas for SQLite, and transactions that take the write lock up front."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from headwater.errors import ConfigError, LedgerError

BUSY_SECONDS = 30.0
"""How long a SQLite connection waits for another process's write; the ledger's writes take milliseconds."""

WAL_RETRY_SECONDS = 0.02
"""SQLite answers at once, without the busy timeout, when two processes switch a new file to WAL together."""


def create_engine(url: str) -> sa.Engine:
    """Return the engine of ``url``. Raises ConfigError for a URL that can't be used (credentials are not repeated).

    Where its database can't be reached, is none, or fails, the engine raises LedgerError.
    """
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise ConfigError(
            "The ledger URL is not a database URL. Use sqlite:///path/to/ledger.db or postgresql+psycopg://user@host/name."
        ) from error
    sqlite = parsed.get_backend_name() == "sqlite"
    if sqlite and parsed.database and parsed.database != ":memory:":
        folder = Path(parsed.database).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"The ledger's folder {folder} can't be made ({error.strerror}).") from error
    try:
        # Values are questions, what people said, keys of objects: an error that names them ends up in logs.
        engine = sa.create_engine(parsed, pool_pre_ping=not sqlite, hide_parameters=True)
    except (ImportError, sa.exc.NoSuchModuleError) as error:
        raise ConfigError(
            f"The database driver of the ledger URL ({parsed.drivername}) is not installed. "
            "For PostgreSQL install psycopg and write postgresql+psycopg://."
        ) from error
    sa.event.listen(engine, "handle_error", _in_words, retval=True)
    if sqlite:
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _in_words(failed: sa.ExceptionContext) -> LedgerError | None:
    """Return what is raised in place of an error of the database: none of the values that it was about."""
    if failed.is_pre_ping or not isinstance(failed.sqlalchemy_exception, sa.exc.DBAPIError) or failed.engine is None:
        return None
    error, url = failed.original_exception, failed.engine.url
    primary = getattr(getattr(error, "diag", None), "message_primary", None)
    if primary:
        error.args = (primary,)  # PostgreSQL's details quote rows
    why = (str(error).strip() or type(error).__name__).splitlines()[0]
    where = url.database if failed.dialect.name == "sqlite" else f"{url.host}:{url.port or 5432}/{url.database}"
    if failed.connection is None:
        return LedgerError(
            f"The ledger's database {where} can't be opened: {why}. Check HEADWATER_LEDGER_URL, and that the database is up."
        )
    return LedgerError(f"The ledger's database {where} failed: {why}.")


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # None hands BEGIN to us: the driver's own transaction handling would commit around DDL and start too late.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA secure_delete = ON")  # what an erasure deletes must not survive in free pages
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            if cursor.execute("PRAGMA journal_mode").fetchone()[0] not in ("wal", "memory"):
                cursor.execute("PRAGMA journal_mode = WAL")
            break
        except Exception as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(WAL_RETRY_SECONDS)
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    # A transaction that reads first and writes later can't wait for the lock in SQLite: it fails at once.
    immediate = connection.get_execution_options().get("headwater_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


@contextmanager
def write(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open a transaction that may write: committed at the end, rolled back on an exception."""
    with engine.connect().execution_options(headwater_write=True) as connection, connection.begin():
        yield connection
