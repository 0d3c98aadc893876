"""The lake: versions that releases pin stay readable whatever else is cleaned away."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from headwater.driver import CORE, change_batches
from headwater.lake import GROUP_ROWS, Table, open_table
from headwater.lake_folder import LakeFolder

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


def test_a_column_that_an_earlier_version_did_not_write_is_null(table: Table) -> None:
    table.replace(rows("one", "two"))
    wider = Table(table.path, SCHEMA.append(pa.field("pages", pa.list_(pa.int32()))))
    (found,) = wider.batches(["id", "pages", "text"], ["d1"], 10)
    assert found.to_pylist() == [{"id": "d1", "text": "two", "pages": None}]


def test_row_groups_are_small_however_a_table_is_written(table: Table) -> None:
    count = 2 * GROUP_ROWS + 5

    def groups() -> list[int]:
        files = [pq.read_metadata(path) for path in table.path.glob("*.parquet")]
        assert {file.row_group(0).column(0).compression for file in files} == {"SNAPPY"}
        return [file.row_group(place).num_rows for file in files for place in range(file.num_row_groups)]

    table.replace(rows(*["one"] * count))
    assert sum(groups()) == count and max(groups()) == GROUP_ROWS
    change(table, *["two"] * count)
    assert max(groups()) == GROUP_ROWS and texts(table) == ["two"] * count


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


def test_what_another_process_commits_is_read_at_once(table: Table) -> None:
    table.replace(rows("one"))
    assert (table.version(), texts(table)) == (0, ["one"])
    change(Table(table.path, SCHEMA), "two")
    assert (table.version(), texts(table), texts(table, 0)) == (1, ["two"], ["one"])


def test_a_table_that_takes_the_place_of_another_is_read_although_its_version_is_the_same(
    table: Table, tmp_path: Path
) -> None:
    table.replace(rows("one"))
    assert texts(table) == ["one"]
    other = Table(tmp_path / "other", SCHEMA)
    other.replace(rows("two"))
    table.path.rename(tmp_path / "old")
    other.path.rename(table.path)
    assert (table.version(), texts(table)) == (0, ["two"])


def test_a_table_that_was_removed_has_no_rows_and_no_version(table: Table) -> None:
    table.replace(rows("one"))
    assert texts(table) == ["one"]
    shutil.rmtree(table.path)
    assert (table.version(), texts(table), table.exists()) == (None, [], False)


def test_an_unchanged_table_is_opened_once_however_often_it_is_read(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.replace(rows("one"))
    opened: list[str] = []

    def count(folder: LakeFolder, version: int | None = None) -> DeltaTable:
        opened.append(folder.uri)
        return open_table(folder, version)

    monkeypatch.setattr("headwater.lake.open_table", count)
    assert [texts(table) for _ in range(5)] == [["one"]] * 5
    assert (table.version(), table.same_schema(), len(opened)) == (0, True, 1)
