"""Bringing the ledger's schema up to date: cheap when it is, safe when several processes find that it isn't."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import sqlalchemy as sa

from headwater.errors import ConfigError
from headwater.ledger.engine import write
from headwater.ledger.schema import HEAD

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).parent / "migrations"

ADVISORY_LOCK = 0x48656164
"""Key of the PostgreSQL advisory lock under which one process migrates ("Head" in ASCII)."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema: its revision, the one before it (None for the first), and what it brings."""

    revision: str
    before: str | None
    brings: str


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """Where a ledger stands: ``revision`` is its own (None before the first migration), ``head`` is this version's.

    ``ahead`` is a ledger of a newer Headwater; ``pending`` are the migrations that an upgrade would run, in order.
    """

    state: Literal["empty", "behind", "current", "ahead"]
    revision: str | None
    head: str
    pending: tuple[Migration, ...]


def migrations() -> tuple[Migration, ...]:
    """Return all migrations that this version knows, the first one first."""
    from alembic.script import ScriptDirectory

    found = ScriptDirectory.from_config(alembic_config()).walk_revisions()
    steps = [Migration(str(step.revision), _text(step.down_revision), step.doc or "") for step in found]
    return tuple(reversed(steps))


def status(engine: sa.Engine) -> SchemaStatus:
    """Return where the ledger stands, without changing it. Raises LedgerError where its database can't be reached."""
    with engine.connect() as connection:
        revision = current_revision(connection)
    if revision is None:
        return SchemaStatus("empty", None, HEAD, migrations())
    if not is_known(revision):
        return SchemaStatus("ahead", revision, HEAD, ())
    pending = _after(revision)
    return SchemaStatus("behind" if pending else "current", revision, HEAD, pending)


def upgrade(engine: sa.Engine) -> tuple[Migration, ...]:
    """Run the migrations that are missing, in one transaction under a lock, and return those that ran.

    Raises ConfigError when the ledger was written by a newer version of Headwater, LedgerError where its database can't be
    reached.
    """
    with engine.connect() as connection:
        if current_revision(connection) == HEAD:
            return ()
    with write(engine) as connection:
        lock(connection)
        revision = current_revision(connection)
        if revision == HEAD:  # another process was first
            return ()
        _run(connection, revision)
    return _after(revision)


def lock(connection: sa.Connection) -> None:
    """Let one process migrate at a time; SQLite's write transaction does so by itself."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})


def current_revision(connection: sa.Connection) -> str | None:
    """Return the ledger's revision; None when no migration has run."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return _text(connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar())


def is_known(revision: str | None) -> bool:
    """Return whether this version knows a ledger's revision; None, before the first migration, it does."""
    return revision is None or revision in {step.revision for step in migrations()}


def check_known(revision: str | None) -> None:
    """Raise ConfigError for the revision of a newer Headwater."""
    if not is_known(revision):
        raise ConfigError(
            f"The ledger has schema revision {revision}, which this version of Headwater does not know (its own is "
            f"{HEAD}). Upgrade Headwater, or take the ledger back with the newer version (headwater ledger downgrade "
            f"{HEAD}), or point HEADWATER_LEDGER_URL at another database."
        )


def alembic_config(connection: sa.Connection | None = None) -> Config:
    """Return Alembic's configuration, to migrate on ``connection``, whose transaction stays the caller's."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    if connection is not None:
        config.attributes["connection"] = connection
    return config


def _after(revision: str | None) -> tuple[Migration, ...]:
    known = migrations()
    names = [step.revision for step in known]
    return known if revision is None else known[names.index(revision) + 1 :]


def _run(connection: sa.Connection, revision: str | None) -> None:
    from alembic import command

    check_known(revision)
    command.upgrade(alembic_config(connection), "head")


def _text(value: object) -> str | None:
    return None if value is None else str(value)
