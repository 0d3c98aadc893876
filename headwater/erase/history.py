"""Taking documents out of a Delta table's history.

A Delta table is data files and a log that says which of them a version has. A new table is built beside the old one,
with the versions that are kept as its versions 0, 1, 2 ...: a data file without rows of the document is kept, one
with rows is written anew without them, and the log is written afresh (the old one keeps the first characters of strings
as statistics). So a version has exactly the rows that it had, less the document's, and costs what it cost.

The log is written by hand because no library commits a chosen set of files; its form is that of the Delta protocol
(github.com/delta-io/delta, PROTOCOL.md, "Actions") for readers of version 1.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from headwater.erase import arrays
from headwater.erase.targets import LocalTarget, Target
from headwater.errors import LakeError
from headwater.lake import CONFIGURATION, Table, open_table
from headwater.lake_folder import LakeFile
from headwater.lake_reading import data_files, fetched_ahead


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    rows: int
    size: int


@dataclass(frozen=True, slots=True)
class _Version:
    """A version of the old table: its schema as Delta writes it, and its data files."""

    number: int
    schema: str
    sources: list[LakeFile]


def rewrite(table: Table, doc_ids: Collection[str], keep: Iterable[int], place: Path | Target) -> dict[int, int]:
    """Write ``table`` without the rows of the documents to ``place``; return old version -> new version.

    The newest version and those in ``keep`` are kept. Durable when it returns; what was at ``place`` is replaced.
    Raises LakeError for a table that this can't be done with.
    """
    newest = table.version()
    if newest is None:
        raise LakeError(f"Table {table.folder.uri} was never written.")
    target = LocalTarget(place) if isinstance(place, Path) else place
    target.clear()
    before: dict[str, _File] = {}
    schema = ""
    versions = _versions(table, sorted({*keep, newest}))
    sources = {source.name: source for version in versions for source in version.sources}
    written = {source.name: _without(source, doc_ids, target) for source in fetched_ahead(sources.values())}
    for number, version in enumerate(versions):
        left = (written[source.name] for source in version.sources)
        files = {file.name: file for file in left if file is not None}
        actions: list[dict[str, Any]] = []
        if number == 0:
            actions.append({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}})
        if version.schema != schema:
            schema = version.schema
            actions.append({"metaData": _metadata(schema)})
        actions += [{"remove": _remove(before[name])} for name in before if name not in files]
        actions += [{"add": _add(files[name])} for name in files if name not in before]
        _commit(target, number, actions)
        before = files
    target.seal()
    return {version.number: number for number, version in enumerate(versions)}


def _versions(table: Table, numbers: Iterable[int]) -> list[_Version]:
    """Return the versions of a table. Raises LakeError for one that is gone, or that newer Delta features are in."""
    there = {file.name: file for file in data_files(table.folder)}
    found = []
    for number in numbers:
        try:
            state = open_table(table.folder, number)
            sources = [there[uri.rpartition("/")[2]] for uri in state.file_uris()]
        except Exception as error:
            raise LakeError(f"Version {number} of table {table.folder.uri}, which a release needs, is gone.") from error
        protocol = state.protocol()
        if protocol.min_reader_version != 1:
            raise LakeError(
                f"Table {table.folder.uri} was changed by a program that uses newer Delta features (reader version "
                f"{protocol.min_reader_version}); its history can't be rewritten. Reindex into a new lake instead."
            )
        found.append(_Version(number, state.schema().to_json(), sources))
    return found


def _without(source: LakeFile, doc_ids: Collection[str], target: Target) -> _File | None:
    """Put a data file without the documents' rows into ``target``; None when no row is left."""
    import pyarrow.parquet as pq

    with arrays.parquet_file(source) as parquet:
        rows = parquet.metadata.num_rows
        codec = parquet.metadata.row_group(0).column(0).compression if parquet.metadata.num_row_groups else "SNAPPY"
        schema = arrays.plain_schema(parquet.schema_arrow)
    owned = sum(arrays.of_documents(batch, doc_ids).true_count for batch in arrays.batches(source, ["doc_id"]))
    if owned == rows:
        return None
    if not owned:
        target.keep(source)
        return _File(source.name, rows, source.stat().st_size if isinstance(source, Path) else source.size)
    # A new name: no reader may take it for the file that it replaces.
    name = f"part-00000-{uuid.uuid4()}-c000.parquet"
    codec = "NONE" if codec == "UNCOMPRESSED" else codec  # pyarrow writes another word than it reads
    with target.add(name) as sink:
        with pq.ParquetWriter(sink, schema, compression=codec) as writer:
            for batch in arrays.batches(source):
                left = batch.filter(pc.invert(arrays.of_documents(batch, doc_ids)))
                if left.num_rows:
                    writer.write_batch(left)
        size = sink.tell()
    return _File(name, rows - owned, size)


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


def _commit(target: Target, version: int, actions: list[dict[str, Any]]) -> None:
    info = {"commitInfo": {"timestamp": _now(), "operation": "WRITE", "operationParameters": {"mode": "Append"}}}
    lines = "".join(json.dumps(action) + "\n" for action in [info, *actions])
    target.commit(f"{version:020}.json", lines)


def _now() -> int:
    return int(time.time() * 1000)
