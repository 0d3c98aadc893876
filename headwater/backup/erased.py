"""What was erased after a backup was taken must not come back with it.

The erasures that the ledger at hand knows outlast a restore (:mod:`headwater.ledger.transfer`); others come from a list.
Each is carried out again on what was restored, and keeps its tombstone: the object as it was listed when it was erased.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater.erase import erase
from headwater.errors import BackupError, NotFoundError
from headwater.hashing import document_id
from headwater.ledger.records import ErasureRecord

if TYPE_CHECKING:
    from headwater.corpus import Corpus


@dataclass(frozen=True, slots=True)
class Erased:
    """A document that came back with a backup and was erased again; ``proved`` that nothing of it is left."""

    corpus: str
    key: str
    proved: bool


def known_erasures(file: Path) -> list[ErasureRecord]:
    """Return the erasures of a JSON Lines file. Raises BackupError, with the line, for what is none."""
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BackupError(f"The list of erasures {file} can't be read ({type(error).__name__}).") from error
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found.append(erasure_of(json.loads(line)))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BackupError(
                f'{file}:{number}: not an erasure; a line is at least {{"corpus": "...", "key": "..."}}.'
            ) from error
    return found


def erased_since(
    known: Sequence[ErasureRecord],
    listed: Sequence[ErasureRecord],
    noted: Sequence[ErasureRecord],
    stored: Collection[tuple[str, datetime]],
    since: datetime,
) -> list[ErasureRecord]:
    """Return what was erased after a backup was taken, one erasure per key.

    ``known`` are the ledger's, newest first, ``listed`` those of a list, and ``noted`` those that a restore which was
    interrupted found: it may have changed the ledger's. What counts is what the backup does not have among its own:
    ``stored`` are their (id, erased_at). What has no id, because somebody wrote it down, is compared with ``since``
    (UTC), when the backup was taken.
    """

    def later(record: ErasureRecord) -> bool:
        return (record.id, record.erased_at) not in stored if record.id else record.erased_at >= since

    # The last of a key stays: the newest of the ledger.
    return list({record.key: record for record in (*listed, *reversed(known), *noted) if later(record)}.values())


def erase_again(corpus: Corpus, wanted: Sequence[ErasureRecord]) -> list[Erased]:
    """Carry out erasures again on what was restored; return what had come back."""
    return [found for record in wanted if (found := _erase(corpus, record)) is not None]


def _erase(corpus: Corpus, record: ErasureRecord) -> Erased | None:
    reason = str(record.receipt.get("reason") or "erased before a backup was restored")
    came_back = None
    try:
        receipt = erase(corpus, record.key, reason=reason, restoring=True)
    except NotFoundError:
        new: dict[str, Any] = dict(record.receipt)
    else:
        new = receipt.as_json()
        if receipt.erased_at > record.erased_at:  # else nothing was there: it is the receipt of then
            came_back = Erased(corpus.name, record.key, not receipt.verified.found)
    # As it was: an object that was put back since, or changed, must not stay out, and one that stayed must.
    if record.lifted_at is None or came_back is not None:
        corpus.ledger.record_erasure(
            corpus.name,
            key=record.key,
            doc_id=record.doc_id,
            revision=record.revision,
            etag=record.etag,
            size=record.size,
            last_modified=record.last_modified,
            receipt=new,
        )
    if record.lifted_at is not None:
        corpus.ledger.lift_erasures(corpus.name, [record.key])
    return came_back


def row_of(record: ErasureRecord) -> dict[str, Any]:
    """Return an erasure as JSON values, of which :func:`erasure_of` makes it again."""
    row = asdict(record)
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}


def erasure_of(row: dict[str, Any]) -> ErasureRecord:
    """Return a row of a backup, or of a list, which may lack everything but ``corpus`` and ``key``."""

    def moment(name: str) -> datetime | None:
        if not row.get(name):
            return None
        found = datetime.fromisoformat(row[name])
        return found if found.tzinfo is not None else found.replace(tzinfo=UTC)

    return ErasureRecord(
        id=row.get("id", ""),
        corpus=row["corpus"],
        key=row["key"],
        doc_id=row.get("doc_id") or document_id(row["corpus"], row["key"]),
        revision=row.get("revision"),
        etag=row.get("etag"),
        size=row.get("size"),
        last_modified=moment("last_modified"),
        receipt=dict(row.get("receipt") or {}),
        erased_at=moment("erased_at") or datetime.now(UTC),
        lifted_at=moment("lifted_at"),
    )
