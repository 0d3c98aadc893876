"""The bucket: what it holds now, and what changed.

``source_objects`` has one row per listed object. An object is read (and hashed) only when its ETag, size or
modification time changed; the fingerprint hangs on key and content, so a permission change alone does not
parse anything again.
"""

from __future__ import annotations

import fnmatch
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import polars as pl
import pyarrow as pa

from headwater.driver import CORE, change_batches, table_report
from headwater.errors import ConfigError, SourceError
from headwater.hashing import DIGEST_BYTES, digest, document_id
from headwater.lake import Table
from headwater.policies import AccessRule, SourcePolicy
from headwater.reports import Progress, StageReport

if TYPE_CHECKING:
    from obstore.store import ObjectStore

STAGE = "source_objects"
CODE_VERSION = "1"
EVERYONE = "*"

SCHEMA = pa.schema(
    [
        *CORE,
        ("key", pa.string()),
        ("revision", pa.string()),
        ("size", pa.int64()),
        ("etag", pa.string()),
        ("last_modified", pa.timestamp("us", tz="UTC")),
        ("readers", pa.list_(pa.string())),
    ]
)

REASONS: dict[str, tuple[str, str]] = {
    "too_large": (
        "The file is larger than this corpus accepts.",
        "Split it, or ask for a higher limit (parse.max_bytes).",
    ),
    "unreadable": (
        "The file is listed but could not be read.",
        "Check that Headwater may read it; it is tried again at every reindex.",
    ),
}


def open_store(uri: str) -> ObjectStore:
    """Return the obstore store for a bucket URI or ``file://`` folder.

    Credentials come from the environment, as each provider's own tools expect them. Raises SourceError when the
    folder does not exist or the URI can't be used.
    """
    from obstore.store import LocalStore, from_url

    parts = urlsplit(uri)
    if parts.scheme == "file":
        folder = unquote(parts.path)
        try:
            return LocalStore(prefix=folder)
        except Exception as error:
            raise SourceError(f"The source folder {folder} does not exist or can't be opened.") from error
    try:
        return from_url(uri)
    except Exception as error:
        raise SourceError(f"The source {uri} can't be opened: {error}") from error


class KeyFilter:
    """Decides by glob patterns which keys belong to a corpus; ``**`` crosses folders, ``*`` does not."""

    def __init__(self, include: Sequence[str], exclude: Sequence[str]) -> None:
        self._include = [_glob(pattern) for pattern in include]
        self._exclude = [_glob(pattern) for pattern in exclude]

    def __call__(self, key: str) -> bool:
        """Return whether ``key`` is included and not excluded."""
        return any(p.fullmatch(key) for p in self._include) and not any(p.fullmatch(key) for p in self._exclude)


def _glob(pattern: str) -> re.Pattern[str]:
    parts = []
    position = 0
    while position < len(pattern):
        if pattern.startswith("**/", position):
            parts.append("(?:.*/)?")
            position += 3
        elif pattern.startswith("**", position):
            parts.append(".*")
            position += 2
        elif pattern[position] == "*":
            parts.append("[^/]*")
            position += 1
        elif pattern[position] == "?":
            parts.append("[^/]")
            position += 1
        elif pattern[position] == "[" and "]" in pattern[position:]:
            end = pattern.index("]", position)
            parts.append(fnmatch.translate(pattern[position : end + 1])[4:-3])
            position = end + 1
        else:
            parts.append(re.escape(pattern[position]))
            position += 1
    try:
        return re.compile("".join(parts), re.DOTALL)
    except re.error as error:
        raise ConfigError(f"{pattern!r} is not a glob pattern: {error}.") from error


def readers_of(key: str, rules: Sequence[AccessRule]) -> list[str]:
    """Return the groups that may read ``key``: those of the longest matching prefix; everyone without rules.

    With rules but no match, nobody may read.
    """
    if not rules:
        return [EVERYONE]
    matching = [rule for rule in rules if key.startswith(rule.prefix)]
    if not matching:
        return []
    return sorted(set(max(matching, key=lambda rule: len(rule.prefix)).groups))


def list_objects(store: ObjectStore, keep: KeyFilter) -> Iterator[Mapping[str, Any]]:
    """Yield key, size, etag and last_modified of every object that belongs to the corpus; SourceError if listing fails."""
    import obstore

    try:
        for page in obstore.list(store, chunk_size=1000):
            for entry in page:
                key = entry["path"]
                if keep(key):
                    yield {
                        "key": key,
                        "size": int(entry["size"]),
                        "etag": entry.get("e_tag") or "",
                        "last_modified": entry["last_modified"],
                    }
    except Exception as error:
        raise SourceError(f"The source could not be listed, so nothing was changed: {error}") from error


def read_object(store: ObjectStore, key: str) -> bytes:
    """Return the bytes of an object; SourceError when it can't be read."""
    import obstore

    try:
        return bytes(obstore.get(store, key).bytes())
    except Exception as error:
        raise SourceError(f"{key}: the object could not be read ({type(error).__name__}).") from error


def _hash_object(store: ObjectStore, key: str) -> str:
    """Return the revision of an object, reading it in pieces."""
    import hashlib

    import obstore

    state = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for piece in obstore.get(store, key).stream(min_chunk_size=4 * 2**20):
        state.update(bytes(piece))
    return state.hexdigest()


def sync_objects(
    corpus: str,
    policy: SourcePolicy,
    access: Sequence[AccessRule],
    max_bytes: int,
    table: Table,
    progress: Progress,
    *,
    confirm_removals: bool = False,
) -> StageReport:
    """Bring ``table`` up to date with the bucket.

    Raises SourceError, before anything is removed, when the listing fails, or lost more than the policy's share
    of the known objects and ``confirm_removals`` is not set.
    """
    started = time.perf_counter()
    store = open_store(policy.uri)
    known = _known(table)
    listed = list(list_objects(store, KeyFilter(policy.include, policy.exclude)))
    progress.start(STAGE, len(listed))
    present = {document_id(corpus, entry["key"]) for entry in listed}
    removed = [doc_id for doc_id in known if doc_id not in present]
    if known and not confirm_removals and len(removed) > policy.max_removed_share * len(known):
        raise SourceError(
            f"The listing of {policy.uri} lost {len(removed)} of {len(known)} objects, more than "
            f"max_removed_share = {policy.max_removed_share:g} allows. Nothing was removed. If this is right, run the "
            "reindex again with --confirm-removals."
        )
    changed = []
    for entry in listed:
        row = _row(corpus, store, entry, access, max_bytes, known)
        if row is not None:
            changed.append(row)
        progress.advance(STAGE, 1)
    if changed or removed or not table.exists():
        batches = pa.Table.from_pylist(changed, schema=SCHEMA).to_batches()
        if table.exists() and table.same_schema():
            table.change(change_batches(SCHEMA, batches, removed))
        else:
            table.replace(batches)
    report = table_report(
        STAGE, table, recomputed=len(changed), removed=len(removed), seconds=time.perf_counter() - started
    )
    progress.finish(report)
    return report


def _known(table: Table) -> dict[str, dict[str, Any]]:
    if not table.exists() or not table.same_schema():
        return {}
    columns = ["id", "fingerprint", "state", "reason", "revision", "size", "etag", "last_modified", "readers"]
    return {row["id"]: row for row in table.read(columns).iter_rows(named=True)}


def _row(
    corpus: str,
    store: ObjectStore,
    entry: Mapping[str, Any],
    access: Sequence[AccessRule],
    max_bytes: int,
    known: Mapping[str, dict[str, Any]],
) -> dict[str, Any] | None:
    """Return the object's new row, or None when nothing about it changed."""
    doc_id = document_id(corpus, entry["key"])
    before = known.get(doc_id)
    readers = readers_of(entry["key"], access)
    too_large = entry["size"] > max_bytes
    same_bytes = (
        before is not None
        and before["reason"] != "unreadable"
        and (before["reason"] == "too_large") == too_large
        and (before["etag"], before["size"], before["last_modified"])
        == (entry["etag"], entry["size"], entry["last_modified"])
    )
    if before is not None and same_bytes and before["readers"] == readers:
        return None
    state, reason, error = "ok", "ok", None
    if before is not None and same_bytes:
        revision, state, reason = before["revision"], before["state"], before["reason"]
    elif too_large:
        state, reason = "quarantined", "too_large"
        error = f"{entry['size']} bytes are more than max_bytes = {max_bytes}."
        revision = digest("unread", entry["etag"], entry["size"], entry["last_modified"])
    else:
        try:
            revision = _hash_object(store, entry["key"])
        except Exception as failure:
            state, reason, error = "quarantined", "unreadable", f"Reading failed with {type(failure).__name__}."
            revision = digest("unread", entry["etag"], entry["size"], entry["last_modified"])
    return {
        "id": doc_id,
        "doc_id": doc_id,
        "fingerprint": digest(STAGE, CODE_VERSION, entry["key"], revision),
        "state": state,
        "reason": reason,
        "error": error,
        "key": entry["key"],
        "revision": revision,
        "size": entry["size"],
        "etag": entry["etag"],
        "last_modified": entry["last_modified"],
        "readers": readers,
    }


def reader_frame(table: Table, version: int | None = None) -> pl.DataFrame:
    """Return doc_id, key, revision and readers of every object, as the index needs them."""
    return table.read(["doc_id", "key", "revision", "readers"], version)
