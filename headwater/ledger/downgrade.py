"""Taking the ledger back to an older schema, for the older version of Headwater that is to run on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from headwater.errors import ConfigError, LeaseError
from headwater.ledger.engine import write
from headwater.ledger.migrate import alembic_config, check_known, current_revision, lock, migrations
from headwater.ledger.schema import leases


@dataclass(frozen=True, slots=True)
class Loss:
    """What an older schema has no place for.

    ``rows`` counts the rows of tables that go; ``columns`` are the columns that go in tables that stay and have rows.
    """

    rows: dict[str, int]
    columns: tuple[str, ...]

    def __str__(self) -> str:
        return ", ".join([*(f"{count} rows of {table}" for table, count in self.rows.items()), *self.columns])


def downgrade(engine: sa.Engine, revision: str, *, force: bool = False) -> Loss:
    """Take the ledger back to ``revision`` in one transaction, and return what went.

    Every row that the older schema knows stays as it is. Raises ConfigError for a revision that does not exist or is
    newer than the ledger's, and, without ``force``, where anything would go; LeaseError while a reindex is at work.
    """
    with write(engine) as connection:
        lock(connection)
        _check(connection, revision)
        before = _columns(connection)
        # Counted ahead: afterwards the rows are gone.
        counts = {table: _count(connection, table) for table in before}
        _run(connection, revision)
        after = _columns(connection)
        loss = Loss(
            rows={table: counts[table] for table in sorted(before.keys() - after.keys()) if counts[table]},
            columns=tuple(
                f"{table}.{column}"
                for table in sorted(after)
                for column in sorted(before[table] - after[table])
                if counts[table]
            ),
        )
        if (loss.rows or loss.columns) and not force:
            raise ConfigError(  # rolls the transaction back
                f"Schema revision {revision} has no place for this in the ledger: {loss}. Nothing was changed. "
                "Back the ledger up, then repeat with --force to give it up."
            )
    return loss


def _check(connection: sa.Connection, revision: str) -> None:
    present = current_revision(connection)
    check_known(present)
    names = [step.revision for step in migrations()]
    if revision not in names:
        raise ConfigError(f"There is no schema revision {revision!r}; there are {', '.join(names)}.")
    if present is None or names.index(revision) > names.index(present):
        raise ConfigError(
            f"The ledger has schema revision {present or 'none'}, which is older than {revision}: "
            "use headwater ledger upgrade."
        )
    if sa.inspect(connection).has_table(leases.name):
        held = sa.select(leases.c.corpus).where(leases.c.holder.is_not(None), leases.c.expires_at > datetime.now(UTC))
        if busy := connection.execute(held).scalars().all():
            raise LeaseError(
                f"A reindex is at work on {', '.join(sorted(busy))}. Stop it, and everything else that has the ledger "
                "open, before you take the ledger back."
            )


def _columns(connection: sa.Connection) -> dict[str, set[str]]:
    inspector = sa.inspect(connection)
    return {
        table: {column["name"] for column in inspector.get_columns(table)}
        for table in inspector.get_table_names()
        if table != "alembic_version"
    }


def _count(connection: sa.Connection, table: str) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(sa.table(table))).scalar_one()


def _run(connection: sa.Connection, revision: str) -> None:
    from alembic import command

    command.downgrade(alembic_config(connection), revision)
