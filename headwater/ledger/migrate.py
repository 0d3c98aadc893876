"""Bringing the ledger's schema up to date: cheap when it is, safe when several processes find that it isn't."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from headwater.errors import ConfigError
from headwater.ledger.engine import write
from headwater.ledger.schema import HEAD

MIGRATIONS = Path(__file__).parent / "migrations"

ADVISORY_LOCK = 0x48656164
"""Key of the PostgreSQL advisory lock under which one process migrates ("Head" in ASCII)."""


def upgrade(engine: sa.Engine) -> None:
    """Run the migrations that are missing, in one transaction under a lock.

    Raises ConfigError when the ledger was written by a newer version of Headwater.
    """
    with engine.connect() as connection:
        if _revision(connection) == HEAD:
            return
    with write(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        revision = _revision(connection)
        if revision != HEAD:  # another process may have been first
            _run(connection, revision)


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _run(connection: sa.Connection, revision: str | None) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise ConfigError(
            f"The ledger has schema revision {revision}, which this version of Headwater does not know. "
            "Upgrade Headwater, or point HEADWATER_LEDGER_URL at another database."
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
