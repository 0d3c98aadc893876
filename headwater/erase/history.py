"""Taking documents out of a Delta table's history.

A Delta table is data files and a log that says which of them a version has. A new table is built beside the old one,
with the versions that are kept as its versions 0, 1, 2 ...: a data file without rows of the document is linked, one
with rows is written anew without them, and the log is written afresh (the old one keeps the first characters of strings
as statistics). So a version has exactly the rows that it had, less the document's, and costs what it cost.

The log is written by hand because no library commits a chosen set of files; its form is that of the Delta protocol
(github.com/delta-io/delta, PROTOCOL.md, "Actions") for readers of version 1.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from headwater.erase import arrays
from headwater.errors import LakeError
from headwater.index.files import remove_tree, sync_tree
from headwater.lake import CONFIGURATION, Table

_LOG = "_delta_log"


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    rows: int
    size: int


def rewrite(table: Table, doc_ids: Collection[str], keep: Iterable[int], target: Path) -> dict[int, int]:
    """Write ``table`` without the rows of the documents to ``target``; return old version -> new version.

    The newest version and those in ``keep`` are kept. Durable when it returns; what was at ``target`` is replaced.
    Raises LakeError for a table that this can't be done with.
    """
    from deltalake import DeltaTable

    newest = table.version()
    if newest is None:
        raise LakeError(f"Table {table.path} was never written.")
    remove_tree(target)
    (target / _LOG).mkdir(parents=True)
    written: dict[str, _File | None] = {}
    before: dict[str, _File] = {}
    schema = ""
    versions = sorted({*keep, newest})
    for number, version in enumerate(versions):
        try:
            state = DeltaTable(str(table.path), version=version)
            sources = [table.path / Path(uri).name for uri in state.file_uris()]
        except Exception as error:
            raise LakeError(f"Version {version} of table {table.path}, which a release needs, is gone.") from error
        protocol = state.protocol()
        if protocol.min_reader_version != 1:
            raise LakeError(
                f"Table {table.path} was changed by a program that uses newer Delta features (reader version "
                f"{protocol.min_reader_version}); its history can't be rewritten. Reindex into a new lake instead."
            )
        files: dict[str, _File] = {}
        for source in sources:
            if source.name not in written:
                written[source.name] = _without(source, doc_ids, target)
            file = written[source.name]
            if file is not None:
                files[file.name] = file
        actions: list[dict[str, Any]] = []
        if number == 0:
            actions.append({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}})
        if (fields := state.schema().to_json()) != schema:
            schema = fields
            actions.append({"metaData": _metadata(schema)})
        actions += [{"remove": _remove(before[name])} for name in before if name not in files]
        actions += [{"add": _add(files[name])} for name in files if name not in before]
        _commit(target, number, actions)
        before = files
    sync_tree(target)
    return {version: number for number, version in enumerate(versions)}


def _without(source: Path, doc_ids: Collection[str], target: Path) -> _File | None:
    """Put a data file without the documents' rows into ``target``; None when no row is left."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(source) as parquet:
        rows = parquet.metadata.num_rows
        codec = parquet.metadata.row_group(0).column(0).compression if parquet.metadata.num_row_groups else "SNAPPY"
        schema = arrays.plain_schema(parquet.schema_arrow)
    owned = sum(arrays.of_documents(batch, doc_ids).true_count for batch in arrays.batches(source, ["doc_id"]))
    if owned == rows:
        return None
    if not owned:
        _link(source, target / source.name)
        return _File(source.name, rows, source.stat().st_size)
    # A new name: no reader may take it for the file that it replaces.
    path = target / f"part-00000-{uuid.uuid4()}-c000.parquet"
    with pq.ParquetWriter(path, schema, compression=codec) as writer:
        for batch in arrays.batches(source):
            left = batch.filter(pc.invert(arrays.of_documents(batch, doc_ids)))
            if left.num_rows:
                writer.write_batch(left)
    return _File(path.name, rows - owned, path.stat().st_size)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def _metadata(schema: str) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()),
        "format": {"provider": "parquet", "options": {}},
        "schemaString": schema,
        "partitionColumns": [],
        "configuration": CONFIGURATION,
        "createdTime": _now(),
    }


def _add(file: _File) -> dict[str, Any]:
    return {
        "path": file.name,
        "partitionValues": {},
        "size": file.size,
        "modificationTime": _now(),
        "dataChange": True,
        "stats": json.dumps({"numRecords": file.rows}),
    }


def _remove(file: _File) -> dict[str, Any]:
    return {
        "path": file.name,
        "deletionTimestamp": _now(),
        "dataChange": True,
        "extendedFileMetadata": True,
        "partitionValues": {},
        "size": file.size,
    }


def _commit(target: Path, version: int, actions: list[dict[str, Any]]) -> None:
    info = {"commitInfo": {"timestamp": _now(), "operation": "WRITE", "operationParameters": {"mode": "Append"}}}
    lines = "".join(json.dumps(action) + "\n" for action in [info, *actions])
    (target / _LOG / f"{version:020}.json").write_text(lines)


def _now() -> int:
    return int(time.time() * 1000)
