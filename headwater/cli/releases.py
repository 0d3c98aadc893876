"""``headwater diff``, ``promote``, ``rollback``, ``gc`` and ``erase``: what people do with releases."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from headwater.cli.options import AsJson, CorpusName
from headwater.cli.output import busy, print_json, print_table, say

if TYPE_CHECKING:
    from headwater.releases import ReleaseDiff

Reason = Annotated[str, typer.Option("--reason", help="Why; kept where the next engineer looks.")]

_LISTED = 50
"""Documents named per kind of change; --json names all."""


def diff(
    name: CorpusName,
    before: Annotated[int, typer.Argument(metavar="R1", help="The older release.")],
    after: Annotated[int, typer.Argument(metavar="R2", help="The newer release, or a candidate.")],
    as_json: AsJson = False,
) -> None:
    """Compare two releases: documents added, changed and removed, and golden questions that changed rank."""
    from headwater import releases
    from headwater.corpus import open_corpus

    with open_corpus(name) as corpus:
        found = releases.diff(corpus, before, after)
    if as_json:
        print_json(found)
    else:
        _print_diff(found)


def _print_diff(found: ReleaseDiff) -> None:
    say(f"Release {found.before}: {found.chunks[0]:,} chunks. Release {found.after}: {found.chunks[1]:,} chunks.")
    if not found.documents:
        say("The same documents, processed alike.")
    shown: dict[str, int] = {}
    for change in found.documents:
        shown[change.what] = shown.get(change.what, 0) + 1
        if shown[change.what] == 1:
            say()
            say(f"{_WORDS[change.what]} ({len(found.keys(change.what)):,})", style="bold")
        if shown[change.what] <= _LISTED:
            say(f"  {change.key}")
        elif shown[change.what] == _LISTED + 1:
            say("  ... (all of them with --json)")
    say()
    if found.questions is None:
        say("Golden questions: not compared, because not both releases were evaluated with a golden set.")
    elif not found.questions:
        say("Golden questions: every one ranks its passage as before.")
    else:
        say(f"Golden questions that changed rank ({len(found.questions):,})", style="bold")
        rows = [(q.id, q.before or "not found", q.after or "not found") for q in found.questions]
        print_table(("question", f"rank in {found.before}", f"rank in {found.after}"), rows)


_WORDS = {
    "added": "Added",
    "removed": "Removed",
    "content": "Changed content",
    "permissions": "Changed permissions",
    "processing": "Processed differently",
}


def rollback(
    name: CorpusName,
    release: Annotated[
        int | None, typer.Argument(metavar="[R]", help="A retained release. [default: the newest before live]")
    ] = None,
    reason: Reason = "by command",
    as_json: AsJson = False,
) -> None:
    """Make an older release live again, at once. Reindexes then leave live alone until a release is promoted."""
    from headwater import releases
    from headwater.corpus import open_corpus

    with open_corpus(name) as corpus:
        before = corpus.live()
        now = releases.rollback(corpus, release, reason=reason)
    if as_json:
        print_json({"corpus": name, "live": now, "previous": before})
        return
    say(f"Live release: {now} (was {before}).", style="bold")
    say(f"It stays live until you promote a release: headwater promote {name} R --reason ...")


def promote(
    name: CorpusName,
    release: Annotated[int, typer.Argument(metavar="R", help="A candidate, or a retained release.")],
    reason: Reason = "",
    force: Annotated[bool, typer.Option("--force", help="Although it failed the gate; needs a reason.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a release live: one that was held back by a rollback, or one that failed the gate, with a reason."""
    from headwater import releases
    from headwater.corpus import open_corpus

    with open_corpus(name) as corpus:
        before = corpus.live()
        releases.promote(corpus, release, reason=reason or ("" if force else "by command"), force=force)
    if as_json:
        print_json({"corpus": name, "live": release, "previous": before})
        return
    say(f"Live release: {release} (was {before}).", style="bold")


def gc(name: CorpusName, as_json: AsJson = False) -> None:
    """Drop releases beyond the number to keep, files that no kept release needs, and answers beyond their time."""
    from headwater import releases
    from headwater.corpus import open_corpus

    with open_corpus(name) as corpus, busy("collecting garbage"):
        found = releases.collect_garbage(corpus)
    if as_json:
        print_json(found)
        return
    dropped = ", ".join(map(str, found.releases)) or "none"
    say(f"Releases dropped: {dropped}. Files of the lake removed: {found.files:,}. Answers: {found.answers:,}.")


def erase(
    name: CorpusName,
    key: Annotated[str, typer.Argument(metavar="KEY", help="The object, by its key (its path in the bucket).")],
    reason: Reason = "by command",
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask, as on a terminal.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase a document from the lake's history, every release, caches and answers, and prove that it is gone.

    The object in the bucket is left to its owner; while it stays there unchanged it is not indexed again.
    """
    from headwater.corpus import open_corpus
    from headwater.erase import erase as erase_document

    if not yes and sys.stdin.isatty():
        typer.confirm(f"Erase {key} from {name} for good? Releases can't bring it back.", abort=True, err=True)
    with open_corpus(name) as corpus, busy(f"erasing {key}"):
        receipt = erase_document(corpus, key, reason=reason)
    if as_json:
        print_json(receipt)
    else:
        for line in receipt.lines():
            say(line)
    if receipt.verified.found:
        raise typer.Exit(1)
