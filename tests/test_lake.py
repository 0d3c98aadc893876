"""The lake: versions that releases pin stay readable whatever else is cleaned away."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from headwater.driver import CORE, change_batches
from headwater.lake import Table

SCHEMA = pa.schema([*CORE, ("text", pa.string())])


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(tmp_path / "texts", SCHEMA)


def rows(*texts: str, start: int = 0) -> list[pa.RecordBatch]:
    entries = [
        {"id": f"d{number}", "doc_id": f"d{number}", "fingerprint": text, "state": "ok", "reason": "ok", "text": text}
        for number, text in enumerate(texts, start)
    ]
    return pa.Table.from_pylist(entries, schema=SCHEMA).to_batches()


def change(table: Table, *texts: str, note: str | None = None) -> None:
    table.change(change_batches(SCHEMA, rows(*texts), []), note)


def texts(table: Table, version: int | None = None) -> list[str]:
    return sorted(table.read(["text"], version)["text"])


def parts(table: Table) -> set[str]:
    return {path.name for path in table.path.glob("*.parquet")}


def test_a_table_never_forgets_a_version_by_age(table: Table) -> None:
    table.replace(rows("one"))
    table.replace(rows("two"))
    configuration = DeltaTable(str(table.path)).metadata().configuration
    assert configuration["delta.logRetentionDuration"] == "interval 36500 days"


def test_pinned_versions_stay_readable_and_other_files_go(table: Table) -> None:
    table.replace(rows("a0", "b0"))
    for number in range(1, 24):
        change(table, f"a{number}", note=f"note {number}")
        if number == 12:
            DeltaTable(str(table.path)).create_checkpoint()
    newest = table.version()
    assert newest is not None
    pinned = [3, 15]
    before = {version: texts(table, version) for version in (*pinned, newest)}
    needed = {Path(uri).name for v in before for uri in DeltaTable(str(table.path), version=v).file_uris()}
    removed = table.vacuum(pinned, older_than_hours=0)
    assert removed > 0
    assert parts(table) == needed
    assert {version: texts(table, version) for version in before} == before
    assert (texts(table), table.note()) == (before[newest], "note 23")
    with pytest.raises(Exception, match=r"parquet|exist|found"):
        texts(table, 9)
    version = table.version()
    assert table.vacuum(pinned, older_than_hours=0) == 0
    assert table.version() == version  # nothing to do, nothing written


def test_versions_pinned_after_a_clean_up_stay_readable_through_the_next(table: Table) -> None:
    table.replace(rows("a0"))
    change(table, "a1")
    assert table.vacuum([], older_than_hours=0) == 1
    change(table, "a2")
    pinned = table.version()
    assert pinned is not None
    change(table, "a3")
    DeltaTable(str(table.path)).create_checkpoint()
    change(table, "a4")
    assert table.vacuum([pinned], older_than_hours=0) > 0
    assert (texts(table, pinned), texts(table)) == (["a2"], ["a4"])


def test_young_files_are_left_for_readers_that_just_opened_them(table: Table) -> None:
    table.replace(rows("one"))
    table.replace(rows("two"))
    assert table.vacuum([]) == 0
    assert texts(table, 0) == ["one"]
    assert table.vacuum([], older_than_hours=0) == 1


def test_what_a_killed_writer_left_goes(table: Table) -> None:
    table.replace(rows("one"))
    orphan = table.path / "part-00000-0badc0de-c000.snappy.parquet"
    orphan.write_bytes(b"PAR1 half a file")
    assert table.vacuum([]) == 0
    moment = time.time() - 2 * 3600
    os.utime(orphan, (moment, moment))
    assert table.vacuum([]) == 1
    assert not orphan.exists()
    assert texts(table) == ["one"]


def test_cleaning_a_table_that_was_never_written_does_nothing(table: Table) -> None:
    assert table.vacuum([3]) == 0
