"""Erasures: the tombstones of erased documents, and removing what the ledger itself knows of them."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from headwater.errors import LakeError
from headwater.ledger.base import LedgerPart
from headwater.ledger.engine import write
from headwater.ledger.records import ErasureRecord
from headwater.ledger.schema import answers, erasures, feedback, metadata

_ROWS = 200
"""Rows read and given at a time by :meth:`Erasures.texts`: bounds memory."""


class Erasures(LedgerPart):
    """The erasures of all corpora."""

    def record_erasure(
        self,
        corpus: str,
        *,
        key: str,
        doc_id: str,
        revision: str | None,
        etag: str | None,
        last_modified: datetime | None,
        receipt: Mapping[str, Any],
        size: int | None = None,
    ) -> str:
        """Enter an erasure and return its id; ``receipt`` must be JSON values without document text.

        ``etag``, ``size`` and ``last_modified`` are the object's as listed: while it is still listed like that, it
        stays out. An erasure of the same key that is in force is replaced, and keeps its id.
        """
        values: dict[str, Any] = {
            "doc_id": doc_id,
            "revision": revision,
            "etag": etag,
            "size": size,
            "last_modified": last_modified,
            "receipt": dict(receipt),
            "erased_at": datetime.now(UTC),
        }
        with write(self._engine) as connection:
            in_force = sa.and_(erasures.c.corpus == corpus, erasures.c.key == key, erasures.c.lifted_at.is_(None))
            found: str | None = connection.execute(sa.select(erasures.c.id).where(in_force).with_for_update()).scalar()
            if found is not None:
                connection.execute(erasures.update().where(erasures.c.id == found).values(**values))
                return found
            name = uuid.uuid4().hex
            connection.execute(erasures.insert().values(id=name, corpus=corpus, key=key, **values))
        return name

    def erasures(self, corpus: str, key: str | None = None) -> list[ErasureRecord]:
        """Return the erasures of a corpus (of one key), newest first, also those that were lifted."""
        query = sa.select(erasures).where(erasures.c.corpus == corpus).order_by(erasures.c.erased_at.desc())
        if key is not None:
            query = query.where(erasures.c.key == key)
        with self._engine.connect() as connection:
            return [ErasureRecord(**row) for row in connection.execute(query).mappings()]

    def lift_erasures(self, corpus: str, keys: Collection[str]) -> None:
        """Let these keys be indexed again; keys without an erasure in force are no error."""
        with write(self._engine) as connection:
            for key in keys:
                connection.execute(
                    erasures.update()
                    .where(erasures.c.corpus == corpus, erasures.c.key == key, erasures.c.lifted_at.is_(None))
                    .values(lifted_at=datetime.now(UTC))
                )

    def forget_answers(self, corpus: str, doc_id: str, *, phrases: Collection[str] = ()) -> int:
        """Delete the answers whose passages or citations name the document; return how many there were.

        Answers of any corpus whose question has one of ``phrases`` (text of the document) go with them, and so does
        all feedback on what is deleted, or that has such a phrase itself.
        """
        named = sa.and_(
            answers.c.corpus == corpus,
            sa.or_(
                sa.cast(answers.c.passages, sa.Text).contains(doc_id, autoescape=True),
                sa.cast(answers.c.sentences, sa.Text).contains(doc_id, autoescape=True),
            ),
        )
        with write(self._engine) as connection:
            count = connection.execute(answers.delete().where(named)).rowcount
            for phrase in phrases:
                asked = (answers.c.question, answers.c.searched)
                quoting = sa.or_(*(column.contains(phrase, autoescape=True) for column in asked))
                count += connection.execute(answers.delete().where(quoting)).rowcount
                said = sa.or_(
                    *(column.contains(phrase, autoescape=True) for column in (feedback.c.text, feedback.c.note))
                )
                connection.execute(feedback.delete().where(said))
        return count

    def files(self) -> list[Path]:
        """Return the database's files that exist; none for a server."""
        url = self._engine.url
        if url.get_backend_name() != "sqlite" or not url.database:
            return []
        paths = [Path(url.database + end) for end in ("", "-wal", "-shm", "-journal")]
        return [path for path in paths if path.exists()]

    def texts(self) -> Iterator[tuple[str, list[str | None]]]:
        """Yield everything the ledger holds as text, as (table, values) in parts of bounded size."""
        with self._engine.connect().execution_options(yield_per=_ROWS) as connection:
            for table in metadata.sorted_tables:
                for column in table.columns:
                    if isinstance(column.type, (sa.String, sa.JSON)):
                        values = connection.execute(sa.select(sa.cast(column, sa.Text)))
                        for part in values.scalars().partitions():
                            yield table.name, list(part)

    def compact(self) -> None:
        """Leave no byte of deleted rows in the database's files.

        SQLite: the file is rewritten and the write-ahead log cut to nothing. PostgreSQL: the table is rewritten (its
        write-ahead log and backups are the server's to expire). Raises LakeError when another process keeps an old
        state of the SQLite file open for longer than the busy timeout.
        """
        if self._engine.dialect.name == "postgresql":
            with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("VACUUM (FULL) answers")
                connection.exec_driver_sql("VACUUM (FULL) feedback")
            return
        with contextlib.closing(self._engine.raw_connection()) as raw:
            cursor = raw.cursor()
            cursor.execute("VACUUM")
            busy = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            cursor.close()
        if busy:
            raise LakeError(
                "The ledger's write-ahead log could not be emptied, because another process is reading an old state "
                "of it. Try again; if it stays so, stop the services of this project first."
            )
