"""``headwater requeue``: process objects again, whatever is remembered of them."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from headwater.cli.options import CorpusName
from headwater.cli.output import say


def requeue(
    name: CorpusName,
    keys: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY]...", help="Objects, by their keys (their paths in the bucket).")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; the objects' owners read it in the receipt.")] = "",
    state: Annotated[
        Literal["indexed", "duplicate", "rejected", "quarantined"] | None,
        typer.Option("--state", help="All objects in this state; with keys, those of them."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All objects of the corpus.")] = False,
) -> None:
    """Have objects processed again from their bytes at the next reindex, whatever is remembered of them."""
    from headwater.corpus import open_corpus
    from headwater.requeue import requeue as requeue_objects

    if everything == bool(keys or state):
        raise typer.BadParameter("name objects by KEY, choose them with --state, or take --all (alone)")
    if not reason.strip():
        raise typer.BadParameter("say why, with --reason TEXT")
    with open_corpus(name) as corpus:
        count = requeue_objects(corpus, keys or None, state, reason=reason)
    if count:
        say(f"Requeued {count:,} object{'s' * (count > 1)}. Process now with: headwater reindex {name}")
    else:
        say("No object was in that state; nothing was requeued.")
