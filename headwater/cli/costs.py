"""``headwater costs``: what the reindexes of a corpus cost."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headwater.cli.options import AsJson, CorpusName
from headwater.cli.output import print_json, print_table, say, size

if TYPE_CHECKING:
    from headwater.costs import StageCost

_COLUMNS = ("seconds", "CPU s", "GPU s", "recomputed", "tokens", "read", "written", "money")


def costs(
    name: CorpusName,
    runs: Annotated[int, typer.Option("--runs", min=1, help="At most this many, the newest.")] = 20,
    run: Annotated[
        str | None, typer.Option("--run", metavar="ID", help="The stages of one run; default: the newest.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what the reindexes of a corpus cost: seconds, tokens, bytes, and money where the corpus has prices."""
    from headwater.corpus import open_corpus
    from headwater.costs import folder_bytes, lake_bytes, total
    from headwater.errors import NotFoundError

    with open_corpus(name) as corpus:
        found = corpus.ledger.costs(corpus.name, runs=runs, run=run)
        stored = lake_bytes(corpus.tables.folder) + folder_bytes(corpus.project.index_path(corpus.name))
        prices = corpus.policy.costs
    if run is not None and not found:
        raise NotFoundError(f"Corpus {name!r} has no run {run!r} in its cost ledger; see: headwater costs {name}")
    monthly = prices.gb_month * stored / 1e9 if prices.gb_month is not None else None
    history = [(key, list(stages)) for key, stages in groupby(found, key=lambda cost: cost.run)]
    if as_json:
        print_json(
            {
                "corpus": corpus.name,
                "stored_bytes": stored,
                "stored_money_per_month": monthly,
                "currency": prices.currency,
                "runs": [
                    {"run": key, "at": stages[0].at, **total(stages), "stages": stages} for key, stages in history
                ],
            }
        )
        return
    if not history:
        say(f"No reindex of {corpus.name} is in the cost ledger yet. Make one with: headwater reindex {name}")
        return
    if run is None:
        print_table(
            ("run", "when (UTC)", *_COLUMNS),
            [(key[:12], f"{stages[0].at:%Y-%m-%d %H:%M:%S}", *_cells(total(stages))) for key, stages in history],
            right=_COLUMNS,
        )
        say()
    say(f"Stages of run {history[0][0]}, on {history[0][1][0].machine}", style="bold")
    print_table(("stage", *_COLUMNS), [(cost.stage, *_cells(total([cost]))) for cost in history[0][1]], right=_COLUMNS)
    say()
    kept = f"Lake and embedded index hold {size(stored)}"
    say(f"{kept}, {monthly:,.2f} {prices.currency} per month." if monthly is not None else f"{kept}.")


def summary(costs: Sequence[StageCost]) -> str:
    """Return what a run cost as one line."""
    from headwater.costs import total

    sums: dict[str, Any] = total(costs)
    parts = [f"{sums['cpu_seconds']:,.1f} CPU s"]
    parts += [f"{sums['gpu_seconds']:,.1f} GPU s"] if sums["gpu_seconds"] else []
    parts += [f"{sums['tokens']:,} tokens embedded"] if sums["tokens"] else []
    parts += [f"{size(sums['written_bytes'])} written"] if sums["written_bytes"] else []
    parts += [money(sums["money"], sums["currency"])] if sums["money"] is not None else []
    return ", ".join(parts)


def money(amount: float | None, currency: str | None) -> str:
    """Return an amount for people; small ones keep two digits that say something."""
    if amount is None:
        return ""
    return f"{amount:,.2f} {currency}" if amount >= 1 or not amount else f"{amount:.2g} {currency}"


def _cells(sums: Any) -> tuple[str, ...]:
    return (
        f"{sums['seconds']:,.1f}",
        f"{sums['cpu_seconds']:,.1f}",
        f"{sums['gpu_seconds']:,.1f}" if sums["gpu_seconds"] else "",
        f"{sums['recomputed']:,}",
        f"{sums['tokens']:,}" if sums["tokens"] else "",
        size(sums["read_bytes"]) if sums["read_bytes"] else "",
        size(sums["written_bytes"]) if sums["written_bytes"] else "",
        money(sums["money"], sums["currency"]),
    )
