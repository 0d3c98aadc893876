"""``headwater audit``: who did what."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from headwater.cli.options import AsJson
from headwater.cli.output import print_json, print_table, say


def audit(
    corpus: Annotated[str | None, typer.Option("--corpus", metavar="NAME", help="Only of this corpus.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="WHEN", help="Only from then on: a date, or a period such as 7d.")
    ] = None,
    who: Annotated[str | None, typer.Option("--who", help="Only of this caller, such as key:ID or os:NAME.")] = None,
    action: Annotated[
        str | None, typer.Option("--action", help="Only this, such as answer, or release for all of release.*.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most this many, the newest.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Show the audit log: who did what, when, to which corpus and release, and how much; never any text."""
    from headwater.ledger import Ledger
    from headwater.project import find_project

    project = find_project()
    project.make_home()
    ledger = Ledger(project.ledger_url)
    try:
        start = None if since is None else _moment(since)
        found = ledger.audit_entries(corpus=corpus, since=start, who=who, action=action, limit=limit)
    finally:
        ledger.close()
    if as_json:
        print_json(found)
        return
    if not found:
        say("The audit log has no such entry.")
        return
    rows = [
        (
            f"{entry.at:%Y-%m-%d %H:%M:%S}",
            entry.who,
            entry.action,
            entry.outcome,
            entry.corpus or "-",
            entry.release or "-",
            entry.target or "-",
            ", ".join(f"{name} {count}" for name, count in sorted(entry.counts.items())),
        )
        for entry in found
    ]
    print_table(("when (UTC)", "who", "action", "outcome", "corpus", "release", "target", "counts"), rows)


def _moment(text: str) -> datetime:
    """Return the time that a date, a moment or a period back from now names; without a zone it is UTC."""
    from headwater.api_keys import parse_period
    from headwater.dates import in_utc
    from headwater.errors import ConfigError

    try:
        moment = datetime.fromisoformat(text)
        return in_utc(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))
    except ValueError:
        try:
            return datetime.now(UTC) - parse_period(text)
        except (ConfigError, OverflowError) as error:
            raise typer.BadParameter(
                f"{text!r} is neither a date (2026-05-31) nor a period (7d)", param_hint="--since"
            ) from error
