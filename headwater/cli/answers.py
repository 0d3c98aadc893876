"""``headwater answers``: what is kept of the answers that were given."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from headwater.cli.options import AsJson, CorpusName
from headwater.cli.output import busy, print_json, print_table, say
from headwater.errors import NotFoundError

if TYPE_CHECKING:
    from headwater.answer_log.gaps import Gap
    from headwater.ledger import AnswerRecord


def answers(
    name: CorpusName,
    answer_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Show all that is kept of one answer.")
    ] = None,
    refused: Annotated[bool, typer.Option("--refused", help="Only refusals.")] = False,
    missing: Annotated[
        bool,
        typer.Option("--missing", help="Questions without a good passage, those about the same together."),
    ] = False,
    days: Annotated[int | None, typer.Option("--days", min=1, max=36_500, help="Only the last N days.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most this many, newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the answers that were given, show one, or list what people ask and the documents don't say.

    Questions are kept without personal data, answers by the spans that they cite, and both no longer than the corpus'
    answer.retention_days.
    """
    from headwater.corpus import open_corpus

    with open_corpus(name) as corpus:
        if answer_id is not None:
            record = corpus.ledger.answer(answer_id)
            if record is None or record.corpus != corpus.name:
                raise NotFoundError(f"Corpus {name!r} keeps no answer {answer_id!r}; see: headwater answers {name}")
            print_json(record)
            return
        if missing:
            from headwater.answer_log.gaps import find_gaps

            with busy("Comparing questions"):
                gaps = find_gaps(corpus, days=days, limit=limit)
            print_json(gaps) if as_json else _print_gaps(gaps)
            return
        since = datetime.now(UTC) - timedelta(days=days) if days is not None else None
        found = corpus.ledger.answers(corpus.name, since=since, refused=True if refused else None, limit=limit)
    print_json(found) if as_json else _print_answers(found)


def _print_answers(found: list[AnswerRecord]) -> None:
    if not found:
        say("No answers are kept.")
        return
    print_table(
        ("id", "asked", "release", "question", "outcome", "by", "seconds"),
        [
            (
                record.id,
                f"{record.asked_at.astimezone():%Y-%m-%d %H:%M}",
                record.release,
                record.question,
                _outcome(record),
                record.prompt or record.method,
                f"{record.seconds:.2f}",
            )
            for record in found
        ],
        right=("release", "seconds"),
    )


def _outcome(record: AnswerRecord) -> str:
    words = ["refused" if record.refused else f"{len(record.sentences)} sentences"]
    if record.dropped:
        words.append(f"{len(record.dropped)} left out")
    if record.fallback:
        words.append("quoted instead of written")
    if record.cached:
        words.append("from the cache")
    return ", ".join(words)


def _print_gaps(gaps: list[Gap]) -> None:
    if not gaps:
        say("Every question had a good passage, or none was asked.")
        return
    print_table(
        ("question", "asked", "refused", "best support", "nearest document", "similarity", "last asked"),
        [
            (
                gap.question,
                gap.asked,
                gap.refused,
                _figure(gap.best_support),
                gap.nearest,
                _figure(gap.similarity),
                f"{gap.last_asked.astimezone():%Y-%m-%d}",
            )
            for gap in gaps
        ],
        right=("asked", "refused", "best support", "similarity"),
    )


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
