"""``headwater snapshots``: what a Qdrant server keeps of a corpus beside its collections."""

from __future__ import annotations

from typing import Annotated

import typer

from headwater.cli.options import AsJson, CorpusName
from headwater.cli.output import busy, print_json, print_table, say, size

app = typer.Typer(no_args_is_help=True, help="Snapshots that the Qdrant server takes, in its own store.")


@app.command()
def take(name: CorpusName, as_json: AsJson = False) -> None:
    """Let the server take a snapshot of every release of a corpus."""
    from headwater.corpus import open_corpus
    from headwater.snapshots import take_snapshot

    with open_corpus(name) as corpus, busy("taking a snapshot"):
        snapshot = take_snapshot(corpus)
    if as_json:
        print_json(snapshot)
    else:
        say(f"Took snapshot {snapshot.id}: {len(snapshot.files)} collections, {size(snapshot.bytes)}.")


@app.command("list")
def show(name: CorpusName, as_json: AsJson = False) -> None:
    """List the snapshots of a corpus, newest first."""
    from headwater.corpus import open_corpus
    from headwater.snapshots import list_snapshots

    with open_corpus(name) as corpus:
        found = list_snapshots(corpus)
    if as_json:
        print_json(found)
        return
    rows = [
        (
            snapshot.id,
            f"{snapshot.created_at:%Y-%m-%d %H:%M}",
            ", ".join(map(str, sorted(snapshot.registry.releases))),
            size(snapshot.bytes),
        )
        for snapshot in found
    ]
    print_table(("snapshot", "taken (UTC)", "releases", "size"), rows, right=("size",))


@app.command()
def restore(
    name: CorpusName,
    snapshot: Annotated[str, typer.Argument(metavar="SNAPSHOT", help="Which one; see headwater snapshots list.")],
    as_json: AsJson = False,
) -> None:
    """Put a snapshot in place. Permissions taken away since stay so; newer releases are built from the lake."""
    from headwater.corpus import open_corpus
    from headwater.snapshots import restore_snapshot

    with open_corpus(name) as corpus, busy("restoring a snapshot"):
        report = restore_snapshot(corpus, snapshot)
    if as_json:
        print_json(report)
        return
    built = ", ".join(map(str, report.releases))
    say(f"Restored snapshot {snapshot}." + (f" Built from the lake: releases {built}." if built else ""))
