"""Reveals: the record of who opened encrypted personal data, and why."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from datetime import UTC, datetime

import sqlalchemy as sa

from headwater.ledger.base import LedgerPart
from headwater.ledger.engine import write
from headwater.ledger.records import RevealRecord
from headwater.ledger.schema import reveals


class Reveals(LedgerPart):
    """The reveals of all corpora."""

    def record_reveal(
        self, corpus: str, *, who: str, reason: str, entities: Mapping[str, int], documents: Collection[str]
    ) -> str:
        """Enter a reveal and return its id: numbers of values by entity, and the ids of documents, never a value."""
        name = uuid.uuid4().hex
        with write(self._engine) as connection:
            connection.execute(
                reveals.insert().values(
                    id=name,
                    corpus=corpus,
                    revealed_at=datetime.now(UTC),
                    who=who,
                    reason=reason,
                    entities=dict(entities),
                    documents=sorted(documents),
                )
            )
        return name

    def reveals(self, corpus: str) -> list[RevealRecord]:
        """Return the reveals of a corpus, newest first."""
        query = sa.select(reveals).where(reveals.c.corpus == corpus).order_by(reveals.c.revealed_at.desc())
        with self._engine.connect() as connection:
            rows = connection.execute(query).mappings()
            return [RevealRecord(**{**row, "documents": tuple(row["documents"])}) for row in rows]
