"""Answers: what is needed to reproduce them, without any document text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from headwater.hashing import digest
from headwater.ledger.base import LedgerPart
from headwater.ledger.engine import write
from headwater.ledger.records import AnswerRecord
from headwater.ledger.schema import answers
from headwater.types import Answer, Citation, Passage, Principal, Sentence


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
        scrub: Callable[[str], str] | None = None,
    ) -> None:
        """Store what is needed to reproduce ``answer``; no passage, sentence or quote text is kept.

        ``parameters`` must be JSON values. ``scrub`` is applied to the question before it is stored.
        """
        with write(self._engine) as connection:
            connection.execute(
                answers.insert().values(
                    id=answer.id,
                    corpus=corpus,
                    release=answer.release,
                    question=_storable(scrub(answer.question) if scrub else answer.question),
                    asked_at=datetime.now(UTC),
                    principal=principal.name,
                    groups=sorted(principal.groups),
                    method=answer.method,
                    parameters=dict(parameters),
                    passages=[_passage(passage) for passage in passages],
                    sentences=[_sentence(sentence) for sentence in answer.sentences],
                    refused=answer.refused,
                    reason=answer.reason,
                    seconds=seconds,
                )
            )

    def answer(self, answer_id: str) -> AnswerRecord | None:
        """Return the record of one answer, None when there is none of that id."""
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(answers).where(answers.c.id == answer_id)).mappings().first()
        if row is None:
            return None
        lists = {name: tuple(row[name]) for name in ("groups", "passages", "sentences")}
        return AnswerRecord(**{**row, **lists})


def _storable(text: str) -> str:
    """PostgreSQL takes no NUL, neither database takes lone surrogates (a terminal's undecodable bytes)."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "?")


def _passage(passage: Passage) -> dict[str, Any]:
    names = ("chunk_id", "doc_id", "key", "revision", "start", "end", "score")
    return {name: getattr(passage, name) for name in names}


def _sentence(sentence: Sentence) -> dict[str, Any]:
    return {
        "support": sentence.support,
        "digest": digest(sentence.text),
        "citations": [_citation(citation) for citation in sentence.citations],
    }


def _citation(citation: Citation) -> dict[str, Any]:
    names = ("doc", "key", "revision", "chunk_id", "start", "end", "page")
    return {name: getattr(citation, name) for name in names}
