"""From a correction to a golden question: what a reviewer confirms is appended to the corpus' evaluation questions.

The gate reads that file at every evaluation, so the next release is checked with the new question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from headwater.answer_log.golden_file import append_line, find_same, question_line
from headwater.answer_log.scrubbing import is_withheld
from headwater.audit import audited
from headwater.errors import ConfigError, NotFoundError
from headwater.hashing import document_id
from headwater.ledger.records import AnswerRecord, FeedbackRecord
from headwater.privacy.actions import WRITTEN
from headwater.stages.evaluation import GoldenQuestion

if TYPE_CHECKING:
    from headwater.corpus import Corpus


@dataclass(frozen=True, slots=True)
class Promotion:
    """The golden question that feedback became. ``added`` is False when the golden set had it already."""

    question: GoldenQuestion
    added: bool
    path: Path


def promote(
    corpus: Corpus,
    feedback_id: str,
    *,
    by: str,
    documents: Sequence[str] = (),
    quotes: Sequence[str] = (),
    question: str | None = None,
    unanswerable: bool = False,
    write: Callable[[str], None] | None = None,
) -> Promotion:
    """Append the question that feedback is about to the golden set, and note that in the ledger.

    ``write`` is given the line in place of the golden set's file, for one that is kept elsewhere.

    ``documents`` are the keys that the reviewer (``by``) confirms to hold the answer, ``quotes`` the words in them, one
    per document in the same order. Without quotes they are the spans that the answer cited in these documents, less
    those that the feedback says are wrong. ``unanswerable`` makes it a question to be refused. ``question`` replaces
    what was asked. Raises ConfigError when the corpus has no golden set, the question is in it with other answers, or
    too little or too much was confirmed, or the file can't be written; NotFoundError for an unknown feedback, document or quote.
    """
    with audited(corpus.ledger, "feedback.promote", corpus=corpus.name, who=by, target=feedback_id) as noted:
        promotion = _promote(corpus, feedback_id, by, documents, quotes, question, unanswerable, write)
        noted.add(counts={"added": int(promotion.added)})
    return promotion


def _promote(
    corpus: Corpus,
    feedback_id: str,
    by: str,
    documents: Sequence[str],
    quotes: Sequence[str],
    question: str | None,
    unanswerable: bool,
    write: Callable[[str], None] | None,
) -> Promotion:
    path = golden_path(corpus)
    feedback = corpus.ledger.one_feedback(corpus.name, feedback_id)
    record = corpus.ledger.answer(feedback.answer_id)
    if record is None:
        raise NotFoundError(f"The answer of feedback {feedback.id!r} is not kept any more.")
    asked = " ".join((question or record.searched or record.question).split())
    if not asked or is_withheld(asked):
        raise ConfigError("The question was not stored, so say what it is: --question TEXT")
    if question is None and WRITTEN.search(asked):
        raise ConfigError(
            "Something in the question was taken for personal data and replaced; say it without: --question TEXT"
        )
    if unanswerable == bool(documents):
        raise ConfigError("Confirm the documents that answer the question (--document KEY), or that none does.")
    answers = tuple(_answers(corpus, feedback, record, documents, quotes))
    line = GoldenQuestion(f"feedback-{feedback.id[:12]}", asked, answers)
    same = find_same(path, line)
    if same is None:
        text = question_line(line, _provenance(feedback, record, by))
        write(text) if write is not None else append_line(path, text)
    note = f"golden question {(same or line).id}"
    corpus.ledger.review_feedback(feedback.id, "promoted", by=by, note=note)
    return Promotion(same or line, same is None, path)


def dismiss(corpus: Corpus, feedback_id: str, *, by: str, reason: str) -> FeedbackRecord:
    """Note that feedback needs nothing done (scrubbed ``reason``). Raises NotFoundError for an unknown one."""
    with audited(corpus.ledger, "feedback.dismiss", corpus=corpus.name, who=by, target=feedback_id):
        feedback = corpus.ledger.one_feedback(corpus.name, feedback_id)
        corpus.ledger.review_feedback(feedback.id, "dismissed", by=by, note=corpus.scrub(reason))
    return corpus.ledger.one_feedback(corpus.name, feedback.id)


def golden_path(corpus: Corpus) -> Path:
    """Return the file of the corpus' golden set, which need not exist yet; ConfigError when none is configured."""
    if corpus.policy.gate.golden is None:
        raise ConfigError(
            f"Corpus {corpus.name!r} has no golden set. Name a file in its defs.yaml: gate: {{golden: golden.jsonl}}"
        )
    return Path(corpus.policy.gate.golden)


def _answers(
    corpus: Corpus, feedback: FeedbackRecord, record: AnswerRecord, documents: Sequence[str], quotes: Sequence[str]
) -> list[tuple[str, str]]:
    if quotes and len(quotes) != len(documents):
        raise ConfigError("Give one quote per document, in the same order, or none.")
    found: list[tuple[str, str]] = []
    given: Sequence[str | None] = quotes or [None] * len(documents)
    for key, words in dict.fromkeys(zip(documents, given, strict=True)):
        text, revision = _document(corpus, key)
        if words is not None:
            quote = " ".join(words.split())
            if not quote or quote not in " ".join(text.split()):
                raise NotFoundError(f"{key}: the quote does not stand in the document as the live release holds it.")
            found.append((key, quote))
            continue
        spans = _spans(feedback, record, key, revision)
        if not spans:
            raise NotFoundError(
                f"{key}: the answer cites no right span of the document as it is now; give the words: --quote TEXT"
            )
        found += [(key, " ".join(text[start:end].split())) for start, end in spans]
    return list(dict.fromkeys(found))


def _document(corpus: Corpus, key: str) -> tuple[str, str]:
    """Return the cleaned text of a document as the live release holds it, and its revision."""
    missing = NotFoundError(f"{key}: there is no such document in the live release of corpus {corpus.name!r}.")
    live = corpus.live()
    if live is None:
        raise missing
    versions = corpus.ledger.release(corpus.name, live).table_versions
    one = pl.col("doc_id") == document_id(corpus.name, key)
    texts = corpus.tables.anonymized_documents.scan(versions["anonymized_documents"])
    objects = corpus.tables.source_objects.scan(versions["source_objects"])
    found = texts.filter(one & (pl.col("state") == "ok")).select("text").collect()
    listed = objects.filter(one).select("revision").collect()
    if found.is_empty() or listed.is_empty():
        raise missing
    return str(found.item()), str(listed.item())


def _spans(feedback: FeedbackRecord, record: AnswerRecord, key: str, revision: str) -> list[tuple[int, int]]:
    """Return the spans of a document that the answer cites and the feedback doesn't call wrong."""
    return [
        (citation["start"], citation["end"])
        for number, sentence in enumerate(record.sentences)
        for place, citation in enumerate(sentence["citations"])
        if (citation["key"], citation["revision"]) == (key, revision)
        and not (
            feedback.kind == "wrong_citation" and feedback.sentence == number and feedback.citation in (None, place)
        )
    ]


def _provenance(feedback: FeedbackRecord, record: AnswerRecord, by: str) -> dict[str, Any]:
    return {
        "feedback": feedback.id,
        "kind": feedback.kind,
        "answer": record.id,
        "release": record.release,
        "promoted_by": by,
        "promoted_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
