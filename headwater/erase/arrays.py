"""Reading what columnar files hold: every Parquet and Arrow file, whatever its schema."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from headwater.lake_folder import LakeFile

_ROWS = 1024
"""Rows read at a time: bounds memory."""


def batches(file: LakeFile, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield the record batches of a Parquet (or Arrow) file, or some columns of them; ArrowInvalid for another file."""
    if file.suffix == ".arrow":
        with pa.memory_map(str(file)) if isinstance(file, Path) else pa.BufferReader(file.read_bytes()) as source:
            arrow = pa.ipc.open_file(source)
            yield from (_plain(arrow.get_batch(index)) for index in range(arrow.num_record_batches))
        return
    with parquet_file(file) as parquet:
        yield from map(_plain, parquet.iter_batches(_ROWS, columns=columns))


@contextmanager
def parquet_file(file: LakeFile) -> Iterator[Any]:
    """Open a Parquet file; one of a bucket is in memory while it is open. ArrowInvalid for another file."""
    import pyarrow.parquet as pq

    source = file if isinstance(file, Path) else pa.BufferReader(file.read_bytes())
    with pq.ParquetFile(source) as parquet:
        yield parquet


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema that :func:`batches` gives for a file's own: strings and bytes without views."""
    return pa.schema([field.with_type(_plain_type(field.type)) for field in schema])


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    # Files written by a merge say that they hold views, which most of Arrow's functions can't work on.
    return batch.cast(plain_schema(batch.schema))


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        field = kind.value_field
        make = pa.list_ if pa.types.is_list(kind) else pa.large_list
        return make(field.with_type(_plain_type(field.type)))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_plain_type(field.type)) for field in kind])
    return kind


def leaves(array: pa.Array) -> Iterator[pa.Array]:
    """Yield the arrays of plain values inside a possibly nested array."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        yield from leaves(array.dictionary_decode())
    elif pa.types.is_map(kind):
        yield from leaves(array.keys)
        yield from leaves(array.items)
    elif pa.types.is_nested(kind):
        children = array.flatten() if pa.types.is_struct(kind) else [array.flatten()]
        for child in children:
            yield from leaves(child)
    else:
        yield array


def is_text(kind: pa.DataType) -> bool:
    """Return whether values of this type are strings."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def of_documents(batch: pa.RecordBatch, doc_ids: Collection[str]) -> pa.BooleanArray:
    """Return which rows of a batch belong to one of the documents; none in a file that has no owner column."""
    if "doc_id" not in batch.schema.names:
        return pa.array([False] * batch.num_rows)
    return pc.is_in(batch.column("doc_id"), pa.array(sorted(doc_ids), pa.string()))
