"""What the lake holds of a document, in every version and also in files that no version names any more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from headwater.erase import arrays
from headwater.hashing import digest
from headwater.lake import Table

if TYPE_CHECKING:
    from headwater.tables import Tables

KEPT_TABLES = frozenset({"receipt_files"})
"""Not rewritten: says which files stand beside the bucket, so that the document's own is removed in time."""

_TEXTS = ("text", "embedded", "title", "metadata")
ERASED = "erased"
"""The reason of an object that is listed, and kept out because it was erased."""


@dataclass
class Traces:
    """Everything found: ``rows`` are distinct rows per table, ``embedded`` the texts whose vectors are cached."""

    doc_id: str
    rows: dict[str, int] = field(default_factory=dict)
    revisions: set[str] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)
    embedded: set[str] = field(default_factory=set)
    chunk_ids: set[str] = field(default_factory=set)
    vectors: list[npt.NDArray[np.float32]] = field(default_factory=list)
    shingles: set[int] = field(default_factory=set)
    text_hashes: set[str] = field(default_factory=set)
    only_tombstones: bool = True


def erasable(tables: Tables) -> list[Table]:
    """Return the tables that lose an erased document's rows."""
    return [table for table in tables.all() if table.exists() and table.name not in KEPT_TABLES]


def collect(tables: Tables, doc_id: str) -> Traces:
    """Read every row of a document, from all data files."""
    traces = Traces(doc_id)
    for table in erasable(tables):
        seen: set[tuple[str, str]] = set()
        for row in _rows(table, doc_id):
            seen.add((row["id"], row.get("fingerprint") or ""))
            _note(traces, table.name, row)
        if seen:
            traces.rows[table.name] = len(seen)
    return traces


def shared_hashes(tables: Tables, doc_id: str, embedded: set[str]) -> set[str]:
    """Return the hashes of ``embedded`` texts that a chunk of another document has, too."""
    own = {digest(text) for text in embedded}
    if not own:
        return set()
    others = tables.chunks.scan().filter((pl.col("doc_id") != doc_id) & pl.col("embedded").is_in(list(embedded)))
    return {digest(text) for text in others.select("embedded").collect()["embedded"]}


def copies(tables: Tables, traces: Traces, threshold: float) -> list[str]:
    """Return the keys of other listed objects with the same bytes, the same text, or nearly the same text.

    ``threshold`` is for the exact Jaccard similarity of word 5-shingles; whoever may read the documents.
    """
    objects = tables.source_objects.scan().filter(pl.col("doc_id") != traces.doc_id).select("doc_id", "key", "revision")
    keys = dict(objects.select("doc_id", "key").collect().iter_rows())
    same = set(objects.filter(pl.col("revision").is_in(list(traces.revisions))).select("doc_id").collect()["doc_id"])
    if traces.shingles:
        others = tables.document_signatures.scan().filter(
            (pl.col("doc_id") != traces.doc_id) & (pl.col("state") == "ok")
        )
        equal = others.filter(pl.col("text_hash").is_in(list(traces.text_hashes)))
        same |= set(equal.select("doc_id").collect()["doc_id"])
        own = pl.Series(sorted(traces.shingles), dtype=pl.Int64)
        overlap = pl.col("shingles").list.eval(pl.element().is_in(own.implode())).list.sum()
        union = pl.col("shingles").list.len() + len(own) - overlap
        near = others.filter(overlap / union >= threshold).select("doc_id").collect()
        same |= set(near["doc_id"])
    return sorted(keys[name] for name in same if name in keys)


def _rows(table: Table, doc_id: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for path in sorted(table.path.rglob("*.parquet")):
        if path.parent.name == "_delta_log":
            continue
        try:
            if not any(arrays.of_document(batch, doc_id).true_count for batch in arrays.batches(path, ["doc_id"])):
                continue
            for batch in arrays.batches(path):
                rows += batch.filter(arrays.of_document(batch, doc_id)).to_pylist()
        except pa.ArrowInvalid:  # half a file, left by a killed writer
            continue
    return rows


def _note(traces: Traces, table: str, row: Mapping[str, Any]) -> None:
    traces.texts |= {row[name] for name in _TEXTS if row.get(name)}
    if table == "source_objects":
        traces.revisions.add(row["revision"])
    if table not in ("source_objects", "receipts") or row["reason"] != ERASED:
        traces.only_tombstones = False
    if table in ("chunks", "embeddings", "index_manifest") and row["id"] != traces.doc_id:
        traces.chunk_ids.add(row["id"])
    if row.get("embedded"):
        traces.embedded.add(row["embedded"])
    if row.get("vector"):
        traces.vectors.append(np.asarray(row["vector"], dtype=np.float32))
    if table == "document_signatures":
        traces.shingles = set(row["shingles"] or ())
        traces.text_hashes |= {row["text_hash"]} - {None}
