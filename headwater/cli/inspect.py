"""``headwater status``, ``receipts`` and ``releases``: how a corpus stands."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from headwater.cli.costs import summary
from headwater.cli.options import AsJson, CorpusName
from headwater.cli.output import print_json, print_table, say, size

if TYPE_CHECKING:
    from headwater.receipts import Receipt


def status(name: CorpusName, as_json: AsJson = False) -> None:
    """Show the live release and how many objects are in each end state."""
    from headwater.cli.reindex import accounts
    from headwater.corpus import open_corpus

    with open_corpus(name) as corpus:
        found = corpus.status()
        costs = corpus.ledger.costs(corpus.name, runs=1)
    if as_json:
        print_json(found)
        return
    say(f"Corpus {found.name}", style="bold")
    if found.live is None:
        say(f"No live release yet. Build one with: headwater reindex {name}")
    else:
        say(f"Live release {found.live}, published {_when(found.last_release_at)}, {found.chunks:,} chunks")
    if found.candidate is not None:
        say(f"Release {found.candidate} is not live; see: headwater releases {name}")
    say(accounts(found.listed, found.states))
    if costs:
        say(f"Last reindex: {_when(costs[0].at)}, {sum(c.seconds for c in costs):,.1f} s, {summary(costs)}")


def receipts(
    name: CorpusName,
    key: Annotated[
        str | None, typer.Argument(metavar="KEY", help="One object, by its key (its path in the bucket).")
    ] = None,
    state: Annotated[
        Literal["indexed", "duplicate", "rejected", "quarantined", "pending"] | None,
        typer.Option("--state", help="Only objects in this state."),
    ] = None,
    prefix: Annotated[str, typer.Option("--prefix", metavar="PREFIX", help="Only keys that start so.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show what became of every object, or of one: searchable, duplicate, rejected or quarantined, and why.

    An object is pending until a reindex has finished with its newest revision.
    """
    from headwater.corpus import open_corpus
    from headwater.receipts import read_receipts
    from headwater.source.keys import composed

    with open_corpus(name) as corpus:
        if key is not None:
            found = [
                r
                for r in corpus.receipts(key)
                if state in (None, r.state) and composed(r.key).startswith(composed(prefix))
            ]
        else:
            found = read_receipts(corpus.name, corpus.tables, corpus.ledger, prefix=prefix, state=state)
    if as_json:
        print_json(found)
    elif key is not None:
        for receipt in found:
            _print_receipt(receipt)
    else:
        print_table(
            ("key", "state", "reason", "since", "release", "chunks", "what it means"),
            [(r.key, r.state, r.reason, _when(r.since), r.release, r.chunks or "", _meaning(r)) for r in found],
            right=("release", "chunks"),
        )


def _meaning(receipt: Receipt) -> str:
    kept = f" Kept: {receipt.survivor} (similarity {receipt.similarity or 0:.2f})." if receipt.survivor else ""
    return f"{receipt.message}{kept} {receipt.advice}".strip()


def _print_receipt(receipt: Receipt) -> None:
    lines = [
        ("state", f"{receipt.state} ({receipt.reason})"),
        ("means", receipt.message),
        ("what to do", receipt.advice),
        ("attached to", receipt.parent),
        ("attachments", ", ".join(receipt.attachments)),
        ("copies", ", ".join(receipt.duplicates)),
        ("kept instead", receipt.survivor and f"{receipt.survivor} (similarity {receipt.similarity or 0:.2f})"),
        ("since", _when(receipt.since)),
        ("release", receipt.release),
        ("chunks", receipt.chunks or None),
        ("size", size(receipt.size)),
        ("modified", _when(receipt.modified)),
        ("requeued", receipt.requeued),
        ("document", receipt.doc_id),
        ("revision", receipt.revision),
    ]
    say(receipt.key, style="bold")
    for label, value in lines:
        if value not in (None, ""):
            say(f"  {label + ':':<14}{value}")


def releases(name: CorpusName, as_json: AsJson = False) -> None:
    """List the releases of a corpus, newest first, with the checks that failed."""
    from headwater.corpus import open_corpus

    with open_corpus(name) as corpus:
        found = corpus.releases()
    if as_json:
        print_json(found)
        return
    print_table(
        ("release", "state", "built from", "created", "published", "points", "checks", "reason"),
        [
            (
                release.number,
                release.state,
                release.parent,
                _when(release.created_at),
                _when(release.published_at),
                release.counts.get("points"),
                _checks(release.checks),
                release.reason,
            )
            for release in found
        ],
        right=("release", "built from", "points"),
    )


def _checks(checks: object) -> str:
    rows = list(checks) if isinstance(checks, (list, tuple)) else []
    failed = [f"{c['name']} = {c['figure']:g} (threshold {c['threshold']:g})" for c in rows if not c["passed"]]
    return "failed: " + ", ".join(failed) if failed else f"{len(rows)} passed" if rows else ""


def _when(moment: datetime | None) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else ""
