"""What changed in the bucket: the listing against the rows of the last one."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from headwater.driver import table_report
from headwater.errors import SourceError
from headwater.hashing import digest, document_id
from headwater.lake import Table
from headwater.policies import AccessRule, SourcePolicy
from headwater.reports import Progress, StageReport
from headwater.source.access import PermissionsError, read_sidecar, readers_of
from headwater.source.keys import SIDECAR, KeyFilter
from headwater.source.listed import Listed
from headwater.source.listing import ListingDigest, list_objects
from headwater.source.store import MissingObject, hash_object, open_store
from headwater.source.table import STAGE, fingerprint, stored_rows, write_rows

if TYPE_CHECKING:
    from obstore.store import ObjectStore

    from headwater.ledger import ErasureRecord, Ledger

GUARDED_OBJECTS = 2
"""From this many known objects on, the lost share is looked at; it says nothing about a single one."""

_UNREAD = ("unreadable", "too_large", "erased")
"""Reasons of rows whose revision is not that of their bytes."""

_NOBODY: Mapping[str, Any] = {"readers": [], "sidecar": None, "error": None}


def sync_objects(
    corpus: str,
    policy: SourcePolicy,
    access: Sequence[AccessRule],
    max_bytes: int,
    table: Table,
    progress: Progress,
    *,
    confirm_removals: bool = False,
    ledger: Ledger | None = None,
) -> StageReport:
    """Bring ``table`` up to date with the bucket; ``details["listing"]`` is the digest of the listing worked on.

    ``ledger`` knows which objects were erased: they stay out while they are listed as they were, and the erasure of
    one that changed or left is lifted. Raises SourceError, before anything is removed, when the listing fails, is empty
    while objects are known, or lost more than the policy's share of them; ``confirm_removals`` allows the latter two.
    """
    started = time.perf_counter()
    store = open_store(policy.uri)
    before = stored_rows(table)
    listing = _list(policy)
    erased = {e.key: e for e in ledger.erasures(corpus) if e.lifted_at is None} if ledger is not None else {}
    sync = _Sync(corpus, store, access, max_bytes, before, listing.sidecars, erased)
    progress.start(STAGE, len(listing.documents))
    if not confirm_removals:
        _check_removals(policy, before, {document_id(corpus, entry.key) for entry in listing.documents})
    present, changed = set(), []
    for entry in listing.documents:
        doc_id, row = sync.row(entry)
        if doc_id is not None:
            present.add(doc_id)
        if row is not None:
            changed.append(row)
        progress.advance(STAGE, 1)
    removed = [doc_id for doc_id in sync.known if doc_id not in present]
    if changed or removed or not table.exists() or not table.same_schema():
        write_rows(table, changed, removed, before)
    lifted = [key for key in erased if key not in sync.kept_out]
    if ledger is not None and lifted:
        ledger.lift_erasures(corpus, lifted)
    report = table_report(
        STAGE,
        table,
        recomputed=len(changed),
        removed=len(removed),
        seconds=time.perf_counter() - started,
        details={"listing": listing.digest.hexdigest(), "sidecars": len(listing.sidecars), "read": sync.read},
    )
    progress.finish(report)
    return report


@dataclass(slots=True)
class _Listing:
    documents: list[Listed] = field(default_factory=list)
    sidecars: dict[str, Listed] = field(default_factory=dict)
    digest: ListingDigest = field(default_factory=ListingDigest)


def _list(policy: SourcePolicy) -> _Listing:
    """Return the whole listing; ``sidecars`` are by the key of the document they belong to."""
    listing = _Listing()
    for entry in list_objects(policy.uri, KeyFilter(policy.include, policy.exclude)):
        listing.digest.add(entry)
        if entry.key.endswith(SIDECAR):
            listing.sidecars[entry.key.removesuffix(SIDECAR)] = entry
        else:
            listing.documents.append(entry)
    return listing


def _check_removals(policy: SourcePolicy, before: pl.DataFrame, present: set[str]) -> None:
    """Raise SourceError when so much is gone that the listing itself is in doubt."""
    known = before.height
    lost = sum(1 for doc_id in before["id"] if doc_id not in present)
    too_many = known >= GUARDED_OBJECTS and lost > policy.max_removed_share * known
    if not lost or (present and not too_many):
        return
    what = (
        f"lost {lost} of {known} objects, more than max_removed_share = {policy.max_removed_share:g} allows"
        if present
        else f"is empty, but {known} {'object is' if known == 1 else 'objects are'} known"
    )
    raise SourceError(
        f"The listing of {policy.uri} {what}. Nothing was removed. If this is right, confirm it: run `headwater reindex "
        "NAME --confirm-removals`, or in Dagster launch the reindex with the run config "
        "`resources: {headwater: {config: {confirm_removals: true}}}`."
    )


class _Sync:
    """Turns listed objects into rows, reading as little as possible."""

    def __init__(
        self,
        corpus: str,
        store: ObjectStore,
        access: Sequence[AccessRule],
        max_bytes: int,
        before: pl.DataFrame,
        sidecars: Mapping[str, Listed],
        erased: Mapping[str, ErasureRecord],
    ) -> None:
        self.known = {row["id"]: row for row in before.iter_rows(named=True)}
        self.kept_out: set[str] = set()
        """Keys of objects that were erased and are still there."""
        self.read = 0
        """Objects whose bytes were read."""
        self._corpus = corpus
        self._store = store
        self._access = access
        self._max_bytes = max_bytes
        self._sidecars = sidecars
        self._erased = erased

    def row(self, entry: Listed) -> tuple[str | None, dict[str, Any] | None]:
        """Return the object's id, and its new row unless that is the one there is.

        The id is None for a folder's marker, which S3 tools write as an empty object and which can't be read.
        """
        doc_id = document_id(self._corpus, entry.key)
        before = self.known.get(doc_id)
        try:
            verdict = self._bytes(entry, before)
        except MissingObject:
            if entry.size == 0:
                return None, None
            verdict = _unread(entry, "unreadable", "It was deleted while it was being read.")
        access = self._readers(entry, before) if verdict["reason"] != "erased" else _NOBODY
        if verdict["state"] == "ok" and access["error"]:
            verdict |= {"state": "quarantined", "reason": "bad_permissions", "error": access["error"]}
        same_bytes = before is not None and before["revision"] == verdict["revision"]
        requeued = before["requeued"] if before is not None and same_bytes else None
        row = {
            "id": doc_id,
            "doc_id": doc_id,
            "fingerprint": fingerprint(entry.key, verdict["revision"], requeued),
            "state": verdict["state"],
            "reason": verdict["reason"],
            "error": verdict["error"],
            "key": entry.key,
            "revision": verdict["revision"],
            "size": entry.size,
            "etag": entry.etag,
            "last_modified": entry.last_modified,
            "readers": access["readers"],
            "sidecar": access["sidecar"],
            "requeued": requeued,
        }
        return doc_id, None if row == before else row

    def _bytes(self, entry: Listed, before: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the object's state, reason, error and revision; MissingObject when it is gone."""
        if self._is_erased(entry):
            self.kept_out.add(entry.key)
            return {**_unread(entry, "erased", None), "state": "rejected"}
        if entry.problem is not None:
            return _unread(entry, "unreadable", entry.problem)
        if entry.size > self._max_bytes:
            limit = f"{entry.size} bytes are more than max_bytes = {self._max_bytes}."
            return _unread(entry, "too_large", limit)
        if (
            before is not None
            and before["reason"] not in _UNREAD
            and (before["etag"], before["size"], before["last_modified"])
            == (entry.etag, entry.size, entry.last_modified)
        ):
            return {"state": "ok", "reason": "ok", "error": None, "revision": before["revision"]}
        try:
            revision = hash_object(self._store, entry.key)
        except MissingObject:
            raise
        except SourceError as failure:
            return _unread(entry, "unreadable", f"Reading failed with {type(failure.__cause__ or failure).__name__}.")
        self.read += 1
        return {"state": "ok", "reason": "ok", "error": None, "revision": revision}

    def _is_erased(self, entry: Listed) -> bool:
        erasure = self._erased.get(entry.key)
        if erasure is None:
            return False
        pairs = (
            (erasure.etag, entry.etag),
            (erasure.size, entry.size),
            (erasure.last_modified, entry.last_modified),
        )
        # What is unknown of the erased object decides nothing, but something must say that it is the same one.
        known = [(then, now) for then, now in pairs if then is not None]
        return bool(known) and all(then == now for then, now in known)

    def _readers(self, entry: Listed, before: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return who may read the object, by which sidecar, and an error where the sidecar doesn't say it."""
        sidecar = self._sidecars.get(entry.key)
        if sidecar is None:
            return {"readers": readers_of(entry.key, self._access), "sidecar": None, "error": None}
        seen = digest(sidecar.etag, sidecar.size, sidecar.last_modified, sidecar.problem)
        if before is not None and before["sidecar"] == seen and before["reason"] in ("ok", "bad_permissions"):
            return {"readers": before["readers"], "sidecar": seen, "error": before["error"]}
        try:
            return {"readers": read_sidecar(self._store, sidecar), "sidecar": seen, "error": None}
        except PermissionsError as error:
            return {"readers": [], "sidecar": seen, "error": f"{sidecar.key}: {error}"}
        except SourceError as error:
            cause = type(error.__cause__ or error).__name__
            return {"readers": [], "sidecar": None, "error": f"{sidecar.key} could not be read ({cause})."}


def _unread(entry: Listed, reason: str, error: str | None) -> dict[str, Any]:
    """Return the verdict on an object whose bytes were not read."""
    revision = digest("unread", entry.etag, entry.size, entry.last_modified)
    return {"state": "quarantined", "reason": reason, "error": error, "revision": revision}
