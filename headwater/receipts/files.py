"""Receipts written back beside the bucket, for owners who see nothing but the bucket.

``.headwater/receipts/`` holds one JSON file per object, and ``summary.json``. ``receipt_files`` in the lake says what
was written with which content, so a file is written when its content changes and removed when its object vanishes; a
write that failed is tried again at the next reindex. A file's ``release`` is the one that was live when the file was
written, which it says; a release that changes nothing for an object leaves its file alone. The summary names live.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from headwater.driver import change_batches
from headwater.errors import SourceError
from headwater.hashing import digest
from headwater.receipts.paths import SUMMARY, receipt_path
from headwater.receipts.reading import receipt_of, receipt_rows
from headwater.receipts.standing import Standing, release_standing
from headwater.receipts.states import END_STATES
from headwater.source import open_store
from headwater.source.store import local_folder

if TYPE_CHECKING:
    from obstore.store import ObjectStore

    from headwater.ledger import Ledger
    from headwater.policies import SourcePolicy
    from headwater.reports import Progress
    from headwater.tables import Tables

STAGE = "receipt_files"
CODE_VERSION = "2"

RECEIPT_FILES = pa.schema(
    [("id", pa.string()), ("doc_id", pa.string()), ("fingerprint", pa.string()), ("path", pa.string())]
)
"""One row per file that stands beside the bucket; the summary's ``doc_id`` is null."""

Row = Mapping[str, Any]

_SUMMARY_ID = "summary"
_SUMMARY_KEYS = 1000
"""Keys that the summary names per state."""

_AT_ONCE = 16
"""Requests in flight; a bucket far away answers one in tens of milliseconds."""

_BATCH = 256
"""Files written before it is looked whether any could be; also the size of a batch of rows rendered."""


@dataclass(frozen=True, slots=True)
class FileCounts:
    """What became of the files: written, removed, failed (tried again next time), and the last error's name."""

    written: int = 0
    removed: int = 0
    failed: int = 0
    error: str | None = None

    def details(self) -> dict[str, Any]:
        """Return the counts for a stage report; nothing when there was nothing to do."""
        counts = {"files_written": self.written, "files_removed": self.removed, "files_failed": self.failed}
        named: dict[str, Any] = {name: count for name, count in counts.items() if count}
        return named | ({"file_error": self.error} if self.error else {})


def write_files(corpus: str, tables: Tables, ledger: Ledger, source: SourcePolicy, progress: Progress) -> FileCounts:
    """Bring the files beside the bucket up to date with the receipts. Nothing is raised when the bucket refuses."""
    standing = release_standing(corpus, tables, ledger)
    frame = receipt_rows(tables, standing).filter(pl.col("state") != "pending")
    wanted = frame.with_columns(_about_others(frame)).with_columns(_fingerprint(source.uri, standing).alias("file"))
    table = tables.receipt_files
    kept = table.exists() and table.same_schema()
    have = (
        table.read(RECEIPT_FILES.names) if kept else pl.DataFrame(schema=dict.fromkeys(RECEIPT_FILES.names, pl.String))
    )
    stored = have.select("id", pl.col("fingerprint").alias("stored"))
    joined = wanted.join(stored, left_on="doc_id", right_on="id", how="left")
    # In order of a hash, so that a folder that refuses does not fill a batch, which would end the writing.
    due = joined.filter(pl.col("file").ne_missing(pl.col("stored"))).sort("doc_id")
    # An object that is pending keeps the file it has until a reindex has finished with it.
    listed = tables.source_objects.read(["doc_id"])
    gone = have.filter(pl.col("id") != _SUMMARY_ID).join(listed, left_on="id", right_on="doc_id", how="anti")
    summary = _summary(corpus, frame, standing)
    mark = digest(CODE_VERSION, source.uri, json.dumps(summary, sort_keys=True))
    new_summary = mark not in stored.filter(pl.col("id") == _SUMMARY_ID)["stored"]
    if kept and due.is_empty() and gone.is_empty() and not new_summary:
        return FileCounts()
    progress.start(STAGE, due.height + gone.height)
    bucket = _Bucket(corpus, source.uri, standing, progress)
    written = bucket.each(bucket.write, due)
    removed = [row["id"] for row in bucket.each(bucket.remove, gone)]
    if new_summary and bucket.put(SUMMARY, {**summary, "when": datetime.now(UTC)}):
        written.append({"id": _SUMMARY_ID, "doc_id": None, "fingerprint": mark, "path": SUMMARY})
    if written or removed or not kept:
        batches = pa.Table.from_pylist(written, schema=RECEIPT_FILES).to_batches()
        if kept:
            table.change(change_batches(RECEIPT_FILES, batches, removed))
        else:
            table.replace(batches)
    failed = due.height + gone.height + new_summary - len(written) - len(removed)
    return FileCounts(len(written), len(removed), failed, bucket.error if failed else None)


def _fingerprint(uri: str, standing: Standing) -> pl.Expr:
    """Return what a file's content hangs on: the receipt, and how the releases stand to it.

    The live release's number alone does not count, or a release would rewrite every file.
    """
    base = digest(CODE_VERSION, uri)
    words = digest(standing.reason, standing.message, standing.advice)
    held, older, indexed = pl.col("held"), pl.col("older"), pl.col("state") == "indexed"
    release = pl.lit(str(standing.live))
    how = (
        pl.when(indexed & held)
        .then(pl.lit("searchable"))
        .when(indexed & older)
        .then(pl.concat_str(pl.lit(words), release, separator="-older-"))
        .when(indexed)
        .then(pl.lit(words))
        .when(held | older)
        .then(pl.concat_str(pl.lit("still"), release, older.cast(pl.String), separator="-"))
        .otherwise(pl.lit("not"))
    )
    return pl.concat_str(pl.lit(base), pl.col("recorded"), how, pl.col("about_others"), separator=":")


def _about_others(frame: pl.DataFrame) -> pl.Series:
    """Return a digest of what a receipt says of attachments, copies and the parser's notes, empty where it says nothing."""
    rows = frame.select(
        "note", "parent_key", "attachments", "duplicates", "survivor_stop", "survivor_error"
    ).iter_rows()
    said = [
        digest(note, parent, *(keys or ()), *(["", *copies] if copies else ()), *(("", stop, error) if stop else ()))
        if note or parent or keys or copies or stop
        else ""
        for note, parent, keys, copies, stop, error in rows
    ]
    return pl.Series("about_others", said, pl.String)


def _summary(corpus: str, frame: pl.DataFrame, standing: Standing) -> dict[str, Any]:
    """Return the counts, the live release, and the first keys of every state but indexed."""
    counts = dict(frame.group_by("state").len().iter_rows())
    keys = {
        state: frame.filter(pl.col("state") == state).bottom_k(_SUMMARY_KEYS, by="key")["key"].sort().to_list()
        for state in END_STATES
        if state != "indexed"
    }
    return {
        "corpus": corpus,
        "release": standing.live,
        "listed": frame.height,
        "searchable": int(frame["held"].sum()),
        "states": {state: counts.get(state, 0) for state in END_STATES},
        "keys": keys,
        "keys_per_state_at_most": _SUMMARY_KEYS,
    }


class _Bucket:
    """Writes files beside the bucket; ``error`` is the name of the last error."""

    def __init__(self, corpus: str, uri: str, standing: Standing, progress: Progress) -> None:
        self.error: str | None = None
        self._corpus = corpus
        self._standing = standing
        self._progress = progress
        self._folder = local_folder(uri)
        self._store: ObjectStore | None = None
        try:
            self._store = open_store(uri)
        except SourceError as error:
            self.error = type(error).__name__

    def each(self, work: Callable[[Row], Row | None], frame: pl.DataFrame) -> list[Row]:
        """Return what ``work`` gave for each row, less those that failed; stops when nothing in a batch succeeds."""
        done: list[Row] = []
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for part in frame.iter_slices(_BATCH):
                results = [row for row in pool.map(work, part.iter_rows(named=True)) if row is not None]
                if not results:
                    break
                done += results
                self._progress.advance(STAGE, part.height)
        return done

    def write(self, row: Row) -> Row | None:
        """Write one receipt; return its row of ``receipt_files``."""
        receipt = asdict(receipt_of(row, self._standing))
        path = receipt_path(row["key"])
        more = {"searchable": row["held"], "written": datetime.now(UTC)}
        if not self.put(path, {"corpus": self._corpus, **receipt, **more}):
            return None
        return {"id": row["doc_id"], "doc_id": row["doc_id"], "fingerprint": row["file"], "path": path}

    def remove(self, row: Row) -> Row | None:
        """Remove one file; it is no error if somebody else did."""
        import obstore

        if self._store is None or self._leads_out(row["path"]):
            return None
        try:
            obstore.delete(self._store, row["path"])
        except FileNotFoundError:
            return row
        except Exception as error:
            self.error = type(error).__name__
            return None
        return row

    def put(self, path: str, body: Mapping[str, Any]) -> bool:
        """Write one file; False when the bucket refused."""
        import obstore
        from pydantic_core import to_json

        if self._store is None or self._leads_out(path):
            return False
        try:
            obstore.put(self._store, path, to_json(body, indent=2) + b"\n")
        except Exception as error:
            # Whatever the store says; its message may hold an address or a credential's name.
            self.error = type(error).__name__
            return False
        return True

    def _leads_out(self, path: str) -> bool:
        """Return whether a link that somebody laid in the folder would have us write elsewhere."""
        if self._folder is None:
            return False
        there = (self._folder.resolve() / path).parent
        if there.resolve() == there:
            return False
        self.error = "LinkError"
        return True
