"""From a correction to a golden question: what a reviewer confirms is appended to the corpus' evaluation questions.

The gate reads that file at every evaluation, so the next release is checked with the new question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from headwater.answer_log.golden_file import append_line, find_same, question_line
from headwater.answer_log.scrubbing import is_withheld
from headwater.audit import audited
from headwater.errors import ConfigError, NotFoundError
from headwater.hashing import digest, document_id
from headwater.ledger.records import AnswerRecord, FeedbackRecord
from headwater.privacy.actions import WRITTEN
from headwater.releases import KEPT
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
    live = corpus.live()
    for key, words in dict.fromkeys(zip(documents, given, strict=True)):
        document = None if live is None else _document(corpus, key, live)
        if document is None:
            raise NotFoundError(f"{key}: there is no such document in the live release of corpus {corpus.name!r}.")
        stands = " ".join(document.text.split())
        if words is not None:
            quote = " ".join(words.split())
            if not quote or quote not in stands:
                raise NotFoundError(f"{key}: the quote does not stand in the document as the live release holds it.")
            found.append((key, quote))
            continue
        right = [quote for quote in _quotes(corpus, feedback, record, key, document) if quote and quote in stands]
        if not right:
            raise NotFoundError(
                f"{key}: the answer cites no right span of the document as it is now; give the words: --quote TEXT"
            )
        found += [(key, quote) for quote in right]
    return list(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class _Document:
    """The cleaned text of a document as a release holds it, and its revision."""

    text: str
    revision: str


def _document(corpus: Corpus, key: str, release: int) -> _Document | None:
    versions = corpus.ledger.release(corpus.name, release).table_versions
    one = pl.col("doc_id") == document_id(corpus.name, key)
    texts = corpus.tables.anonymized_documents.scan(versions["anonymized_documents"])
    objects = corpus.tables.source_objects.scan(versions["source_objects"])
    found = texts.filter(one & (pl.col("state") == "ok")).select("text").collect()
    listed = objects.filter(one).select("revision").collect()
    return None if found.is_empty() or listed.is_empty() else _Document(str(found.item()), str(listed.item()))


def _quotes(corpus: Corpus, feedback: FeedbackRecord, record: AnswerRecord, key: str, live: _Document) -> Iterator[str]:
    """Yield the words of a document that the answer cites and the feedback doesn't call wrong.

    Spans are of the text that the answer's release holds: other settings make another text of the same revision. Where
    that release is gone, a sentence's digest says whether it stands at its place in the live text, word for word.
    """
    kept = corpus.ledger.release(corpus.name, record.release).state in KEPT
    then = _document(corpus, key, record.release) if kept else None
    for number, sentence in enumerate(record.sentences):
        for place, citation in enumerate(sentence["citations"]):
            wrong = feedback.kind == "wrong_citation" and feedback.sentence == number
            if (citation["key"], citation["revision"]) != (key, live.revision) or (
                wrong and feedback.citation in (None, place)
            ):
                continue
            quote = (then or live).text[citation["start"] : citation["end"]]
            if then is not None or digest(quote) == sentence["digest"]:
                yield " ".join(quote.split())


def _provenance(feedback: FeedbackRecord, record: AnswerRecord, by: str) -> dict[str, Any]:
    return {
        "feedback": feedback.id,
        "kind": feedback.kind,
        "answer": record.id,
        "release": record.release,
        "promoted_by": by,
        "promoted_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
