"""What an erasure gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Verification:
    """A search for what might be left of a document.

    ``probes`` pieces of it (texts, ids, vectors) were looked for in ``files`` files of ``bytes`` bytes (holes not
    counted) and in the ledger. ``found`` counts the probes that were found in a place, and must be 0; ``places`` names
    the places.
    """

    probes: int
    files: int
    bytes: int
    found: int
    places: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Removed:
    """What was removed: rows per lake table, versions rewritten per lake table, points per release (its number as a
    string), cached vectors, and recorded answers."""

    rows: Mapping[str, int]
    versions: Mapping[str, int]
    points: Mapping[str, int]
    vectors: int
    answers: int


@dataclass(frozen=True, slots=True)
class ErasureReceipt:
    """One erased document, without any of its text.

    ``revisions`` are the hashes of the bytes it had. ``copies`` are the keys of other objects with the same text
    (exactly, or as near as the corpus' deduplication asks), which are *not* erased. ``still_listed`` says whether the
    bucket held the object at the time (None: the bucket could not be asked); as long as it is there unchanged it is not
    indexed again. ``attached`` are the keys of what was attached to it, a mail, which was erased with it.
    ``source`` is the URI that the corpus was read from: in another place the object is not looked for.
    """

    corpus: str
    key: str
    doc_id: str
    revisions: tuple[str, ...]
    reason: str
    erased_at: datetime
    removed: Removed
    verified: Verification
    copies: tuple[str, ...]
    still_listed: bool | None
    attached: tuple[str, ...] = ()
    source: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the receipt as JSON values."""
        return {**asdict(self), "erased_at": self.erased_at.isoformat()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ErasureReceipt:
        """Return the receipt that :meth:`as_json` wrote."""
        verified = values["verified"]
        return cls(
            corpus=values["corpus"],
            key=values["key"],
            doc_id=values["doc_id"],
            revisions=tuple(values["revisions"]),
            reason=values["reason"],
            erased_at=datetime.fromisoformat(values["erased_at"]),
            removed=Removed(**values["removed"]),
            verified=Verification(**{**verified, "places": tuple(verified["places"])}),
            copies=tuple(values["copies"]),
            still_listed=values["still_listed"],
            attached=tuple(values.get("attached", ())),
            source=values.get("source"),
        )

    def lines(self) -> list[str]:
        """Return the receipt for people, one statement per line."""
        removed, verified = self.removed, self.verified
        points = ", ".join(f"{count} in release {release}" for release, count in removed.points.items()) or "none"
        lines = [
            f"Erased {self.key} (document {self.doc_id}, {len(self.revisions)} revision(s)): {self.reason}",
            f"Rows of the lake: {sum(removed.rows.values())} in {len(removed.rows)} tables. Points: {points}.",
            f"Cached vectors: {removed.vectors}. Recorded answers: {removed.answers}.",
            f"Looked for {verified.probes} pieces of it in {verified.files:,} files ({verified.bytes:,} bytes) and the "
            f"ledger: {verified.found} found.",
            *(f"Found in {place}" for place in verified.places),
        ]
        if self.attached:
            lines.insert(1, f"With it, what was attached to it: {', '.join(self.attached)}")
        if self.copies:
            lines.append(f"The same text is in these objects, which were not erased: {', '.join(self.copies)}")
        if self.still_listed:
            lines.append("The object is still in the bucket; it stays out of the index until it is changed.")
        elif self.still_listed is None:
            lines.append("The bucket could not be asked whether it still holds the object.")
        return lines
