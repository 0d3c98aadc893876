"""Feedback: what people said of answers, and what became of it in review."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from headwater.errors import NotFoundError
from headwater.ledger.answers import storable
from headwater.ledger.base import LedgerPart
from headwater.ledger.engine import write
from headwater.ledger.records import FeedbackKind, FeedbackRecord, FeedbackState
from headwater.ledger.schema import answers, feedback


class Feedback(LedgerPart):
    """The feedback on the answers of all corpora."""

    def record_feedback(
        self,
        answer_id: str,
        kind: FeedbackKind,
        *,
        by: str,
        sentence: int | None = None,
        citation: int | None = None,
        text: str | None = None,
    ) -> str:
        """Store what ``by`` (the id of a caller) says of an answer, and return the feedback's id.

        ``sentence`` and ``citation`` count from 0; ``text`` must be free of personal data already. A caller has one
        vote (up or down), one correction, and one word on each citation of an answer: what is said again replaces
        what was said before, keeps its id and waits for review anew. Raises NotFoundError for an unknown answer.
        """
        slot = _slot(kind, sentence, citation)
        values: dict[str, Any] = {
            "kind": kind,
            "sentence": sentence,
            "citation": citation,
            "text": None if text is None else storable(text),
            "given_at": datetime.now(UTC),
            "state": "open",
            "reviewed_by": None,
            "reviewed_at": None,
            "note": None,
        }
        with write(self._engine) as connection:
            # Locked, so that two votes of one caller at once become one.
            about = sa.select(answers.c.corpus).where(answers.c.id == answer_id).with_for_update()
            corpus: str | None = connection.execute(about).scalar()
            if corpus is None:
                raise NotFoundError(f"There is no answer {answer_id!r}; answers are kept as long as the corpus says.")
            same = sa.and_(feedback.c.answer_id == answer_id, feedback.c.given_by == by, feedback.c.slot == slot)
            found: str | None = connection.execute(sa.select(feedback.c.id).where(same)).scalar()
            if found is not None:
                connection.execute(feedback.update().where(feedback.c.id == found).values(**values))
                return found
            name = uuid.uuid4().hex
            connection.execute(
                feedback.insert().values(id=name, answer_id=answer_id, corpus=corpus, slot=slot, given_by=by, **values)
            )
        return name

    def feedback(
        self,
        corpus: str,
        *,
        state: FeedbackState | None = None,
        answer_id: str | None = None,
        since: datetime | None = None,
        before: tuple[datetime, str] | None = None,
        limit: int | None = None,
    ) -> list[FeedbackRecord]:
        """Return the feedback on a corpus' answers, newest first: all, or what the arguments narrow it to.

        ``before`` is ``(given_at, id)`` of the last record that the caller has seen.
        """
        query = sa.select(feedback).where(feedback.c.corpus == corpus)
        if state is not None:
            query = query.where(feedback.c.state == state)
        if answer_id is not None:
            query = query.where(feedback.c.answer_id == answer_id)
        if since is not None:
            query = query.where(feedback.c.given_at >= since)
        if before is not None:
            at, name = before
            earlier = sa.and_(feedback.c.given_at == at, feedback.c.id < name)
            query = query.where(sa.or_(feedback.c.given_at < at, earlier))
        query = query.order_by(feedback.c.given_at.desc(), feedback.c.id.desc()).limit(limit)
        with self._engine.connect() as connection:
            return [_record(row) for row in connection.execute(query).mappings()]

    def one_feedback(self, corpus: str, feedback_id: str) -> FeedbackRecord:
        """Return one feedback by its id, or by the beginning of it where that fits one alone; NotFoundError else."""
        query = sa.select(feedback).where(
            feedback.c.corpus == corpus, feedback.c.id.startswith(feedback_id, autoescape=True)
        )
        with self._engine.connect() as connection:
            rows = connection.execute(query.limit(2)).mappings().all()
        if len(rows) != 1:
            how = "more than one" if rows else "no"
            raise NotFoundError(
                f"Corpus {corpus!r} has {how} feedback {feedback_id!r}; see: headwater feedback {corpus} list"
            )
        return _record(rows[0])

    def review_feedback(self, feedback_id: str, state: FeedbackState, *, by: str, note: str | None = None) -> None:
        """Enter what a reviewer decided. Raises NotFoundError when the feedback is gone."""
        values = {"state": state, "reviewed_by": by, "reviewed_at": datetime.now(UTC), "note": note}
        with write(self._engine) as connection:
            changed = connection.execute(feedback.update().where(feedback.c.id == feedback_id).values(**values))
            if changed.rowcount == 0:
                raise NotFoundError(f"There is no feedback {feedback_id!r} any more.")


def _slot(kind: FeedbackKind, sentence: int | None, citation: int | None) -> str:
    if kind in ("thumbs_up", "thumbs_down"):
        return "vote"
    return kind if kind == "correction" else f"{kind}:{sentence}:{citation}"


def _record(row: sa.RowMapping) -> FeedbackRecord:
    return FeedbackRecord(**{name: value for name, value in row.items() if name != "slot"})
