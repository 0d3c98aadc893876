"""``headwater plan``: what a reindex would do, before it is done."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from headwater.cli.costs import money
from headwater.cli.options import AsJson, CorpusName
from headwater.cli.output import print_json, print_table, say, size

if TYPE_CHECKING:
    from headwater.plan import Plan

_NUMBERS = ("rows", "removed", "time", "CPU h", "GPU h", "tokens", "read", "written", "money")


def plan(
    name: CorpusName,
    confirm_removals: Annotated[
        bool,
        typer.Option(
            "--confirm-removals",
            help="Go on although the listing lost more objects than source.max_removed_share allows.",
        ),
    ] = False,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes that open changed mails.")] = None,
    sample: Annotated[
        bool,
        typer.Option(
            help="Load an embedding model that the corpus has no run of, and time some seconds of it.",
        ),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Show what a reindex would compute, and about how long it would take and cost. Nothing is written.

    The bucket is listed and compared with what is known. A number with ~ is an estimate: it hangs on texts that nobody
    has read yet.
    """
    from headwater.cli.progress import stage_progress
    from headwater.corpus import open_corpus
    from headwater.plan import plan_reindex

    with open_corpus(name) as corpus, stage_progress(f"plan {corpus.name}", 1) as progress:
        found = plan_reindex(corpus, progress, confirm_removals=confirm_removals, workers=workers, sample=sample)
    if as_json:
        print_json({**asdict(found), "nothing": found.nothing})
        return
    _print(found)


def _print(found: Plan) -> None:
    say(
        f"{found.listed:,} objects in the bucket: {found.added:,} new, {found.changed:,} changed; "
        f"{found.removed:,} are gone"
    )
    if found.nothing:
        say("Nothing to do: a reindex would compute no row.", style="bold")
        return
    rows = [
        (
            stage.stage,
            _count(stage.rows, stage.exact),
            _count(stage.removed, stage.exact) if stage.removed else "",
            duration(stage.seconds),
            f"{stage.cpu_seconds / 3600:,.3f}",
            f"{stage.gpu_seconds / 3600:,.3f}" if stage.gpu_seconds else "",
            f"~{stage.tokens:,}" if stage.tokens else "",
            size(stage.read_bytes) if stage.read_bytes else "",
            size(stage.written_bytes) if stage.written_bytes else "",
            money(stage.money, found.currency),
            found.rates[stage.stage],
        )
        for stage in found.stages
    ]
    print_table(("stage", *_NUMBERS, "rates"), rows, right=_NUMBERS)
    say()
    parts = [
        f"About {duration(found.seconds)}",
        f"{found.cpu_seconds / 3600:,.3f} CPU hours",
        *([f"{found.gpu_seconds / 3600:,.3f} GPU hours"] if found.gpu_seconds else []),
        f"{size(found.written_bytes)} written",
        *([money(found.money, found.currency)] if found.money is not None else []),
    ]
    say(", ".join(parts), style="bold")
    if found.stored_money_per_month is not None:
        say(f"What is written costs about {money(found.stored_money_per_month, found.currency)} per month to keep.")
    if "own" in found.rates.values():
        say("Rates marked own are those of this corpus' runs in the cost ledger (headwater costs), wherever they ran.")
    if found.sampled_texts:
        say(
            f"No run tells how fast this embedding model is: {found.sampled_texts:,} texts were embedded here in "
            f"{duration(found.sampled_seconds)} to find out (--no-sample leaves that out)."
        )
    if found.new_model:
        say("No run tells how fast this embedding model is: the time of embeddings is another model's.")
    if "shipped" in found.rates.values():
        say(f"Rates marked shipped were measured on {found.shipped_machine}. This is {found.machine}.")


def _count(count: int, exact: bool) -> str:
    return f"{count:,}" if exact else f"~{count:,}"


def duration(seconds: float) -> str:
    """Return a duration for people."""
    if seconds < 60:
        return f"{seconds:,.1f} s"
    return f"{seconds / 60:,.1f} min" if seconds < 3600 else f"{seconds / 3600:,.1f} h"
