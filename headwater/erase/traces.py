"""What the lake holds of a document, in every version and also in files that no version names any more.

What is attached to a mail, or ever was, counts as the mail's: an erasure takes it along.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from headwater.erase import arrays
from headwater.hashing import digest
from headwater.lake import Table
from headwater.lake_reading import data_files, fetched_ahead

if TYPE_CHECKING:
    from headwater.tables import Tables

KEPT_TABLES = frozenset({"receipt_files"})
"""Not rewritten: says which files stand beside the bucket, so that the document's own is removed in time."""

_TEXTS = ("text", "embedded", "title", "metadata")
ERASED = "erased"
"""The reason of an object that is listed, and kept out because it was erased."""


@dataclass
class Traces:
    """Everything found: ``rows`` are distinct rows per table, ``embedded`` the texts whose vectors are cached.

    ``attached`` is what is attached to the document, or was (ids with keys), ``parent`` the mail that it is attached to
    itself. ``revisions`` are the document's, ``contents`` the hashes of all bytes.
    """

    doc_id: str
    attached: dict[str, str] = field(default_factory=dict)
    parent: str | None = None
    rows: dict[str, int] = field(default_factory=dict)
    revisions: set[str] = field(default_factory=set)
    contents: set[str] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)
    embedded: set[str] = field(default_factory=set)
    chunk_ids: set[str] = field(default_factory=set)
    vectors: list[npt.NDArray[np.float32]] = field(default_factory=list)
    shingles: set[int] = field(default_factory=set)
    text_hashes: set[str] = field(default_factory=set)
    only_tombstones: bool = True

    @property
    def owners(self) -> list[str]:
        """The ids of the document and of what is attached to it."""
        return [self.doc_id, *self.attached]


def erasable(tables: Tables) -> list[Table]:
    """Return the tables that lose an erased document's rows."""
    return [table for table in tables.all() if table.exists() and table.name not in KEPT_TABLES]


def collect(tables: Tables, doc_id: str) -> Traces:
    """Read every row of a document, and of what is attached to it, from all data files."""
    traces = Traces(doc_id, _attached(tables.source_objects, doc_id))
    for table in erasable(tables):
        seen: set[tuple[str, str]] = set()
        for row in _rows(table, traces.owners):
            seen.add((row["id"], row.get("fingerprint") or ""))
            _note(traces, table.name, row)
        if seen:
            traces.rows[table.name] = len(seen)
    return traces


def shared_hashes(tables: Tables, traces: Traces) -> set[str]:
    """Return the hashes of embedded texts that a chunk of another document has, too."""
    if not traces.embedded:
        return set()
    own = pl.col("doc_id").is_in(traces.owners)
    others = tables.chunks.scan().filter(~own & pl.col("embedded").is_in(list(traces.embedded)))
    return {digest(text) for text in others.select("embedded").collect()["embedded"]}


def copies(tables: Tables, traces: Traces, threshold: float) -> list[str]:
    """Return the keys of other listed objects with the same bytes, the same text, or nearly the same text.

    ``threshold`` is for the exact Jaccard similarity of word 5-shingles; whoever may read the documents.
    """
    theirs = ~pl.col("doc_id").is_in(traces.owners)
    objects = tables.source_objects.scan().filter(theirs).select("doc_id", "key", "revision")
    keys = dict(objects.select("doc_id", "key").collect().iter_rows())
    same = set(objects.filter(pl.col("revision").is_in(list(traces.contents))).select("doc_id").collect()["doc_id"])
    if traces.shingles:
        others = tables.document_signatures.scan().filter(theirs & (pl.col("state") == "ok"))
        equal = others.filter(pl.col("text_hash").is_in(list(traces.text_hashes)))
        same |= set(equal.select("doc_id").collect()["doc_id"])
        own = pl.Series(sorted(traces.shingles), dtype=pl.Int64)
        overlap = pl.col("shingles").list.eval(pl.element().is_in(own.implode())).list.sum()
        union = pl.col("shingles").list.len() + len(own) - overlap
        near = others.filter(overlap / union >= threshold).select("doc_id").collect()
        same |= set(near["doc_id"])
    return sorted(keys[name] for name in same if name in keys)


def _attached(objects: Table, doc_id: str) -> dict[str, str]:
    """Return ids and keys of everything that was ever attached to a document, also by way of attached mails."""
    known: dict[str, dict[str, str]] = {}
    for path in fetched_ahead(data_files(objects.folder)):
        try:
            for batch in arrays.batches(path, ["doc_id", "key", "parent"]):
                for row in batch.to_pylist():
                    if row.get("parent") is not None:
                        known.setdefault(row["parent"], {})[row["doc_id"]] = row["key"]
        except pa.ArrowInvalid:  # half a file, left by a killed writer
            continue
    found: dict[str, str] = {}
    waiting = [doc_id]
    while waiting:
        inside = known.pop(waiting.pop(), {})
        found |= inside
        waiting += inside
    return found


def _rows(table: Table, doc_ids: Collection[str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for path in fetched_ahead(data_files(table.folder)):
        try:
            if not any(arrays.of_documents(batch, doc_ids).true_count for batch in arrays.batches(path, ["doc_id"])):
                continue
            for batch in arrays.batches(path):
                rows += batch.filter(arrays.of_documents(batch, doc_ids)).to_pylist()
        except pa.ArrowInvalid:  # half a file, left by a killed writer
            continue
    return rows


def _note(traces: Traces, table: str, row: Mapping[str, Any]) -> None:
    traces.texts |= {row[name] for name in _TEXTS if row.get(name)}
    main = row["doc_id"] == traces.doc_id
    if table == "source_objects":
        traces.contents.add(row["revision"])
        if main:
            traces.revisions.add(row["revision"])
            traces.parent = row.get("parent") or traces.parent
    if table not in ("source_objects", "receipts") or row["reason"] != ERASED:
        traces.only_tombstones = False
    if table in ("chunks", "embeddings", "index_manifest") and row["id"] != row["doc_id"]:
        traces.chunk_ids.add(row["id"])
    if row.get("embedded"):
        traces.embedded.add(row["embedded"])
    if row.get("vector"):
        traces.vectors.append(np.asarray(row["vector"], dtype=np.float32))
    if table == "document_signatures":
        if main:
            traces.shingles = set(row["shingles"] or ())
        traces.text_hashes |= {row["text_hash"]} - {None}
