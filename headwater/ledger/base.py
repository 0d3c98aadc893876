"""What every part of the ledger shares: its database, and the row of a corpus."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from headwater.ledger.schema import corpora, leases


class LedgerPart:
    """A group of the ledger's methods, each of which is one transaction."""

    _engine: sa.Engine


def ensure(connection: sa.Connection, table: sa.Table, **values: Any) -> None:
    """Insert a row unless its key is there already."""
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    connection.execute(insert(table).values(**values).on_conflict_do_nothing())


def ensure_corpus(connection: sa.Connection, corpus: str) -> None:
    """Give a corpus its row, without any release."""
    ensure(connection, corpora, corpus=corpus, last_release=0, generation=0)


def now(connection: sa.Connection) -> datetime:
    """Return the time by which leases expire: the database server's where machines share one, else this machine's."""
    if connection.dialect.name == "postgresql":
        time: datetime = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
        return time.astimezone(UTC)
    return datetime.now(UTC)


def lock_lease(connection: sa.Connection, corpus: str) -> sa.RowMapping | None:
    """Return the lease's row, locked until the transaction ends."""
    query = sa.select(leases).where(leases.c.corpus == corpus).with_for_update()
    return connection.execute(query).mappings().first()
