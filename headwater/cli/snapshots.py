"""``headwater snapshots``: what a Qdrant server keeps of a corpus beside its collections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headwater.cli.options import AsJson, CorpusName
from headwater.cli.output import busy, print_error, print_json, print_table, say, size

if TYPE_CHECKING:
    from headwater.index.snapshots import Snapshot

app = typer.Typer(no_args_is_help=True, help="Snapshots that the Qdrant server takes, in its own store.")


@app.command()
def take(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="Corpus; without: every one that is on a Qdrant server and has a release.",
            show_default=False,
        ),
    ] = None,
    wait: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", min=0, help="Wait so long for a reindex that is at work.")
    ] = 0.0,
    keep: Annotated[
        int | None,
        typer.Option(
            "--keep", metavar="N", min=1, help="Delete older snapshots of the corpus, so that N stay; default: none."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Let the server take a snapshot of every release of a corpus, or of all corpora."""
    from headwater.corpus import open_corpus
    from headwater.snapshots import take_snapshot

    if name is None:
        _take_all(wait, keep, as_json)
        return
    with open_corpus(name) as corpus, busy("taking a snapshot"):
        snapshot = take_snapshot(corpus, wait=wait, keep=keep)
    if as_json:
        print_json(snapshot)
    else:
        say(_taken(snapshot))


def _take_all(wait: float, keep: int | None, as_json: bool) -> None:
    """Take them corpus by corpus: where one can't be taken, those after it still are, and the exit code is 1."""
    from headwater.corpus import open_corpus
    from headwater.errors import HeadwaterError
    from headwater.project import find_project
    from headwater.snapshots import take_snapshot

    taken: dict[str, Snapshot] = {}
    failed = False
    for name in find_project().corpus_names():
        try:
            with open_corpus(name) as corpus, busy(f"taking a snapshot of {name}"):
                if corpus.policy.index.url is None or not corpus.releases():
                    continue
                taken[name] = take_snapshot(corpus, wait=wait, keep=keep)
        except HeadwaterError as error:
            failed = True
            print_error(f"{name}: {error}")
            continue
        if not as_json:
            say(f"{name}: {_taken(taken[name])}")
    if as_json:
        print_json(taken)
    elif not taken and not failed:
        say("No corpus is on a Qdrant server and has a release: nothing to take.")
    if failed:
        raise typer.Exit(1)


def _taken(snapshot: Snapshot) -> str:
    return f"Took snapshot {snapshot.id}: {len(snapshot.files)} collections, {size(snapshot.bytes)}."


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
