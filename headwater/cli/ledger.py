"""``headwater ledger``: the schema of the ledger's database, before and after a change of version."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headwater.cli.options import AsJson
from headwater.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    import sqlalchemy as sa

    from headwater.ledger.migrate import SchemaStatus

app = typer.Typer(no_args_is_help=True, help="The schema of the ledger's database.")

_MEANING = {
    "empty": "No migration has run.",
    "behind": "Written by an older Headwater; the next command that opens it, or headwater ledger upgrade, migrates it.",
    "current": "Nothing to do.",
    "ahead": "Written by a newer Headwater: upgrade this one, or take the ledger back with the newer one.",
}


@app.command()
def status(
    check: Annotated[
        bool, typer.Option("--check", help="Exit with code 1 unless the schema is this version's: for start-up probes.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say which schema revision the ledger has, and which migrations are missing. Changes nothing."""
    from headwater.ledger.migrate import status as read

    with _engine() as engine:
        found = read(engine)
    _show(found, as_json)
    if check and found.state != "current":
        raise typer.Exit(1)


@app.command()
def upgrade(as_json: AsJson = False) -> None:
    """Run the migrations that are missing: all of them or none. Several processes may do so at once.

    Every command and service does so by itself when it opens the ledger. Run it as a step of its own where new pods
    should start only once it is done, or where only one account may change the schema.
    """
    from headwater.audit import audited
    from headwater.ledger.audit import UnmigratedAuditLog
    from headwater.ledger.migrate import Migration
    from headwater.ledger.migrate import status as read
    from headwater.ledger.migrate import upgrade as run

    ran: tuple[Migration, ...] = ()
    with _engine() as engine:
        before = read(engine)
        if before.state != "current":
            with audited(UnmigratedAuditLog(engine), "ledger.upgrade", target=before.head) as noted:
                ran = run(engine)
                noted.add(counts={"migrations": len(ran)})
        after = read(engine)
    if as_json:
        print_json({"before": before.revision, "after": after.revision, "ran": ran})
    elif ran:
        say(f"The ledger went from schema revision {before.revision or 'none'} to {after.revision}.")
    else:
        say(f"The ledger has schema revision {after.revision} already.")


@app.command()
def downgrade(
    revision: Annotated[
        str, typer.Argument(metavar="REVISION", help="That of the older version: its own headwater ledger status.")
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Although the older schema has no place for some of it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take the ledger back to an older schema, before an older version of Headwater is installed.

    Stop everything that has the ledger open first: a process of this version would migrate it again. All rows that the
    older version knows stay.
    """
    from headwater.audit import audited
    from headwater.ledger.audit import UnmigratedAuditLog
    from headwater.ledger.downgrade import downgrade as run

    with _engine() as engine, audited(UnmigratedAuditLog(engine), "ledger.downgrade", target=revision) as noted:
        loss = run(engine, revision, force=force)
        noted.add(counts={"rows": sum(loss.rows.values()), "columns": len(loss.columns)})
    if as_json:
        print_json({"revision": revision, "rows": loss.rows, "columns": loss.columns})
        return
    say(f"The ledger has schema revision {revision} now.")
    if lost := str(loss):
        say(f"Given up: {lost}.")


@contextmanager
def _engine() -> Iterator[sa.Engine]:
    """Open the database of the project at hand, without migrating it."""
    from headwater.ledger.engine import create_engine
    from headwater.project import find_project

    engine = create_engine(find_project().ledger_url)
    try:
        yield engine
    finally:
        engine.dispose()


def _show(found: SchemaStatus, as_json: bool) -> None:
    if as_json:
        print_json(_fields(found))
        return
    say(f"{found.state}: schema revision {found.revision or 'none'}, this version's is {found.head}.", style="bold")
    say(_MEANING[found.state])
    if found.pending:
        print_table(("missing", "brings"), [(step.revision, step.brings) for step in found.pending])


def _fields(found: SchemaStatus) -> dict[str, Any]:
    return {name: getattr(found, name) for name in ("state", "revision", "head", "pending")}
