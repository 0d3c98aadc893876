"""The lake in an S3 bucket: commits that can't be lost, files and errors, and what an erasure leaves of a table."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headwater import lake_reading
from headwater.doctor import examine
from headwater.driver import CORE, change_batches
from headwater.embedding import VectorCache
from headwater.erase.history import rewrite
from headwater.erase.plan import FOLDER
from headwater.erase.targets import install, target
from headwater.erase.vectors import follow_erasures
from headwater.errors import ConfigError, LakeError
from headwater.hashing import digest
from headwater.lake import Table, open_table
from headwater.lake_folder import LakeFolder, LocalFolder, RemoteFile, RemoteFolder
from headwater.lake_owner import OWNER_FILE, check_owner
from headwater.lake_reading import FETCHED_AT_ONCE, fetched_ahead
from headwater.lake_versions import delete_old_versions, old_versions
from headwater.ledger import Ledger
from headwater.project import Project, project_at
from tests.object_store import s3_client

SCHEMA = pa.schema([*CORE, ("text", pa.string())])


def rows(texts: dict[str, str]) -> list[pa.RecordBatch]:
    """Return one row per document, whose text it is."""
    given = [{"id": f"{name}:0", "doc_id": name, "fingerprint": text, "text": text} for name, text in texts.items()]
    return pa.Table.from_pylist(given, schema=SCHEMA).to_batches()


def held(table: Table, version: int | None = None) -> dict[str, str]:
    return dict(table.read(["doc_id", "text"], version).sort("doc_id").iter_rows())


def keys(bucket: str) -> list[str]:
    return [entry["Key"] for entry in s3_client().list_objects_v2(Bucket=bucket).get("Contents", ())]


@pytest.fixture
def lake(s3: str, tmp_path: Path) -> RemoteFolder:
    return RemoteFolder(f"s3://{s3}/deep/lake/works", tmp_path / ".spool")


@pytest.fixture
def table(lake: RemoteFolder) -> Table:
    return Table(lake.child("texts"), SCHEMA)


def test_a_table_in_a_bucket_reads_and_changes_as_one_on_a_disk(table: Table, tmp_path: Path) -> None:
    assert not table.exists() and table.version() is None and held(table) == {}
    table.replace(rows({"a": "x", "b": "y"}), note="first")
    table.change(change_batches(SCHEMA, rows({"b": "z", "c": "w"}), ["a:0"]), note="second")
    assert (table.version(), table.note(), table.same_schema()) == (1, "second", True)
    assert held(table) == {"b": "z", "c": "w"} and held(table, 0) == {"a": "x", "b": "y"}
    assert [batch.num_rows for batch in table.batches(["id"], ["b:0", "c:0"], 1)] == [1, 1]
    assert list(tmp_path.rglob("*.arrow")) == []


def test_of_two_writers_of_one_version_the_second_is_refused_and_nothing_is_lost(table: Table) -> None:
    table.replace(rows({"a": "x"}))
    stale = open_table(table.folder)
    table.change(change_batches(SCHEMA, rows({"a": "first"}), []))
    with pytest.raises(Exception, match=r"(?i)commit"):
        stale.merge(
            pa.Table.from_batches(rows({"a": "second"})), predicate="t.id = s.id", source_alias="s", target_alias="t"
        ).when_matched_update({"text": "s.text"}).execute()
    assert held(table) == {"a": "first"} and table.version() == 1


def test_unused_files_are_deleted_and_what_a_release_needs_is_kept(table: Table, s3: str) -> None:
    for text in "uvw":
        table.replace(rows({"a": text}))
    assert table.vacuum([0], older_than_hours=0) == 1
    assert table.vacuum([0], older_than_hours=0) == 0
    assert held(table, 0) == {"a": "u"} and held(table) == {"a": "w"}
    assert sum(key.endswith(".parquet") for key in keys(s3)) == 2


def test_files_beside_the_tables(lake: RemoteFolder, s3: str) -> None:
    lake.write(".listing", b"abc")
    lake.child("texts").write("x.parquet", b"")
    lake.write(".erase/d.json", b"{}")
    assert lake.read(".listing") == b"abc" and lake.exists(".listing") and not lake.exists("nothing")
    assert [str(file).removeprefix(f"{lake.uri}/") for file in lake.files()] == [
        ".erase/d.json",
        ".listing",
        "texts/x.parquet",
    ]
    assert lake.names(FOLDER) == [".erase/d.json"] and lake.names("nothing") == []
    assert lake.children() == [".erase", "texts"]
    lake.delete([".listing", ".listing", "nothing"])
    assert keys(s3) == ["deep/lake/works/.erase/d.json", "deep/lake/works/texts/x.parquet"]
    with pytest.raises(FileNotFoundError):
        lake.read(".listing")


class Watched(RemoteFolder):
    """Counts how many reads are under way together, each of which waits until there have been ``enough`` at once."""

    enough = 1

    def __init__(self, uri: str, spool: Path) -> None:
        super().__init__(uri, spool)
        self.under_way = self.most = 0
        self.changed = threading.Condition()

    def read(self, name: str) -> bytes:
        with self.changed:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            self.changed.notify_all()
            assert self.changed.wait_for(lambda: self.most >= self.enough, timeout=60)
        try:
            return super().read(name)
        finally:
            with self.changed:
                self.under_way -= 1


def test_files_of_a_bucket_are_fetched_several_at_a_time_and_read_in_their_order(lake: RemoteFolder) -> None:
    names = [f"{number:03}" for number in range(3 * FETCHED_AT_ONCE)]
    for name in names:
        lake.write(name, name.encode())
    watched = Watched(lake.uri, lake.spool)
    watched.enough = FETCHED_AT_ONCE
    read = [(file.name, file.read_bytes()) for file in fetched_ahead(watched.files())]
    assert read == [(name, name.encode()) for name in names]
    assert watched.most == FETCHED_AT_ONCE


def test_what_is_fetched_ahead_is_bounded_in_bytes_and_fetched_once(
    lake: RemoteFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        lake.write(f"{number}", b"four" if number != 3 else b"more than all may be")
    monkeypatch.setattr(lake_reading, "FETCHED_BYTES", 8)
    asked: list[str] = []

    def listed() -> Iterator[RemoteFile]:
        for file in lake.files():
            asked.append(file.name)
            yield file

    counts = []
    for file in fetched_ahead(listed()):
        counts.append((file.name, len(asked)))
        content = file.read_bytes()
        lake.delete([file.name])
        with file.open("rb") as again:
            assert again.read() == content
    # The next file is always asked for, to see whether it fits; the third has no room beside two of four bytes.
    assert counts == [("0", 3), ("1", 4), ("2", 4), ("3", 5), ("4", 6), ("5", 6)]


def test_a_file_that_is_gone_when_it_is_fetched_is_missing_where_it_is_read(lake: RemoteFolder) -> None:
    for name in "abc":
        lake.write(name, name.encode())
    listed = list(lake.files())
    lake.delete(["b"])
    found = list(fetched_ahead(listed))
    assert [file.name for file in found] == ["a", "b", "c"]
    with pytest.raises(FileNotFoundError):
        found[1].read_bytes()
    assert found[2].read_bytes() == b"c"


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_rewritten_history_takes_the_old_ones_place_in_the_bucket(
    lake: RemoteFolder, table: Table, s3: str, interrupted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.replace(rows({"a": "secret", "b": "y"}))
    table.change(change_batches(SCHEMA, rows({"b": "z"}), []))
    table.change(change_batches(SCHEMA, rows({"c": "w"}), []))
    mark = lake.child("texts").log_mark()
    moved = rewrite(table, ["a"], [0], target(lake, "texts"))
    assert moved == {0: 0, 2: 1}
    assert held(table)["a"] == "secret"  # until it takes its place
    if interrupted:
        with monkeypatch.context() as patch:
            patch.setattr(RemoteFolder, "write", _killed)
            with pytest.raises(KeyboardInterrupt):
                install(lake, "texts")
        assert not table.exists()  # missing, rather than wrong
    install(lake, "texts")
    install(lake, "texts")
    assert held(table, 0) == {"b": "y"} and held(table) == {"b": "z", "c": "w"} and table.version() == 1
    assert lake.names(FOLDER) == [] and lake.child("texts").log_mark() not in (mark, None)
    for key in keys(s3):
        assert b"secret" not in s3_client().get_object(Bucket=s3, Key=key)["Body"].read()
    table.change(change_batches(SCHEMA, rows({"d": "new"}), []))
    assert held(table) == {"b": "z", "c": "w", "d": "new"}


def _killed(*_: Any) -> None:
    raise KeyboardInterrupt


def test_old_versions_that_the_bucket_keeps_are_found_and_deleted(lake: RemoteFolder, s3: str) -> None:
    client = s3_client()
    lake.write("kept", b"1")
    assert old_versions(lake) == []
    client.put_bucket_versioning(Bucket=s3, VersioningConfiguration={"Status": "Enabled"})
    client.put_object(Bucket=s3, Key="deep/lake/works2/other", Body=b"1")
    client.put_object(Bucket=s3, Key="deep/lake/works2/other", Body=b"2")
    for data in (b"old secret", b"new"):
        lake.write("gone", data)
    lake.delete(["gone"])
    lake.write("kept", b"2")
    assert delete_old_versions(lake) == 4 and old_versions(lake) == []
    assert lake.read("kept") == b"2"
    left = client.list_object_versions(Bucket=s3)
    assert sorted(version["Key"] for version in left["Versions"]) == [
        "deep/lake/works/kept",
        "deep/lake/works2/other",
        "deep/lake/works2/other",
    ]
    assert "DeleteMarkers" not in left


def test_a_bucket_that_is_not_there_is_named_with_what_to_do(s3: str, tmp_path: Path) -> None:
    lake = RemoteFolder("s3://headwater-nowhere/lake", tmp_path)
    with pytest.raises(LakeError, match=r"s3://headwater-nowhere/lake.*no such bucket"):
        list(lake.files())
    with pytest.raises(LakeError, match="no such bucket"):
        Table(lake.child("texts"), SCHEMA).replace(rows({"a": "x"}))


@pytest.mark.parametrize("place", ["gs://papers/lake", "s3://", "s3:///lake", "s3://papers/lake?x=1"])
def test_a_place_that_can_hold_no_lake_is_a_configuration_error(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADWATER_LAKE", place)
    with pytest.raises(ConfigError, match="HEADWATER_LAKE"):
        project_at(tmp_path).lake("works")


def test_the_lake_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADWATER_LAKE", raising=False)
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    assert project_at(tmp_path).lake("works").uri == str(tmp_path / "home/lake/works")
    monkeypatch.setenv("HEADWATER_LAKE", str(tmp_path / "disk"))
    assert project_at(tmp_path).lake("works").uri == str(tmp_path / "disk/works")
    monkeypatch.setenv("HEADWATER_LAKE", "s3://papers/deep/lake/")
    lake = project_at(tmp_path).lake("works")
    assert lake.uri == "s3://papers/deep/lake/works"
    assert lake.child("chunks").uri == "s3://papers/deep/lake/works/chunks"
    assert lake.child("chunks").spool == tmp_path / "home/lake/works/.spool"


def test_the_doctor_tries_whether_commits_can_be_lost(
    s3: str, tmp_path: Path, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADWATER_LAKE", f"s3://{s3}/lakes")
    (found,) = [finding for finding in examine() if finding.name == "lake"]
    assert (found.state, found.found) == ("ok", f"s3://{s3}/lakes") and keys(s3) == []
    monkeypatch.setenv("HEADWATER_LAKE", "s3://headwater-nowhere/lakes")
    (found,) = [finding for finding in examine() if finding.name == "lake"]
    assert found.state == "problem" and "no such bucket" in found.meaning


def test_a_second_ledger_in_a_file_cannot_write_the_same_lake(
    lake: RemoteFolder, table: Table, project: Project, tmp_path: Path
) -> None:
    project.home.mkdir(exist_ok=True)
    check_owner(lake, project)
    check_owner(lake, project)
    other = Project(root=tmp_path, home=tmp_path / "other")
    other.home.mkdir()
    with pytest.raises(ConfigError, match="another ledger"):
        check_owner(lake, other)
    unmarked = RemoteFolder(f"{lake.uri}2", tmp_path / ".spool")
    Table(unmarked.child("source_objects"), SCHEMA).replace(rows({"a": "x"}))
    with pytest.raises(ConfigError, match="another ledger"):
        check_owner(unmarked, project)


def test_a_second_home_cannot_write_the_lake_of_a_shared_folder(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HEADWATER_LEDGER_URL", raising=False)
    other = Project(root=tmp_path, home=tmp_path / "other")
    within = LocalFolder(project.home / "lake" / "works")
    check_owner(within, project)
    assert not within.exists(OWNER_FILE), "a lake in the home is nobody else's"
    shared = LocalFolder(tmp_path / "shared" / "works")
    for _ in range(2):
        check_owner(shared, project)
    with pytest.raises(ConfigError, match="another ledger"):
        check_owner(shared, other)
    assert [path.name for path in shared.path.iterdir()] == [OWNER_FILE]
    unmarked = LocalFolder(tmp_path / "shared" / "older")
    Table(unmarked.child("source_objects"), SCHEMA).replace(rows({"a": "x"}))
    with pytest.raises(ConfigError, match=r"copy \S+lake-owner to \S+older/\.owner"):
        check_owner(unmarked, project)
    shutil.copy(project.home / "lake-owner", unmarked.path / OWNER_FILE)
    check_owner(unmarked, project)
    monkeypatch.setenv("HEADWATER_LEDGER_URL", "postgresql+psycopg://db/headwater")
    check_owner(shared, other)


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_of_two_that_mark_a_lake_at_once_one_does(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    place: LakeFolder = LocalFolder(tmp_path / "lake") if kind == "folder" else request.getfixturevalue("lake")
    names = [f"{number}".encode() * 1000 for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        done = list(threads.map(lambda data: place.create(OWNER_FILE, data), names))
    assert done.count(True) == 1
    assert place.read(OWNER_FILE) == names[done.index(True)]
    assert [file.name for file in place.files()] == [OWNER_FILE]


def test_vectors_that_an_erasure_elsewhere_removed_leave_this_machines_cache(
    s3: str, postgres_url: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADWATER_LAKE", f"s3://{s3}/lakes")
    chunks = pa.schema([*CORE, ("embedded", pa.string())])
    (project.root / "assets/works").mkdir(parents=True)
    (project.root / "assets/works/defs.yaml").touch()
    given = {"id": "a:0", "doc_id": "a", "embedded": "kept"}
    Table(project.lake("works").child("chunks"), chunks).replace(
        pa.Table.from_pylist([given], schema=chunks).to_batches()
    )
    texts = [digest("kept"), digest("erased")]
    with closing(VectorCache(project.cache_path() / "embeddings", "model", 2)) as cache:
        cache.store(texts, np.ones((2, 2), np.float32))
        with closing(Ledger(postgres_url)) as ledger:
            assert follow_erasures(project, ledger) == 0 and cache.lookup(texts)[0].all()
            ledger.record_erasure(
                "works",
                key="b.md",
                doc_id="b",
                revision=None,
                etag=None,
                size=None,
                last_modified=None,
                receipt={"verified": {"found": 0}},
            )
            assert follow_erasures(project, ledger) == 1
            assert cache.lookup(texts)[0].tolist() == [True, False]
            cache.store([digest("new")], np.ones((1, 2), np.float32))
            assert follow_erasures(project, ledger) == 0  # nothing was erased since
