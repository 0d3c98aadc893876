"""The ledger's answers and feedback as tables of the lake: figures for analysis, one row each, without any text.

A question is text that people typed and that retention and erasures have to reach, so it stays in the ledger alone. What
is here says how answers are, not what was asked: it may be read with Polars, DuckDB or Spark and be compared over years.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from headwater.answer_log.retention import expire_answers
from headwater.hashing import digest
from headwater.ledger.records import AnswerRecord, FeedbackRecord

if TYPE_CHECKING:
    from headwater.corpus import Corpus
    from headwater.lake import Table

_TIME = pa.timestamp("us", tz="UTC")
_ROW = [("id", pa.string()), ("doc_id", pa.string()), ("fingerprint", pa.string())]

ANSWER_LOG = pa.schema(
    [
        *_ROW,
        ("asked_at", _TIME),
        ("release", pa.int64()),
        ("method", pa.string()),
        ("prompt", pa.string()),
        ("model", pa.string()),
        ("refused", pa.bool_()),
        ("fallback", pa.bool_()),
        ("cached", pa.bool_()),
        ("sentences", pa.int64()),
        ("answer_characters", pa.int64()),
        ("best_support", pa.float64()),
        ("dropped", pa.list_(pa.string())),
        ("passages_read", pa.int64()),
        ("cited_documents", pa.int64()),
        ("conversation", pa.string()),
        ("turn", pa.int64()),
        ("prompt_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
        ("cost", pa.float64()),
        ("answer_seconds", pa.float64()),
    ]
)
"""One row per answer; ``id`` is the answer's. ``doc_id`` is empty, as an answer belongs to no one document."""

FEEDBACK = pa.schema(
    [
        *_ROW,
        ("answer_id", pa.string()),
        ("given_at", _TIME),
        ("kind", pa.string()),
        ("sentence", pa.int64()),
        ("citation", pa.int64()),
        ("has_text", pa.bool_()),
        ("review", pa.string()),
        ("reviewed_at", _TIME),
    ]
)
"""One row per feedback; ``id`` is the feedback's."""

OVERLAP = timedelta(hours=1)
"""How far back an update looks again: an answer's time is taken a moment before its row is there to be read."""


@dataclass(frozen=True, slots=True)
class LogReport:
    """What an update did: rows there are now, rows that are new or changed, rows that left, the table's version (None
    before its first row), and answers that were too old to be kept."""

    rows: int
    written: int
    removed: int
    version: int | None
    expired: int = 0


def update_answer_log(corpus: Corpus, now: datetime | None = None) -> LogReport:
    """Bring the table ``answer_log`` up to date with the ledger, after what is too old has left that.

    Only answers asked since the last update are read. Raises LeaseError while a reindex or an erasure runs.
    """
    with corpus.writing():
        expired = expire_answers(corpus, now)
        table = corpus.tables.answer_log
        known = _known(table, "asked_at")
        newest = known["asked_at"].max()
        since = newest - OVERLAP if isinstance(newest, datetime) else None
        ids = set(known["id"])
        rows = [
            row
            for record in corpus.ledger.each_answer(corpus.name, since)
            if (row := answer_row(record))["id"] not in ids
        ]
        gone = sorted(ids - corpus.ledger.answer_ids(corpus.name))
        return _write(table, rows, gone, known.height, expired)


def update_feedback(corpus: Corpus) -> LogReport:
    """Bring the table ``feedback`` up to date with the ledger: what is new, replaced, reviewed or gone.

    Raises LeaseError while a reindex or an erasure runs.
    """
    with corpus.writing():
        table = corpus.tables.feedback
        known = _known(table, "fingerprint")
        before = dict(known.select("id", "fingerprint").iter_rows())
        rows = [feedback_row(record) for record in corpus.ledger.feedback(corpus.name)]
        changed = [row for row in rows if before.get(row["id"]) != row["fingerprint"]]
        gone = sorted(before.keys() - {row["id"] for row in rows})
        new = sum(row["id"] not in before for row in changed)
        report = _write(table, changed, gone, known.height)
        return LogReport(known.height + new - len(gone), report.written, report.removed, report.version)


def _known(table: Table, column: str) -> pl.DataFrame:
    """Return id and ``column`` of what the table holds; nothing of a table with the columns of another version."""
    if table.exists() and not table.same_schema():
        return pl.DataFrame(schema={"id": pl.String, column: pl.Datetime if column.endswith("_at") else pl.String})
    return table.read(["id", column])


def _write(
    table: Table, rows: Sequence[Mapping[str, Any]], gone: Sequence[str], before: int, expired: int = 0
) -> LogReport:
    from headwater.driver import change_batches

    fits = table.exists() and table.same_schema()
    if not rows and not gone and (fits or not table.exists()):
        return LogReport(before, 0, 0, table.version(), expired)
    batches = pa.Table.from_pylist(list(rows), schema=table.schema).to_batches()
    if fits:
        table.change(change_batches(table.schema, batches, gone))
    else:
        table.replace(batches)
    return LogReport(before + len(rows) - len(gone), len(rows), len(gone), table.version(), expired)


def answer_row(record: AnswerRecord) -> dict[str, Any]:
    """Return the row of :data:`ANSWER_LOG` for an answer."""
    sentences = record.sentences
    row = {
        "asked_at": record.asked_at,
        "release": record.release,
        "method": record.method,
        "prompt": record.prompt,
        "model": record.model,
        "refused": record.refused,
        "fallback": record.fallback is not None,
        "cached": record.cached,
        "sentences": len(sentences),
        # Answers of before lengths were kept have none.
        "answer_characters": _total(sentence.get("characters") for sentence in sentences),
        "best_support": max((float(sentence["support"]) for sentence in sentences), default=None),
        "dropped": list(record.dropped),
        "passages_read": len(record.passages),
        "cited_documents": len({citation["doc"] for sentence in sentences for citation in sentence["citations"]}),
        # The caller's name for it may say more than is needed to count turns.
        "conversation": digest(record.corpus, record.conversation) if record.conversation is not None else None,
        "turn": record.turn,
        "prompt_tokens": record.prompt_tokens,
        "completion_tokens": record.completion_tokens,
        "cost": record.cost,
        "answer_seconds": record.seconds,
    }
    return _identified(record.id, row)


def feedback_row(record: FeedbackRecord) -> dict[str, Any]:
    """Return the row of :data:`FEEDBACK` for a feedback."""
    row = {
        "answer_id": record.answer_id,
        "given_at": record.given_at,
        "kind": record.kind,
        "sentence": record.sentence,
        "citation": record.citation,
        "has_text": record.text is not None,
        "review": record.state,
        "reviewed_at": record.reviewed_at,
    }
    return _identified(record.id, row)


def _identified(name: str, row: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": name, "doc_id": "", "fingerprint": digest(name, *row.values()), **row}


def _total(lengths: Iterable[int | None]) -> int | None:
    known = list(lengths)
    return None if None in known else sum(length or 0 for length in known)
