"""``headwater quality``: what was kept and rejected, how the signals lie to their limits, and what other limits would do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from headwater.cli.options import AsJson, CorpusName
from headwater.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    import polars as pl


def quality(
    name: CorpusName,
    review: Annotated[
        int | None, typer.Option("--review", metavar="N", min=1, help="List the N documents nearest to a limit.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--what-if",
            metavar="FIELD=VALUE",
            help="Show what another setting would change, such as min_words=20, gopher.min_words=10 or rules=gopher,c4; "
            "repeatable. Nothing is written.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show kept and rejected documents by reason, and histograms of the signals that decide.

    Everything is read from the stored signals of the last reindex; no document is read.
    """
    from headwater.corpus import open_corpus
    from headwater.quality import MEASURED
    from headwater.quality.report import summary
    from headwater.quality.review import borderline, what_if, with_settings
    from headwater.stages.quality_documents import profiled_verdicts

    with open_corpus(name) as corpus:
        policy = corpus.policy.quality
        other = with_settings(policy, settings or [], MEASURED)
        frame, keys = _stored(corpus)
    judged = profiled_verdicts(frame, policy)
    found: dict[str, Any] = summary(judged, policy)
    if review:
        nearest = borderline(frame, policy, review)
        found["review"] = [{"key": keys[row.pop("row")], **row} for row in nearest.to_dicts()]
    if settings:
        change = what_if(frame, policy, other)
        found["what_if"] = {
            "settings": settings,
            "before": change.before,
            "after": change.after,
            "documents": [{"key": keys[row.pop("row")], **row} for row in change.rows.to_dicts()],
        }
    if as_json:
        print_json(found)
        return
    _print(found)


def _stored(corpus: Any) -> tuple[pl.DataFrame, list[str]]:
    """Return the stored signals of a corpus, and the keys of their documents."""
    import polars as pl

    from headwater.stages.quality_documents import MEASURES

    stored = corpus.tables.quality_documents.scan().filter(pl.col("state") != "quarantined").select("id", *MEASURES)
    keys = corpus.tables.source_objects.scan().select("id", "key")
    frame = stored.join(keys, on="id", how="left").sort("key").collect()
    return frame.drop("key"), frame["key"].to_list()


def _print(found: dict[str, Any]) -> None:
    from headwater.quality.report import BINS, drawn

    total = found["kept"] + found["rejected"]
    say(f"{total:,} documents judged: {found['kept']:,} kept, {found['rejected']:,} rejected", style="bold")
    if "what_if" in found:
        _print_change(found["what_if"])
        return
    if "review" in found:
        _print_review(found["review"])
        return
    print_table(
        ("reason", "documents", "share"),
        [(reason, f"{count:,}", f"{count / total:.1%}") for reason, count in found["reasons"].items()],
        right=("documents", "share"),
    )
    say()
    for label in ("profiles", "languages"):
        say(f"{label}: " + ", ".join(f"{name} {count:,}" for name, count in found[label].items()))
    say()
    say(f"Signals that decide, in {BINS} equal parts of their range (what lies beyond it is in the last):")
    print_table(("signal", "limit", "from", "documents", "to"), drawn(found["histograms"]), right=("from",))


def _print_review(rows: list[dict[str, Any]]) -> None:
    print_table(
        ("key", "verdict", "signal", "value", "limit", "distance"),
        [
            (row["key"], row["reason"], row["signal"], _short(row["value"]), _short(row["limit"]), _percent(row))
            for row in rows
        ],
        right=("value", "limit", "distance"),
    )


def _print_change(change: dict[str, Any]) -> None:
    say(f"With {', '.join(change['settings'])}:")
    before, after = change["before"], change["after"]
    print_table(
        ("reason", "now", "then", "difference"),
        [
            (reason, before.get(reason, 0), after.get(reason, 0), f"{after.get(reason, 0) - before.get(reason, 0):+,}")
            for reason in dict.fromkeys([*before, *after])
        ],
        right=("now", "then", "difference"),
    )
    say()
    documents = change["documents"]
    say(f"{len(documents):,} documents would change:" if documents else "No document would change.")
    if documents:
        print_table(("key", "now", "then"), [(row["key"], row["before"], row["after"]) for row in documents])


def _short(value: float) -> str:
    return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _percent(row: dict[str, Any]) -> str:
    return f"{row['distance']:+.1%}"
