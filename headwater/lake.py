"""The lake: one Delta table per stage of a corpus.

Stages hold rows keyed by ``id``; documents own rows through ``doc_id``. A stage's changes arrive as one
change set and are committed atomically: readers see the table before or after, never between.
Every commit is a version that can be read later, which is how a release pins what it was built from.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from headwater import aws
from headwater.errors import HeadwaterError, LakeError
from headwater.lake_folder import TABLE_LOG, LakeFolder, LocalFolder, lake_folder

if TYPE_CHECKING:
    from deltalake import CommitProperties, DeltaTable, WriterProperties

_SCAN_ROWS = 1024
"""Rows read at a time; documents are large, so this bounds memory."""

GROUP_ROWS = 4096
"""Rows of a row group: Arrow decodes a group's columns whole, however few rows are asked for at a time, and a million rows, which
is the default, are all of a file. Reading 17,680 documents of 7,000 characters took 820 MiB, and takes 250."""

_READ_BYTES = 4 * 2**20
"""Read of a column at a time: in a bucket one request."""

_NOTE = "headwater.note"

CONFIGURATION = {"delta.logRetentionDuration": "interval 36500 days"}
"""Of every table. Delta would expire versions by age; here a version is kept as long as a release pins it."""

DELETE = "_delete"
"""Marks, inside a change set, the rows that leave the table."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """A state of a table: any later commit adds a file to the log, and an erasure puts another log in its place."""

    log: str
    version: int

    def holds(self, folder: LakeFolder) -> bool:
        """Return whether the table is still as it was: two look-ups of files, in a bucket two requests."""
        return not folder.exists(f"{TABLE_LOG}/{self.version + 1:020}.json") and folder.log_mark() == self.log


@dataclass(frozen=True, slots=True)
class _Kept:
    """A table as it was opened, with the credentials that it was opened with."""

    stamp: Stamp
    options: dict[str, str] | None
    table: DeltaTable


class Table:
    """One stage table. Reading a table that was never written gives no rows.

    What was opened to be read is kept and serves until the table changes: opening reads all of the log.

    ``schema`` is the Arrow schema the running code writes; it always starts with ``id``, ``doc_id`` and
    ``fingerprint`` (strings). ``place`` is a local folder, by its path, or one of a bucket.
    """

    def __init__(self, place: Path | LakeFolder, schema: pa.Schema) -> None:
        self.folder = lake_folder(place)
        self.schema = schema
        self.name = self.folder.name
        self._kept: _Kept | None = None

    @property
    def path(self) -> Path:
        """The folder of a table on this machine; LakeError for one in a bucket."""
        return local_path(self.folder)

    def exists(self) -> bool:
        """Return whether the table was ever written."""
        return self.folder.is_table()

    def version(self) -> int | None:
        """Return the newest version, None before the first write."""
        table = self._opened()
        return int(table.version()) if table is not None else None

    def stamp(self) -> Stamp:
        """Return the state that the table is in. Raises LakeError when it was never written."""
        self._opened()
        kept = self._kept
        if kept is None:
            raise LakeError(f"Table {self.folder.uri} is not there.")
        return kept.stamp

    def same_schema(self) -> bool:
        """Return whether the stored columns are those that the running code writes; False before the first write."""
        table = self._opened()
        if table is None:
            return False
        stored = pa.schema(table.schema().to_arrow())
        return [(f.name, _canonical(f.type)) for f in stored] == [(f.name, _canonical(f.type)) for f in self.schema]

    def scan(self, version: int | None = None) -> pl.LazyFrame:
        """Return the table, or the given version of it, as a lazy frame."""
        table = self._opened(version)
        if table is None:
            return pl.LazyFrame(schema=pl.Schema(pl.from_arrow(self.schema.empty_table()).schema))  # type: ignore[union-attr]
        return pl.scan_delta(table)

    def read(self, columns: Sequence[str], version: int | None = None) -> pl.DataFrame:
        """Return the given columns of all rows."""
        return self.scan(version).select(columns).collect()

    def batches(self, columns: Sequence[str], ids: Sequence[str], rows: int) -> Iterator[pa.Table]:
        """Yield the rows with these ids, at most ``rows`` at a time, in the table's own order.

        A column that the running code writes and an earlier version didn't is null.
        The table is streamed once, whatever the number of ids; no more than a file's row group is in memory.
        """
        import pyarrow.compute as pc

        table = self._opened() if ids else None
        if table is None:
            return
        wanted = pa.array(ids, pa.string())
        dataset = table.to_pyarrow_dataset()
        stored = [name for name in columns if name in dataset.schema.names]
        absent = [self.schema.field(name) for name in columns if name not in stored]
        pending: list[pa.RecordBatch] = []
        count = 0
        for batch in dataset.to_batches(columns=stored, batch_size=_SCAN_ROWS, **_frugally()):
            # Not pushed into the scan: files written by a merge have statistics that Arrow can't compare strings with.
            kept = batch.filter(pc.is_in(batch.column("id").cast(pa.string()), value_set=wanted))
            for field in absent:
                kept = kept.append_column(field, pa.nulls(kept.num_rows, field.type))
            position = 0
            while position < kept.num_rows:
                part = kept.slice(position, rows - count)
                pending.append(part)
                count += part.num_rows
                position += part.num_rows
                if count == rows:
                    yield pa.Table.from_batches(pending)
                    pending, count = [], 0
        if pending:
            yield pa.Table.from_batches(pending)

    def written_since(self, since: float) -> int:
        """Return the bytes of the newest version's data files that were added at or after ``since`` (POSIX seconds)."""
        table = self._opened()
        if table is None:
            return 0
        files = pl.DataFrame(table.get_add_actions(flatten=True))
        added = files.filter(pl.col("modification_time").dt.epoch("ms") >= int(since * 1000))
        return int(added["size_bytes"].sum())

    def note(self) -> str | None:
        """Return the note that the newest commit carries."""
        table = self._opened()
        newest = table.history(1)[0] if table is not None else {}
        return newest.get(_NOTE)

    def replace(self, batches: Iterable[pa.RecordBatch], note: str | None = None) -> None:
        """Replace all rows, in one commit that carries ``note``."""
        from deltalake import write_deltalake

        with self._spooled(self.schema, batches) as reader, self._explained():
            properties = _properties(note)
            write_deltalake(
                self.folder.uri,
                reader,
                mode="overwrite",
                schema_mode="overwrite",
                configuration=CONFIGURATION,
                commit_properties=properties,
                writer_properties=_small_groups(),
                storage_options=self.folder.options(),
            )

    def change(self, batches: Iterable[pa.RecordBatch], note: str | None = None) -> None:
        """Upsert and delete rows by ``id``, in one commit that carries ``note``.

        ``batches`` have the table's columns and a boolean :data:`DELETE`; a deleted row needs its ``id`` only.
        """
        columns = {field.name: f"s.`{field.name}`" for field in self.schema}
        with self._spooled(self.schema.append(pa.field(DELETE, pa.bool_())), batches) as reader, self._explained():
            (
                open_table(self.folder)
                .merge(
                    reader,
                    predicate="t.id = s.id",
                    source_alias="s",
                    target_alias="t",
                    streamed_exec=False,
                    commit_properties=_properties(note),
                    writer_properties=_small_groups(),
                )
                .when_matched_delete(predicate=f"s.`{DELETE}`")
                .when_matched_update(columns)
                .when_not_matched_insert(columns, predicate=f"NOT s.`{DELETE}`")
                .execute()
            )

    def vacuum(self, keep: Collection[int], *, older_than_hours: int = 1) -> int:
        """Delete the data files that neither the newest version nor those in ``keep`` need; return how many.

        What left the table less than ``older_than_hours`` ago stays: a reader may have opened a version just before.
        What a killed writer left without committing goes, too, once it is that old. The note is kept; when there is nothing to delete, nothing is written.
        """
        if not self.exists():
            return 0
        table = open_table(self.folder)
        known = [version for version in {*keep, table.version()} if version <= table.version()]
        options: dict[str, Any] = {
            "retention_hours": older_than_hours,
            "enforce_retention_duration": False,  # Delta's week is for readers that pin nothing
            "full": True,
            "keep_versions": sorted(known),
        }
        try:
            # The list also has files that an earlier call deleted.
            found = table.vacuum(dry_run=True, **options)
            there = _present(self.folder, found)
            if there:
                table.vacuum(dry_run=False, commit_properties=_properties(self.note()), **options)
        except LakeError:
            raise
        except Exception as error:
            raise LakeError(f"Table {self.folder.uri} can't be cleaned of unused files: {_said(error)}") from error
        return there

    @contextmanager
    def _spooled(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatchReader]:
        """Write all batches to a file on this machine, beside the table if that is here, then give a reader over it.

        So nothing of a run that fails midway is committed, memory stays flat, and producing a batch may itself read
        tables, which Delta's writer does not allow while it writes.
        """
        spool = self.folder.spool / f"{self.name}.arrow"
        spool.parent.mkdir(parents=True, exist_ok=True)
        try:
            with pa.OSFile(str(spool), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
                for batch in batches:
                    writer.write_batch(batch)
            with pa.memory_map(str(spool)) as source:
                file = pa.ipc.open_file(source)
                parts = (file.get_batch(index) for index in range(file.num_record_batches))
                yield pa.RecordBatchReader.from_batches(schema, parts)
        finally:
            spool.unlink(missing_ok=True)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say of an error of the bucket what it means and what to do; other errors stay what they are."""
        try:
            yield
        except Exception as error:
            meaning = None if isinstance(error, HeadwaterError) else aws.explain(error)
            if meaning is None or isinstance(self.folder, LocalFolder):
                raise
            raise LakeError(f"Table {self.folder.uri} can't be written: {meaning}") from error

    def _opened(self, version: int | None = None) -> DeltaTable | None:
        """Return the newest version, or the given one, for reading; None before the first write."""
        kept, options = self._kept, self.folder.options()
        if kept is None or kept.options != options or not kept.stamp.holds(self.folder):
            mark = self.folder.log_mark()  # taken first: what is committed meanwhile makes this look old, never new
            if mark is None and not self.folder.is_table():
                self._kept = None
                return None
            table = open_table(self.folder)
            kept = self._kept = _Kept(Stamp(mark or "", int(table.version())), options, table)
        return kept.table if version in (None, kept.stamp.version) else open_table(self.folder, version)


def open_table(folder: LakeFolder, version: int | None = None) -> DeltaTable:
    """Return the newest version of a table, or the given one. Raises LakeError when it can't be opened."""
    from deltalake import DeltaTable

    try:
        return DeltaTable(folder.uri, version=version, storage_options=folder.options())
    except LakeError:
        raise
    except Exception as error:
        raise LakeError(f"Table {folder.uri} can't be opened: {_said(error)}") from error


def _frugally() -> dict[str, Any]:
    """Return how a table is scanned when a batch at a time is needed.

    By default sixteen are read ahead, of four files, and Arrow's own pool keeps what was freed: 160,000 rows with vectors
    took 1.8 GB, and take .4.
    """
    import pyarrow.dataset as ds

    options = ds.ParquetFragmentScanOptions(pre_buffer=False, use_buffered_stream=True, buffer_size=_READ_BYTES)
    return {
        "use_threads": False,
        "batch_readahead": 0,
        "fragment_readahead": 0,
        "fragment_scan_options": options,
        "memory_pool": pa.system_memory_pool(),
    }


def local_path(folder: LakeFolder) -> Path:
    """Return where a folder of this machine is; LakeError for one in a bucket."""
    if isinstance(folder, LocalFolder):
        return folder.path
    raise LakeError(f"{folder.uri} is no folder of this machine.")


def _present(folder: LakeFolder, names: Sequence[str]) -> int:
    """Return how many of the files are there: Delta also names those that an earlier call deleted."""
    if isinstance(folder, LocalFolder):
        return sum(folder.exists(name) for name in names)
    return len({getattr(file, "key", "") for file in folder.files()} & set(names)) if names else 0


def _said(error: Exception) -> str:
    """Return what an error says; of one that S3 gave, what it means and what to do."""
    return aws.explain(error) or str(error)


def _small_groups() -> WriterProperties:
    from deltalake import WriterProperties

    return WriterProperties(max_row_group_size=GROUP_ROWS, compression="SNAPPY")  # which is the default of none at all


def _properties(note: str | None) -> CommitProperties | None:
    from deltalake import CommitProperties

    return CommitProperties(custom_metadata={_NOTE: note}) if note is not None else None


def _canonical(kind: pa.DataType) -> str:
    """Return a type's name with large, view and plain forms of strings and lists made equal."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return f"list<{_canonical(kind.value_type)}>"
    if pa.types.is_struct(kind):
        return "struct<" + ",".join(f"{field.name}:{_canonical(field.type)}" for field in kind) + ">"
    name = str(kind)
    # Delta has no unsigned integers: they are stored as the signed type of the same width.
    return name.replace("large_", "").replace("_view", "").replace("uint", "int")
