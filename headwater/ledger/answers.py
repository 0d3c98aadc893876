"""Answers: what is needed to reproduce them, without any document text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from headwater.hashing import digest, document_id
from headwater.ledger.base import LedgerPart
from headwater.ledger.engine import write
from headwater.ledger.records import AnswerRecord
from headwater.ledger.schema import answers, erasures
from headwater.types import Answer, Citation, Passage, Principal, Sentence

_ROWS = 500
"""Rows read at a time: bounds memory."""

_TUPLES = ("groups", "passages", "sentences", "dropped")


class Answers(LedgerPart):
    """The answers of all corpora."""

    def record_answer(
        self,
        corpus: str,
        answer: Answer,
        *,
        passages: Sequence[Passage],
        principal: Principal,
        parameters: Mapping[str, Any],
        seconds: float,
        scrub: Callable[[str], str],
    ) -> None:
        """Store what is needed to reproduce ``answer``; no passage, sentence or quote text is kept.

        ``parameters`` must be JSON values. ``scrub`` takes personal data out of the question and of what was searched
        for (:func:`headwater.answer_log.scrubber`); neither is stored otherwise. Nothing is stored of an answer from passages of
        a document that was erased meanwhile.
        """
        question = storable(scrub(answer.question))
        # Most answers search for the question itself, which need not be looked through twice.
        same = answer.searched == answer.question
        usage = answer.usage
        values = {
            "id": answer.id,
            "corpus": corpus,
            "release": answer.release,
            "question": question,
            "searched": question if same else storable(scrub(answer.searched)) if answer.searched else "",
            "asked_at": datetime.now(UTC),
            "principal": principal.name,
            "groups": sorted(principal.groups),
            "method": answer.method,
            "prompt": answer.prompt,
            "model": answer.model,
            "fallback": answer.fallback,
            "parameters": dict(parameters),
            "passages": [_passage(passage) for passage in passages],
            "sentences": [_sentence(sentence) for sentence in answer.sentences],
            "dropped": list(answer.dropped),
            "refused": answer.refused,
            "reason": answer.reason,
            "prompt_tokens": usage.prompt_tokens if usage else None,
            "completion_tokens": usage.completion_tokens if usage else None,
            "cost": usage.cost if usage else None,
            "seconds": seconds,
            "timings": dict(answer.timings),
            "conversation": answer.conversation,
            "turn": answer.turn,
            "cached": answer.cached,
        }
        with write(self._engine) as connection:
            # A document may have been erased while the answer was being written: its traces are gone by now.
            erased = sa.and_(
                erasures.c.corpus == corpus,
                erasures.c.doc_id.in_(_owners(corpus, passages)),
                erasures.c.lifted_at.is_(None),
            )
            if connection.execute(sa.select(erasures.c.id).where(erased).limit(1)).first() is None:
                connection.execute(answers.insert().values(**values))

    def answer(self, answer_id: str) -> AnswerRecord | None:
        """Return the record of one answer, None when there is none of that id."""
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(answers).where(answers.c.id == answer_id)).mappings().first()
        return None if row is None else _record(row)

    def answers(
        self,
        corpus: str,
        *,
        since: datetime | None = None,
        before: tuple[datetime, str] | None = None,
        refused: bool | None = None,
        limit: int = 100,
    ) -> list[AnswerRecord]:
        """Return at most ``limit`` answers of a corpus, newest first, asked at ``since`` or later.

        ``before`` is ``(asked_at, id)`` of the last record that the caller has seen.
        """
        query = sa.select(answers).where(answers.c.corpus == corpus)
        if since is not None:
            query = query.where(answers.c.asked_at >= since)
        if refused is not None:
            query = query.where(answers.c.refused == refused)
        if before is not None:
            at, name = before
            earlier = sa.and_(answers.c.asked_at == at, answers.c.id < name)
            query = query.where(sa.or_(answers.c.asked_at < at, earlier))
        query = query.order_by(answers.c.asked_at.desc(), answers.c.id.desc()).limit(limit)
        with self._engine.connect() as connection:
            return [_record(row) for row in connection.execute(query).mappings()]

    def each_answer(self, corpus: str, since: datetime | None = None) -> Iterator[AnswerRecord]:
        """Yield the answers of a corpus asked at ``since`` or later, oldest first, without holding all of them."""
        query = sa.select(answers).where(answers.c.corpus == corpus)
        if since is not None:
            query = query.where(answers.c.asked_at >= since)
        query = query.order_by(answers.c.asked_at, answers.c.id)
        with self._engine.connect().execution_options(stream_results=True) as connection:
            for part in connection.execute(query).mappings().partitions(_ROWS):
                yield from map(_record, part)

    def answer_ids(self, corpus: str) -> set[str]:
        """Return the ids of all answers of a corpus that are kept."""
        with self._engine.connect() as connection:
            return set(connection.execute(sa.select(answers.c.id).where(answers.c.corpus == corpus)).scalars())

    def expire_answers(self, corpus: str, before: datetime) -> int:
        """Delete the answers asked earlier than ``before``, with what was said of them; return how many there were."""
        old = sa.and_(answers.c.corpus == corpus, answers.c.asked_at < before)
        with write(self._engine) as connection:
            return connection.execute(answers.delete().where(old)).rowcount


def storable(text: str) -> str:
    """Return text that both databases take: PostgreSQL no NUL, neither lone surrogates (undecodable bytes)."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "?")


def _record(row: sa.RowMapping) -> AnswerRecord:
    return AnswerRecord(**{**row, **{name: tuple(row[name]) for name in _TUPLES}})


def _owners(corpus: str, passages: Sequence[Passage]) -> set[str]:
    """Return the ids of the documents, and of the mails that they are attached to: a mail is erased with all that is in it."""
    from headwater.source.attachments import SEPARATOR

    found = {passage.doc_id for passage in passages}
    for key in {passage.key for passage in passages}:
        parts = key.split(SEPARATOR)
        found |= {document_id(corpus, SEPARATOR.join(parts[:count])) for count in range(1, len(parts))}
    return found


def _passage(passage: Passage) -> dict[str, Any]:
    names = ("chunk_id", "doc_id", "key", "revision", "start", "end", "score")
    return {name: getattr(passage, name) for name in names}


def _sentence(sentence: Sentence) -> dict[str, Any]:
    return {
        "support": sentence.support,
        "verdict": sentence.verdict,
        "digest": digest(sentence.text),
        "characters": len(sentence.text),
        "alignments": [asdict(alignment) for alignment in sentence.alignments],
        "citations": [_citation(citation) for citation in sentence.citations],
    }


def _citation(citation: Citation) -> dict[str, Any]:
    names = ("doc", "key", "revision", "chunk_id", "start", "end", "page")
    return {name: getattr(citation, name) for name in names}
