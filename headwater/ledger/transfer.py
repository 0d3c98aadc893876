"""The ledger's rows as JSON values, to be kept elsewhere and put into this or another database.

Rows, not files: what SQLite kept can go into PostgreSQL, and the other way round.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from headwater.errors import BackupError
from headwater.ledger.base import LedgerPart, ensure_corpus
from headwater.ledger.engine import write
from headwater.ledger.schema import (
    UtcDateTime,
    api_keys,
    audit,
    corpora,
    erasures,
    leases,
    metadata,
    releases,
    reveals,
)

Rows: TypeAlias = Iterator[dict[str, Any]]

_ROWS = 200
"""Rows read or written at a time: bounds memory. An answer may have 10 KB."""

_OF_THIS_DATABASE = frozenset({leases.name})
"""Not kept: who is writing now. The token of a lease must go on growing in the database that it is checked in."""

_ONLY_ADDED_TO = frozenset({api_keys.name, audit.name, erasures.name, reveals.name})
"""Never cleared: what was done, who saw personal data and why, what must not come back, and which keys were revoked, stays
known whatever is put in its place."""


class Transfer(LedgerPart):
    """Taking the rows of a corpus, or of the project (prompts, keys, audit entries of no corpus), out and in."""

    @contextmanager
    def exported(self, corpus: str | None) -> Iterator[Iterator[tuple[str, Rows]]]:
        """Give (table, rows) of a corpus, of the project for None, all as they are at one moment.

        Rows are JSON values; times are in ISO 8601. Each table's rows have to be read before the next table.
        """
        consistent = {} if self._engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
        with self._engine.connect().execution_options(**consistent) as connection, connection.begin():
            yield ((table.name, _exported(connection, table, corpus)) for table in _tables(corpus))

    def holds_rows(self, corpus: str | None) -> bool:
        """Return whether a corpus has releases but those of an unfinished restore; for None, whether there is an API key."""
        query = sa.select(sa.func.count())
        if corpus is None:
            query = query.select_from(api_keys)
        else:
            query = query.where(releases.c.corpus == corpus, releases.c.state != "restoring")
        with self._engine.connect() as connection:
            return bool(connection.execute(query).scalar())

    def remembers(self, corpus: str) -> bool:
        """Return whether releases of a corpus were ever numbered here, or documents of it erased."""
        with self._engine.connect() as connection:
            numbered = connection.execute(sa.select(corpora.c.last_release).where(corpora.c.corpus == corpus)).scalar()
            erased = connection.execute(sa.select(erasures.c.id).where(erasures.c.corpus == corpus).limit(1)).first()
        return bool(numbered or erased)

    def clear_rows(self, corpus: str | None) -> None:
        """Delete what :meth:`exported` gives, but the audit log, the reveals, the erasures and the API keys.

        Of a corpus' own row it stays known which release numbers and generations were given out; a new generation begins.
        """
        with write(self._engine) as connection:
            for table in reversed(_tables(corpus)):
                if table is corpora:
                    emptied = dict.fromkeys(set(table.c.keys()) - {"corpus", "last_release", "generation"})
                    connection.execute(
                        table.update().where(_scope(table, corpus)).values(generation=table.c.generation + 1, **emptied)
                    )
                elif table.name not in _ONLY_ADDED_TO:
                    connection.execute(table.delete().where(_scope(table, corpus)))

    def import_rows(self, tables: Mapping[str, Rows], corpus: str | None) -> int:
        """Insert rows that :meth:`exported` gave, in one transaction; return how many were new.

        Rows whose key is there already are left as they are, but a corpus' own: its release numbers and generations go on
        from the higher ones, those that are there or those that come. Raises BackupError, and changes nothing, for what
        :func:`check_rows` refuses.
        """
        known = {table.name: table for table in _tables(corpus)}
        unknown = sorted(set(tables) - set(known))
        if unknown:
            raise BackupError(f"Ledger tables that this version of Headwater does not have: {', '.join(unknown)}.")
        count = 0
        with write(self._engine) as connection:
            for name, table in known.items():  # in the order that foreign keys need
                for part in _parts(tables.get(name, iter(()))):
                    complete = [_imported(table, row, corpus) for row in part]
                    count += (_put_corpora if table is corpora else _insert)(connection, table, complete)
        return count


def check_rows(name: str, rows: Rows, corpus: str | None) -> None:
    """Raise BackupError for what could not be imported into the table ``name``, without any database.

    That is a table or a column that this version does not have, a row that lacks what has no default, a value that the
    column can't hold, or a row of another corpus. The message names the row, counted from 1.
    """
    table = {table.name: table for table in _tables(corpus)}.get(name)
    if table is None:
        raise BackupError(f"This version of Headwater has no ledger table {name}.")
    for number, row in enumerate(rows, 1):
        try:
            _imported(table, row, corpus)
        except BackupError as error:
            raise BackupError(f"Row {number}: {error}") from error


def _tables(corpus: str | None) -> list[sa.Table]:
    kept = [table for table in metadata.sorted_tables if table.name not in _OF_THIS_DATABASE]
    if corpus is not None:
        return [table for table in kept if "corpus" in table.c]
    return [table for table in kept if "corpus" not in table.c or table.name == audit.name]


def _scope(table: sa.Table, corpus: str | None) -> sa.ColumnElement[bool]:
    if "corpus" not in table.c:
        return sa.true()
    return table.c.corpus.is_(None) if corpus is None else table.c.corpus == corpus


def _exported(connection: sa.Connection, table: sa.Table, corpus: str | None) -> Rows:
    query = sa.select(table).where(_scope(table, corpus)).order_by(*table.primary_key.columns)
    # Not all of a table at once, which is what PostgreSQL's driver gives unless it is asked for parts.
    for row in connection.execute(query, execution_options={"yield_per": _ROWS}).mappings():
        yield {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in row.items()
            if not _numbered(table, name)
        }


def _imported(table: sa.Table, row: Mapping[str, Any], corpus: str | None) -> dict[str, Any]:
    unknown = sorted(set(row) - set(table.c.keys()))
    if unknown:
        raise BackupError(f"Ledger table {table.name} has no column {', '.join(unknown)} in this version of Headwater.")
    if corpus is not None and row.get("corpus") != corpus:
        raise BackupError(f"A row of the ledger table {table.name} is not of corpus {corpus!r}.")
    missing = [column.name for column in table.c if not _complete(table, column, row)]
    if missing:
        raise BackupError(f"A row of the ledger table {table.name} lacks {', '.join(missing)}, which it must have.")
    return {name: _value(table.c[name], value) for name, value in row.items()}


def _complete(table: sa.Table, column: sa.Column[Any], row: Mapping[str, Any]) -> bool:
    if column.name in row:
        # In a column of JSON None is a value.
        return row[column.name] is not None or column.nullable or isinstance(column.type, sa.JSON)
    return bool(column.nullable) or column.server_default is not None or _numbered(table, column.name)


def _value(column: sa.Column[Any], value: Any) -> Any:
    if value is None or not isinstance(column.type, UtcDateTime):
        return value
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        found = None
    if found is None or found.tzinfo is None:
        raise BackupError(f"Column {column.name} of the ledger table {column.table.name} has a value that is no time.")
    return found


def _numbered(table: sa.Table, column: str) -> bool:
    """Return whether the database gives out this key: another one gives another, in the same order."""
    return table.c[column] is table.autoincrement_column


def _insert(connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> int:
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    added = 0
    for row in rows:  # one by one: rows of an older version lack columns, which then take their defaults
        added += max(connection.execute(insert(table).values(**row).on_conflict_do_nothing()).rowcount, 0)
    return added


def _put_corpora(connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> int:
    for row in rows:
        ensure_corpus(connection, row["corpus"])
        mine = table.c.corpus == row["corpus"]
        there = connection.execute(
            sa.select(table.c.last_release, table.c.generation).where(mine).with_for_update()
        ).one()
        numbers = {
            "last_release": max(row["last_release"], there.last_release),
            "generation": max(row.get("generation", 0), there.generation) + 1,
        }
        connection.execute(table.update().where(mine).values(**{**row, **numbers}))
    return len(rows)


def _parts(rows: Rows) -> Iterator[list[dict[str, Any]]]:
    part: list[dict[str, Any]] = []
    for row in rows:
        part.append(row)
        if len(part) == _ROWS:
            yield part
            part = []
    if part:
        yield part
