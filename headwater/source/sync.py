"""What changed in the bucket: the listing against the rows of the last one.

An object that may be a mail is opened when its bytes are read for their hash, and what is attached to it gets rows of
its own behind it. An unchanged mail is not opened again: its attachments are those of the last listing.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from headwater.costs import note
from headwater.driver import table_report
from headwater.errors import SourceError
from headwater.hashing import digest, document_id
from headwater.lake import Table
from headwater.policies import AccessRule, ParsePolicy, SourcePolicy
from headwater.reports import Progress, StageReport
from headwater.source.access import PermissionsError, read_sidecar, readers_of
from headwater.source.attachments import NO_MAIL, SEPARATOR, Expansion, expand_mails, mark_of, may_be_mail
from headwater.source.keys import SIDECAR, KeyFilter, composed
from headwater.source.listed import Listed
from headwater.source.listing import ListingDigest, list_objects
from headwater.source.store import MissingObject, ReplacedObject, hash_object, open_store, read_head
from headwater.source.table import STAGE, fingerprint, stored_rows, write_rows

if TYPE_CHECKING:
    from obstore.store import ObjectStore

    from headwater.ledger import ErasureRecord, Ledger

GUARDED_OBJECTS = 2
"""From this many known objects on, the lost share is looked at; it says nothing about a single one."""

_UNREAD = ("unreadable", "too_large", "erased")
"""Reasons of rows whose revision is not that of their bytes."""

_PERMITTED = ("state", "reason", "error", "readers", "sidecar")
"""What an object's permissions decide of its row, and of the rows of what is attached to it."""

_DEFAULT_PARSE = ParsePolicy()

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
    parse: ParsePolicy = _DEFAULT_PARSE,
    workers: int | None = None,
) -> StageReport:
    """Bring ``table`` up to date with the bucket; ``details["listing"]`` is the digest of the listing worked on.

    Takes and raises what :func:`compare_objects` does. The erasure of an object that changed or left is lifted. Of a
    listing that is in doubt the changed permissions of what is in it are kept, before that is raised.
    """
    started = time.perf_counter()
    try:
        found = compare_objects(
            corpus,
            policy,
            access,
            max_bytes,
            table,
            progress,
            confirm_removals=confirm_removals,
            ledger=ledger,
            parse=parse,
            workers=workers,
        )
    except DoubtfulListingError as doubt:
        if doubt.permissions:
            write_rows(table, doubt.permissions, [], doubt.before)
        raise
    if found.changed or found.removed or not table.exists() or not table.same_schema():
        write_rows(table, found.changed, found.removed, found.before)
    if ledger is not None and found.lifted:
        ledger.lift_erasures(corpus, found.lifted)
    report = table_report(
        STAGE,
        table,
        recomputed=len(found.changed),
        removed=len(found.removed),
        seconds=time.perf_counter() - started,
        details=dict(found.details),
    )
    progress.finish(report)
    return report


class DoubtfulListingError(SourceError):
    """A listing that lost so much that it is not believed.

    ``before`` are the rows of the last listing, ``permissions`` those of them that have other readers by now: of objects
    that are listed, and of what is attached to them. All else in these is as it was.
    """

    def __init__(self, message: str, before: pl.DataFrame, permissions: Sequence[dict[str, Any]]) -> None:
        super().__init__(message)
        self.before = before
        self.permissions = permissions


@dataclass(frozen=True, slots=True)
class Comparison:
    """The bucket against the rows of the last listing: those rows, new or changed ones, ids that left.

    ``lifted`` are keys whose erasure is over; ``details`` says what was listed and read.
    """

    before: pl.DataFrame
    changed: Sequence[dict[str, Any]]
    removed: Sequence[str]
    lifted: Sequence[str]
    details: Mapping[str, Any]


def compare_objects(
    corpus: str,
    policy: SourcePolicy,
    access: Sequence[AccessRule],
    max_bytes: int,
    table: Table,
    progress: Progress,
    *,
    confirm_removals: bool = False,
    ledger: Ledger | None = None,
    parse: ParsePolicy = _DEFAULT_PARSE,
    workers: int | None = None,
    hash_new: bool = True,
) -> Comparison:
    """List the bucket and compare it with ``table``; nothing is written.

    ``parse`` has the limits within which mails are opened, by at most ``workers`` processes. ``ledger`` knows which
    objects were erased: they stay out while they are listed as they were. Without ``hash_new`` an object that was never
    seen is not read beyond its first bytes, unless these may be a mail's: its row is complete but for the revision.

    Raises SourceError when the listing fails, DoubtfulListingError when it is empty while objects are known, or lost more
    than the policy's share of them; ``confirm_removals`` allows the latter two.
    """
    store = open_store(policy.uri)
    before = stored_rows(table)
    listing = _list(policy)
    erased = {e.key: e for e in ledger.erasures(corpus) if e.lifted_at is None} if ledger is not None else {}
    sync = _Sync(corpus, policy, store, access, max_bytes, parse, before, listing, erased, hash_new=hash_new)
    progress.start(STAGE, len(listing.documents))
    if not confirm_removals:
        doubt = _doubt(policy, before, {document_id(corpus, entry.key) for entry in listing.documents})
        if doubt is not None:
            raise DoubtfulListingError(doubt, before, sync.permissions())
    for index, expansion in expand_mails(sync.mails(progress), parse, workers):
        sync.expanded(index, expansion)
    return Comparison(
        before=before,
        changed=sync.changed,
        removed=[doc_id for doc_id in sync.known if doc_id not in sync.present],
        lifted=[key for key in erased if not sync.keeps_out(key)],
        details={
            "listing": listing.digest.hexdigest(),
            "sidecars": sum(len(found) for found in listing.sidecars.values()),
            "read": sync.read,
            "attachments": sync.attachments,
        },
    )


@dataclass(slots=True)
class _Listing:
    documents: list[Listed] = field(default_factory=list)
    sidecars: dict[str, list[Listed]] = field(default_factory=dict)
    digest: ListingDigest = field(default_factory=ListingDigest)


def _list(policy: SourcePolicy) -> _Listing:
    """Return the whole listing; ``sidecars`` are by the key of the document they belong to, in composed form."""
    listing = _Listing()
    for entry in list_objects(policy.uri, KeyFilter(policy.include, policy.exclude)):
        listing.digest.add(entry)
        if entry.key.endswith(SIDECAR):
            listing.sidecars.setdefault(composed(entry.key.removesuffix(SIDECAR)), []).append(entry)
        else:
            listing.documents.append(entry)
    return listing


def _doubt(policy: SourcePolicy, before: pl.DataFrame, present: set[str]) -> str | None:
    """Return what speaks against a listing in which so much is gone that it is in doubt itself; None if it is not.

    What was attached to mails is no part of a listing.
    """
    listed = before.filter(pl.col("parent").is_null())["id"]
    known = len(listed)
    lost = sum(1 for doc_id in listed if doc_id not in present)
    too_many = known >= GUARDED_OBJECTS and lost > policy.max_removed_share * known
    if not lost or (present and not too_many):
        return None
    what = (
        f"lost {lost} of {known} objects, more than max_removed_share = {policy.max_removed_share:g} allows"
        if present
        else f"is empty, but {known} {'object is' if known == 1 else 'objects are'} known"
    )
    return (
        f"The listing of {policy.uri} {what}. Nothing was removed. If this is right, confirm it: run `headwater reindex "
        "NAME --confirm-removals`, or in Dagster launch the reindex with the run config "
        "`resources: {headwater: {config: {confirm_removals: true}}}`."
    )


class _Sync:
    """Turns listed objects, and what is attached to them, into rows, reading as little as possible."""

    def __init__(
        self,
        corpus: str,
        policy: SourcePolicy,
        store: ObjectStore,
        access: Sequence[AccessRule],
        max_bytes: int,
        parse: ParsePolicy,
        before: pl.DataFrame,
        listing: _Listing,
        erased: Mapping[str, ErasureRecord],
        *,
        hash_new: bool,
    ) -> None:
        self._hash_new = hash_new
        self.known = {row["id"]: row for row in before.iter_rows(named=True)}
        self.present: set[str] = set()
        """Ids of all objects that are there now."""
        self.changed: list[dict[str, Any]] = []
        """Rows that are not as they were."""
        self.read = 0
        """Objects whose bytes were read."""
        self.attachments = 0
        """Objects that are attached to a mail."""
        self._corpus = corpus
        self._uri = policy.uri
        self._keep = KeyFilter(policy.include, policy.exclude)
        self._exclude = policy.exclude
        self._store = store
        self._access = access
        self._max_bytes = max_bytes
        self._parse = parse
        self._documents = listing.documents
        self._sidecars = listing.sidecars
        self._described = Counter(
            name for entry in listing.documents if (name := composed(entry.key)) in listing.sidecars
        )
        self._erased = erased
        self._erased_attached = [key for key in erased if SEPARATOR in key]
        self._kept_out: set[str] = set()
        self._unopened: list[str] = []
        self._waiting: list[dict[str, Any]] = []
        # Keys that look like those of attachments; what is really attached gives way to them.
        self._like_attached = frozenset(entry.key for entry in listing.documents if SEPARATOR in entry.key)
        self._mark = mark_of(parse, policy.exclude, ())
        self._attached: dict[str, list[Mapping[str, Any]]] = {}
        for row in self.known.values():
            if row["parent"] is not None:
                self._attached.setdefault(row["parent"], []).append(row)

    def mails(self, progress: Progress) -> Iterator[tuple[bytes, str]]:
        """Go through the listing; yield bytes and key of what has to be opened to see whether something is attached."""
        for entry in self._documents:
            row, data = self._row(entry)
            if row is not None and data is not None:
                self._waiting.append(row)
                yield data, entry.key
            elif row is not None:
                self._note(row)
                self._follow(row, row)
            progress.advance(STAGE, 1)

    def expanded(self, index: int, expansion: Expansion) -> None:
        """Note what is attached to the mail that :meth:`mails` yielded as number ``index``, and the mail itself."""
        mail = self._waiting[index]
        self._note({**mail, "note": expansion.note})
        if expansion.note is not None:
            self._unopened.append(mail["key"])
        ids: dict[tuple[str, ...], str | None] = {(): mail["id"]}
        for found in expansion.attached:
            parent = ids[found.path[:-1]]
            key = SEPARATOR.join((mail["key"], *found.path))
            row = self._attach(mail, parent, key, found.revision, found.size, found.note) if parent else None
            ids[found.path] = row["id"] if row is not None and row["reason"] != "erased" else None

    def permissions(self) -> list[dict[str, Any]]:
        """Return the known rows that have other readers by now, of objects that are listed; all else in them is as it was.

        For a listing that is in doubt: where it lacks the sidecar that an object had, the object keeps its readers.
        """
        changed: list[dict[str, Any]] = []
        for entry in self._documents:
            before = self.known.get(document_id(self._corpus, entry.key))
            if before is None or before["parent"] is not None or before["reason"] == "erased":
                continue
            had_sidecar = before["sidecar"] is not None or before["reason"] == "bad_permissions"
            if had_sidecar and composed(entry.key) not in self._sidecars:
                continue
            access = self._readers(entry, before)
            now = {name: before[name] for name in _PERMITTED} | {name: access[name] for name in ("readers", "sidecar")}
            if before["reason"] in ("ok", "bad_permissions"):
                now |= _closed(access["error"]) if access["error"] else {"state": "ok", "reason": "ok", "error": None}
            changed += self._permitted(before, now)
        return changed

    def _permitted(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the row ``before`` and those of what is attached to it as ``now`` has them, where that differs."""
        row = {**before, **now}
        if row != before:
            yield row
        for attached in self._attached.get(before["id"], ()):
            if attached["reason"] != "erased":
                yield from self._permitted(attached, now)

    def keeps_out(self, key: str) -> bool:
        """Return whether an erased object stays out: it is there as it was, or can't be looked for now."""
        if key in self._kept_out or any(_behind(mail, key) for mail in self._unopened):
            return True
        if document_id(self._corpus, key) in self.present:
            return False
        # Gone is only what would be listed if it were there.
        source = self._erased[key].receipt.get("source")
        return (source is not None and source != self._uri) or self._is_left_out(key)

    def _is_left_out(self, key: str) -> bool:
        """Return whether a pattern leaves out an object, or the mail or an attached mail that it is attached to."""
        first, *more = key.split(SEPARATOR)
        around = itertools.accumulate(more, lambda mail, name: f"{mail}{SEPARATOR}{name}", initial=first)
        next(around)
        return not self._keep(first) or any(self._keep.leaves_out(attached) for attached in around)

    def _note(self, row: dict[str, Any]) -> None:
        self.present.add(row["id"])
        if row != self.known.get(row["id"]):
            self.changed.append(row)

    def _follow(self, mail: Mapping[str, Any], parent: Mapping[str, Any]) -> None:
        """Note again what was attached to ``parent``: the unchanged ``mail``, or a mail attached to it."""
        if mail["expanded"] is None or mail["note"] is not None:
            self._unopened.append(mail["key"])
        if mail["expanded"] is None:
            return
        for before in self._attached.get(parent["id"], ()):
            row = self._attach(mail, parent["id"], before["key"], before["revision"], before["size"], before["note"])
            if row is not None and row["reason"] != "erased":
                self._follow(mail, row)

    def _attach(
        self, mail: Mapping[str, Any], parent: str, key: str, revision: str, size: int, note: str | None
    ) -> dict[str, Any] | None:
        """Note one attachment and return its row; None when a pattern or another object of its key leaves it out."""
        if self._keep.leaves_out(key) or key in self._like_attached:
            return None
        doc_id = document_id(self._corpus, key)
        before = self.known.get(doc_id)
        requeued = before["requeued"] if before is not None and before["revision"] == revision else None
        row: dict[str, Any] = {
            **mail,
            "id": doc_id,
            "doc_id": doc_id,
            "fingerprint": fingerprint(key, revision, requeued),
            "key": key,
            "revision": revision,
            "size": size,
            "requeued": requeued,
            "parent": parent,
            "expanded": None,
            "note": note,
        }
        erasure = self._erased.get(key)
        if erasure is not None and erasure.revision == revision:
            self._kept_out.add(key)
            self._unopened.append(key)  # what is attached to it may be erased, too, and isn't looked for
            row |= {
                "state": "rejected",
                "reason": "erased",
                "error": None,
                "note": None,
                "readers": [],
                "sidecar": None,
            }
        elif note is not None:
            self._unopened.append(key)
        self.attachments += 1
        self._note(row)
        return row

    def _row(self, entry: Listed) -> tuple[dict[str, Any] | None, bytes | None]:
        """Return the object's row, and its bytes if they have to be opened to see what is attached.

        The row is None for a folder's marker, which S3 tools write as an empty object and which can't be read.
        """
        doc_id = document_id(self._corpus, entry.key)
        before = self.known.get(doc_id)
        try:
            verdict, data = self._bytes(entry, before)
        except MissingObject:
            if entry.size == 0:
                return None, None
            verdict, data = _unread(entry, "unreadable", "It was deleted while it was being read."), None
        access = self._readers(entry, before) if verdict["reason"] != "erased" else _NOBODY
        if verdict["state"] == "ok" and access["error"]:
            verdict |= _closed(access["error"])
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
            "parent": None,
            "expanded": verdict["expanded"],
            "note": verdict["note"],
        }
        return row, data

    def _bytes(self, entry: Listed, before: Mapping[str, Any] | None) -> tuple[dict[str, Any], bytes | None]:
        """Return what the bytes decide of the object's row, and the bytes where something may be attached to them.

        Raises MissingObject when the object is gone.
        """
        if self._is_erased(entry):
            self._kept_out.add(entry.key)
            return {**_unread(entry, "erased", None), "state": "rejected"}, None
        if entry.problem is not None:
            return _unread(entry, "unreadable", entry.problem), None
        if entry.size > self._max_bytes:
            limit = f"{entry.size} bytes are more than max_bytes = {self._max_bytes}."
            return _unread(entry, "too_large", limit), None
        verdict: dict[str, Any] = {"state": "ok", "reason": "ok", "error": None, "note": None}
        taken = [key for key in self._like_attached if _behind(entry.key, key)]
        mark = mark_of(self._parse, self._exclude, taken) if taken else self._mark
        if (
            before is not None
            and before["reason"] not in _UNREAD
            and (before["etag"], before["size"], before["last_modified"])
            == (entry.etag, entry.size, entry.last_modified)
            and before["expanded"] in (NO_MAIL, mark)
            and not self._lacks_erased(before)
        ):
            same = {name: before[name] for name in ("revision", "expanded", "note")}
            return verdict | same, None
        try:
            if not self._hash_new and before is None and not may_be_mail(read_head(self._store, entry), entry.key):
                revision, data = digest("not hashed", entry.key, entry.etag, entry.size, entry.last_modified), None
            else:
                revision, data = hash_object(self._store, entry, lambda head: may_be_mail(head, entry.key))
        except MissingObject:
            raise
        except ReplacedObject:
            return _unread(entry, "unreadable", "It was replaced while it was being read."), None
        except SourceError as failure:
            error = f"Reading failed with {type(failure.__cause__ or failure).__name__}."
            return _unread(entry, "unreadable", error), None
        self.read += 1
        note(read_bytes=entry.size)
        return verdict | {"revision": revision, "expanded": mark if data is not None else NO_MAIL}, data

    def _lacks_erased(self, mail: Mapping[str, Any]) -> bool:
        """Return whether an attachment was erased since the last listing, and with it the row that says so."""
        behind = [key for key in self._erased_attached if _behind(mail["key"], key)] if mail["note"] is None else []
        return any(
            document_id(self._corpus, key) not in self.known and not any(_behind(other, key) for other in behind)
            for key in behind
        )

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
        name = composed(entry.key)
        sidecars = self._sidecars.get(name)
        if sidecars is None:
            return {"readers": readers_of(entry.key, self._access), "sidecar": None, "error": None}
        sidecar = sidecars[0]
        if len(sidecars) > 1 or self._described[name] > 1:
            error = (
                f"{sidecar.key}: There are {self._described[name]} documents and {len(sidecars)} such files whose names "
                "differ in their Unicode form alone. Rename them, so that it is clear which belongs to which."
            )
            return {"readers": [], "sidecar": None, "error": error}
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


def _closed(error: str) -> dict[str, Any]:
    """Return the verdict on an object whose sidecar doesn't say who may read it."""
    return {"state": "quarantined", "reason": "bad_permissions", "error": error}


def _unread(entry: Listed, reason: str, error: str | None) -> dict[str, Any]:
    """Return the verdict on an object whose bytes were not read."""
    revision = digest("unread", entry.etag, entry.size, entry.last_modified)
    about = {"state": "quarantined", "reason": reason, "error": error, "revision": revision}
    return about | {"expanded": None, "note": None}


def _behind(mail: str, key: str) -> bool:
    """Return whether ``key`` is, or looks like, that of an attachment of the mail at ``mail``."""
    return key.startswith(mail + SEPARATOR)
