"""The bucket: what counts as a change, who may read, and when a listing is not believed."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import obstore
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import LocalStore

from headwater.driver import CORE
from headwater.errors import NotFoundError, SourceError
from headwater.lake import Table
from headwater.ledger import Ledger
from headwater.policies import AccessRule, SourcePolicy
from headwater.reports import NoProgress, StageReport
from headwater.source import (
    SCHEMA,
    KeyFilter,
    Listed,
    ListingDigest,
    list_objects,
    read_object,
    readers_of,
    requeue_objects,
    sync_objects,
)
from headwater.source.access import MAX_SIDECAR_BYTES
from headwater.source.folder import BROKEN, OUTSIDE, RENAME, SPECIAL
from headwater.source.store import open_store
from tests.s3 import Aws, aws

__all__ = ["aws"]

EVERYTHING = KeyFilter(["**"], [])


class Bucket:
    """A folder and the table that mirrors it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "documents"
        self.folder.mkdir()
        self.table = Table(folder / "source_objects", SCHEMA)
        self.policy = SourcePolicy(uri=self.folder.as_uri())
        self.access: list[AccessRule] = []

    def write(self, key: str, text: str) -> Path:
        path = self.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def sync(self, max_bytes: int = 1000, **options: Any) -> StageReport:
        return sync_objects("test", self.policy, self.access, max_bytes, self.table, NoProgress(), **options)

    def rows(self) -> dict[str, dict[str, Any]]:
        return {row["key"]: row for row in self.table.read(SCHEMA.names).iter_rows(named=True)}


def keys_at(uri: str, keep: KeyFilter = EVERYTHING, after: str | None = None) -> list[str]:
    return [entry.key for entry in list_objects(uri, keep, after=after)]


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    bucket = Bucket(tmp_path)
    for name in ("a.txt", "b.txt", "c/d.txt", "c/e.txt"):
        bucket.write(name, f"text of {name}")
    return bucket


@pytest.mark.parametrize("uri", ["ftp://archive/house", "s3://"])
def test_an_address_of_no_store_is_said_in_one_line(uri: str) -> None:
    with pytest.raises(SourceError, match=rf"^The source {uri} can't be opened: [^\n]+$"):
        open_store(uri)


def test_an_unchanged_folder_changes_nothing(bucket: Bucket) -> None:
    assert bucket.sync().recomputed == 4
    report = bucket.sync()
    assert (report.recomputed, report.removed, report.rows) == (0, 0, 4)


def test_added_edited_moved_and_deleted_objects(bucket: Bucket) -> None:
    bucket.sync()
    before = bucket.rows()
    bucket.write("b.txt", "another text")
    (bucket.folder / "c/d.txt").rename(bucket.folder / "moved.txt")
    (bucket.folder / "c/e.txt").unlink()
    report = bucket.sync()
    assert (report.recomputed, report.removed, report.rows) == (2, 2, 3)
    after = bucket.rows()
    assert after["b.txt"]["revision"] != before["b.txt"]["revision"]
    assert after["b.txt"]["doc_id"] == before["b.txt"]["doc_id"]
    assert after["moved.txt"]["revision"] == before["c/d.txt"]["revision"]
    assert after["moved.txt"]["doc_id"] != before["c/d.txt"]["doc_id"]


def test_a_touched_object_keeps_its_fingerprint(bucket: Bucket) -> None:
    bucket.sync()
    before = bucket.rows()["a.txt"]
    os.utime(bucket.folder / "a.txt", (1, 1))
    bucket.sync()
    after = bucket.rows()["a.txt"]
    assert after["last_modified"] != before["last_modified"]
    assert (after["fingerprint"], after["revision"]) == (before["fingerprint"], before["revision"])


def test_a_permission_change_alone_keeps_the_fingerprint(bucket: Bucket) -> None:
    bucket.sync()
    before = bucket.rows()
    bucket.access = [AccessRule(prefix="", groups=["*"]), AccessRule(prefix="c/", groups=["hr"])]
    assert bucket.sync().recomputed == 2
    after = bucket.rows()
    assert after["c/d.txt"]["readers"] == ["hr"] and after["a.txt"]["readers"] == ["*"]
    assert all(after[key]["fingerprint"] == before[key]["fingerprint"] for key in before)


def test_the_longest_prefix_decides_and_no_match_means_nobody() -> None:
    rules = [AccessRule(prefix="hr/", groups=["hr"]), AccessRule(prefix="hr/public/", groups=["*"])]
    assert readers_of("hr/x", rules) == ["hr"]
    assert readers_of("hr/public/x", rules) == ["*"]
    assert readers_of("other", rules) == []
    assert readers_of("other", []) == ["*"]


@pytest.mark.parametrize(("written", "named"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_a_rule_holds_for_a_key_in_either_unicode_form(bucket: Bucket, written: Any, named: Any) -> None:
    def asked(text: str) -> str:
        return unicodedata.normalize(named, text)

    keys = [unicodedata.normalize(written, key) for key in ("gehälter/bänder.txt", "pläne.txt", "entwürfe/x.txt")]
    for key in keys:
        bucket.write(key, "text")
    allow(bucket, asked("pläne.txt"), "board")
    bucket.access = [AccessRule(prefix="", groups=["*"]), AccessRule(prefix=asked("gehälter/"), groups=["hr"])]
    bucket.policy = SourcePolicy(uri=bucket.policy.uri, exclude=[asked("entwürfe/**"), "?.txt"])
    bucket.sync()
    rows = bucket.rows()
    assert sorted(rows) == sorted(["c/d.txt", "c/e.txt", *keys[:2]])
    assert [rows[key]["readers"] for key in keys[:2]] == [["hr"], ["board"]]
    assert bucket.sync().recomputed == 0
    keep = KeyFilter([asked("**/ä?.txt")], [])
    assert keep(unicodedata.normalize(written, "x/äö.txt"))
    assert keep.leaves_out(keys[2]) is False
    assert KeyFilter(["**"], [asked("mail.eml!/ü*")]).leaves_out(unicodedata.normalize(written, "mail.eml!/über.txt"))


def test_readers_that_a_rule_missed_before_are_set_at_the_next_sync(bucket: Bucket) -> None:
    key, beside = (unicodedata.normalize("NFD", name) for name in ("gehälter/bänder.txt", "pläne.txt"))
    bucket.write(key, "text")
    bucket.write(beside, "text")
    allow(bucket, "pläne.txt", "board")
    bucket.access = [AccessRule(prefix="", groups=["*"]), AccessRule(prefix="gehälter/", groups=["hr"])]
    bucket.sync()
    right = bucket.rows()
    missed = {name: {**right[name], "readers": ["*"], "sidecar": None} for name in (key, beside)}
    bucket.table.replace(pa.Table.from_pylist([*(right | missed).values()], schema=SCHEMA).to_batches())
    report = bucket.sync()
    assert (report.recomputed, report.details["read"]) == (2, 0)
    assert bucket.rows() == right
    assert (right[key]["readers"], right[beside]["readers"]) == (["hr"], ["board"])


def test_of_two_rules_for_one_prefix_neither_opens_what_the_other_closes() -> None:
    rules = [
        AccessRule(prefix="", groups=["*"]),
        AccessRule(prefix="gehälter/", groups=["hr", "board"]),
        AccessRule(prefix=unicodedata.normalize("NFD", "gehälter/"), groups=["crew", "hr"]),
    ]
    for form in ("NFC", "NFD"):
        assert readers_of(unicodedata.normalize(form, "gehälter/x"), rules) == ["hr"]
    rules[2].groups[:] = ["*"]
    assert readers_of("gehälter/x", rules) == []


def test_too_large_objects_are_quarantined_unread_until_the_limit_changes(bucket: Bucket) -> None:
    bucket.write("big.txt", "x" * 2000)
    report = bucket.sync()
    assert report.reasons == {"ok": 4, "too_large": 1}
    assert bucket.sync().recomputed == 0
    assert bucket.sync(max_bytes=5000).reasons == {"ok": 5}


def test_include_and_exclude_patterns(bucket: Bucket) -> None:
    keep = KeyFilter(["**/*.md", "notes/*"], ["**/draft*", "private/**"])
    kept = ["a.md", "x/y/b.md", "notes/plan.txt"]
    dropped = ["a.txt", "notes/deep/plan.txt", "draft.md", "x/draft-2.md", "private/a.md", "private/x/a.md"]
    assert [key for key in kept + dropped if keep(key)] == kept
    default = SourcePolicy(uri="x")
    assert not KeyFilter(default.include, default.exclude)(".git/config")
    assert not KeyFilter(default.include, default.exclude)("a/.DS_Store")


# --- the guard against a listing that can't be right ----------------------------------------------------------


def test_a_listing_that_lost_most_objects_is_not_believed(bucket: Bucket) -> None:
    for number in range(8):
        bucket.write(f"more/{number}.txt", f"text {number}")
    bucket.sync()
    for number in range(7):
        (bucket.folder / f"more/{number}.txt").unlink()
    with pytest.raises(SourceError, match=r"lost 7 of 12 objects.*--confirm-removals.*confirm_removals: true"):
        bucket.sync()
    assert len(bucket.rows()) == 12
    assert bucket.sync(confirm_removals=True).removed == 7


def test_half_of_the_files_may_go_without_a_question(bucket: Bucket) -> None:
    bucket.sync()
    for name in ("a.txt", "b.txt"):
        (bucket.folder / name).unlink()
    assert bucket.sync().removed == 2


def test_an_empty_listing_is_never_believed_unasked(bucket: Bucket) -> None:
    bucket.sync()
    for name in ("a.txt", "b.txt", "c/d.txt", "c/e.txt"):
        (bucket.folder / name).unlink()
    with pytest.raises(SourceError, match=r"is empty, but 4 objects are known.*--confirm-removals"):
        bucket.sync()
    assert len(bucket.rows()) == 4
    assert bucket.sync(confirm_removals=True).rows == 0
    assert bucket.sync().rows == 0


def test_a_missing_folder_removes_nothing(bucket: Bucket) -> None:
    bucket.sync()
    bucket.folder.rename(bucket.folder.with_name("elsewhere"))
    with pytest.raises(SourceError):
        bucket.sync(confirm_removals=True)
    assert len(bucket.rows()) == 4


def test_an_object_that_was_replaced_after_it_was_listed_waits_for_the_next_listing(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*arguments: Any, **options: Any) -> Iterator[Listed]:
        entries = list(list_objects(*arguments, **options))
        bucket.write("a.txt", "for other readers than those of what was listed")
        return iter(entries)

    with monkeypatch.context() as patch:
        patch.setattr("headwater.source.sync.list_objects", late)
        assert bucket.sync().reasons == {"ok": 3, "unreadable": 1}
    assert "replaced" in bucket.rows()["a.txt"]["error"]
    assert bucket.sync().reasons == {"ok": 4}


def test_an_unreadable_object_is_quarantined_and_tried_again(bucket: Bucket) -> None:
    path = bucket.write("link.txt", "x")
    path.unlink()
    path.symlink_to(bucket.folder / "nowhere")
    assert bucket.sync().reasons == {"ok": 4, "unreadable": 1}
    assert bucket.rows()["link.txt"]["error"] == BROKEN
    assert bucket.sync().recomputed == 0
    path.unlink()
    path.write_text("now there")
    assert bucket.sync().reasons == {"ok": 5}


# --- listing a folder -----------------------------------------------------------------------------------------


def test_the_etags_of_a_folder_are_those_that_obstore_gives(bucket: Bucket) -> None:
    bucket.write("ü b%41?[x].txt", "odd")
    os.utime(bucket.write("old.txt", "x"), ns=(0, -86_400_123_456_789))
    (bucket.folder / "link.txt").symlink_to(bucket.folder / "a.txt")
    store = LocalStore(prefix=bucket.folder)
    entries = list(list_objects(bucket.policy.uri, EVERYTHING))
    assert len(entries) == 7
    for entry in entries:
        by_obstore = obstore.head(store, entry.key)
        assert (by_obstore["e_tag"], by_obstore["size"]) == (entry.etag, entry.size), entry.key
        if entry.key != "old.txt":
            assert by_obstore["last_modified"] == entry.last_modified


def test_a_folder_is_listed_in_order_of_key_and_from_any_key_on(tmp_path: Path) -> None:
    names = ["a", "a.txt", "a/b.txt", "a!", "a0", "b/a/c", "b/a.d", "b-", "é", "z/ü", "🚣"]
    for name in names:
        path = tmp_path / name
        if name != "a":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
    expected = sorted(names[1:], key=str.encode)
    assert keys_at(tmp_path.as_uri()) == expected
    for number, key in enumerate(expected):
        assert keys_at(tmp_path.as_uri(), after=key) == expected[number + 1 :]
    assert keys_at(tmp_path.as_uri(), after="b") == [key for key in expected if key > "b"]


@settings(max_examples=40, deadline=None)
@given(
    names=st.sets(
        st.lists(st.text("ab!0~é", min_size=1, max_size=3), min_size=1, max_size=3).map("/".join), max_size=15
    ),
    after=st.text("ab!0~é/", max_size=5),
)
def test_the_walk_is_the_sorted_set_of_files(
    tmp_path_factory: pytest.TempPathFactory, names: set[str], after: str
) -> None:
    root = tmp_path_factory.mktemp("walk")
    for name in names:
        path = root / name
        if not path.exists() and not any(parent.is_file() for parent in path.parents):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
    there = sorted((str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()), key=str.encode)
    assert keys_at(root.as_uri()) == there
    assert keys_at(root.as_uri(), after=after) == [key for key in there if key > after]


def test_names_that_make_no_key_cost_themselves_only(bucket: Bucket) -> None:
    for name in ("new\nline.txt", "tab\t.txt", "part#1", "bell\x07/inside.txt"):
        bucket.write(name, "text")
    (bucket.folder / os.fsdecode(b"latin-\xe9.txt")).write_text("text")
    report = bucket.sync()
    assert report.reasons == {"ok": 4, "unreadable": 5}
    rows = bucket.rows()
    assert {row["error"] for row in rows.values() if row["state"] != "ok"} == {RENAME}
    assert "latin-\\xe9.txt" in rows
    assert bucket.sync().recomputed == 0


def test_two_names_that_are_shown_the_same_give_one_object(bucket: Bucket) -> None:
    (bucket.folder / os.fsdecode(b"x\xff")).write_text("not UTF-8")
    (bucket.folder / "x\\xff").write_text("a backslash")
    assert bucket.sync().reasons == {"ok": 5}


def test_links_out_of_the_folder_are_not_followed(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("a secret of this machine")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "more.txt").write_text("another secret")
    (tmp_path / "documents-2").mkdir()
    (bucket.folder / "file.txt").symlink_to(tmp_path / "secret.txt")
    (bucket.folder / "relative.txt").symlink_to("../secret.txt")
    (bucket.folder / "folder").symlink_to(tmp_path / "secrets")
    (bucket.folder / "neighbour").symlink_to(tmp_path / "documents-2")
    assert bucket.sync().reasons == {"ok": 4, "unreadable": 4}
    rows = bucket.rows()
    assert {rows[key]["error"] for key in ("file.txt", "relative.txt", "folder", "neighbour")} == {OUTSIDE}


def test_a_link_that_is_turned_outward_after_the_listing_is_not_read(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("a secret of this machine")
    (bucket.folder / "a.txt").unlink()
    (bucket.folder / "a.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(SourceError, match="outside"):
        read_object(LocalStore(prefix=bucket.folder), "a.txt")


def test_links_inside_the_folder_are_followed_and_loops_end(bucket: Bucket) -> None:
    (bucket.folder / "again.txt").symlink_to("a.txt")
    (bucket.folder / "copy").symlink_to("c")
    (bucket.folder / "c" / "up").symlink_to("..")
    (bucket.folder / "x").mkdir()
    (bucket.folder / "y").mkdir()
    (bucket.folder / "x" / "y").symlink_to("../y")
    (bucket.folder / "y" / "x").symlink_to("../x")
    bucket.sync()
    rows = bucket.rows()
    assert rows["again.txt"]["revision"] == rows["a.txt"]["revision"]
    assert sorted(rows) == ["a.txt", "again.txt", "b.txt", "c/d.txt", "c/e.txt", "copy/d.txt", "copy/e.txt"]


def test_pipes_and_sockets_are_not_opened(bucket: Bucket) -> None:
    os.mkfifo(bucket.folder / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(bucket.folder)  # a socket's path is short
        try:
            server.bind("socket")
        finally:
            os.chdir(here)
        assert bucket.sync().reasons == {"ok": 4, "unreadable": 2}
    assert bucket.rows()["pipe"]["error"] == SPECIAL


@contextmanager
def without_privileges() -> Iterator[None]:
    """Be nobody where the tests run as root, who may read every folder."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_cannot_be_read_stops_the_listing_and_says_how_to_go_on() -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        (root / "open").mkdir()
        (root / "open" / "a.txt").write_text("x")
        (root / "closed").mkdir(mode=0)
        with without_privileges():
            with pytest.raises(SourceError, match=r"/closed' could not be listed \(Permission denied\).*exclude"):
                keys_at(root.as_uri())
            assert keys_at(root.as_uri(), KeyFilter(["**"], ["closed/**"])) == ["open/a.txt"]
        (root / "closed").chmod(0o755)


def test_a_file_from_the_far_future_or_past_is_listed(bucket: Bucket) -> None:
    os.utime(bucket.folder / "a.txt", (0, 4 * 10**11))
    os.utime(bucket.folder / "b.txt", (0, -(10**10)))
    assert bucket.sync().reasons == {"ok": 4}
    assert bucket.sync().recomputed == 0


# --- listing S3 -----------------------------------------------------------------------------------------------


@pytest.fixture
def s3_bucket(tmp_path: Path, aws: Aws) -> Bucket:
    bucket = Bucket(tmp_path)
    bucket.policy = SourcePolicy(uri=f"s3://{aws.bucket('papers')}/in")
    for key in ("in/a.txt", "in/b/c.txt", "in/b!", "in/ü%41.txt", "inside.txt", "other/x.txt"):
        aws.put("papers", key, f"text of {key}")
    return bucket


def test_an_s3_bucket_is_listed_in_order_of_key_and_from_any_key_on(s3_bucket: Bucket) -> None:
    expected = ["a.txt", "b!", "b/c.txt", "ü%41.txt"]
    assert keys_at(s3_bucket.policy.uri) == expected
    for number, key in enumerate(expected):
        assert keys_at(s3_bucket.policy.uri, after=key) == expected[number + 1 :]
    assert s3_bucket.sync().reasons == {"ok": 4}
    assert s3_bucket.sync().details["read"] == 0


def test_the_markers_of_s3_folders_are_no_objects(s3_bucket: Bucket, aws: Aws) -> None:
    aws.put("papers", "in/", b"")
    aws.put("papers", "in/folder/", b"")
    aws.put("papers", "in/empty.txt", b"")
    assert s3_bucket.sync().reasons == {"ok": 5}
    assert "folder" not in s3_bucket.rows()
    assert s3_bucket.sync().recomputed == 0


def test_keys_that_obstore_cannot_read_cost_themselves_only(s3_bucket: Bucket, aws: Aws) -> None:
    odd = ["a//b.txt", "new\nline.txt", "../up.txt", "x/./y.txt", "z/"]
    plain = {entry.key: entry for entry in list_objects(s3_bucket.policy.uri, EVERYTHING)}
    for key in odd[:-1]:
        aws.put_any("papers", f"in/{key}")
    entries = {entry.key: entry for entry in list_objects(s3_bucket.policy.uri, EVERYTHING)}
    assert {key: entries[key] for key in plain} == plain
    assert {key: entry.problem for key, entry in entries.items() if key not in plain} == dict.fromkeys(odd[:-1], RENAME)
    assert s3_bucket.sync().reasons == {"ok": 4, "unreadable": 4}
    assert keys_at(s3_bucket.policy.uri, after="b!") == [key for key in sorted(entries) if key > "b!"]


def test_a_bucket_that_does_not_exist_removes_nothing(s3_bucket: Bucket, aws: Aws) -> None:
    s3_bucket.sync()
    s3_bucket.policy = SourcePolicy(uri="s3://nowhere/in")
    with pytest.raises(SourceError, match="could not be listed, so nothing was changed"):
        s3_bucket.sync(confirm_removals=True)
    assert len(s3_bucket.rows()) == 4


# --- permissions beside the objects ---------------------------------------------------------------------------


def allow(bucket: Bucket, key: str, *groups: str) -> None:
    bucket.write(f"{key}.acl.json", json.dumps({"groups": groups}))


def test_a_sidecar_decides_over_the_prefix_rules_and_parses_nothing_again(bucket: Bucket) -> None:
    bucket.access = [AccessRule(prefix="", groups=["*"]), AccessRule(prefix="c/", groups=["hr"])]
    bucket.sync()
    before = bucket.rows()
    allow(bucket, "a.txt", "board", "audit", "board")
    allow(bucket, "c/d.txt", "*")
    report = bucket.sync()
    assert (report.recomputed, report.rows, report.details["read"]) == (2, 4, 0)
    after = bucket.rows()
    assert after["a.txt"]["readers"] == ["audit", "board"] and after["c/d.txt"]["readers"] == ["*"]
    assert all(after[key]["fingerprint"] == before[key]["fingerprint"] for key in before)
    assert bucket.sync().recomputed == 0
    allow(bucket, "a.txt", "board")
    assert bucket.sync().recomputed == 1
    assert bucket.rows()["a.txt"]["readers"] == ["board"]
    (bucket.folder / "c/d.txt.acl.json").unlink()
    bucket.sync()
    assert bucket.rows()["c/d.txt"]["readers"] == ["hr"]


def test_of_a_listing_that_is_not_believed_permissions_count_and_nothing_else(bucket: Bucket) -> None:
    for number in range(8):
        bucket.write(f"more/{number}.txt", f"text {number}")
    for key in ("b.txt", "c/d.txt"):
        allow(bucket, key, "board")
    bucket.write("c/e.txt.acl.json", "nonsense")
    bucket.sync()
    before = bucket.rows()
    for number in range(7):
        (bucket.folder / f"more/{number}.txt").unlink()
    allow(bucket, "a.txt", "hr")  # taken from all but these
    bucket.write("a.txt", "another text, which waits")
    (bucket.folder / "b.txt.acl.json").unlink()  # or lost, as the rest
    bucket.write("c/d.txt.acl.json", "nonsense")
    allow(bucket, "c/e.txt", "hr")
    bucket.access = [AccessRule(prefix="", groups=["*"]), AccessRule(prefix="more/", groups=["crew"])]
    with pytest.raises(SourceError, match="lost 7 of 12 objects"):
        bucket.sync()
    after = bucket.rows()
    permitted = {"state", "reason", "error", "readers", "sidecar"}
    changed = {key: {name for name in row if row[name] != before[key][name]} for key, row in after.items()}
    assert {key: names for key, names in changed.items() if names} == {
        "a.txt": {"readers", "sidecar"},
        "c/d.txt": permitted,
        "c/e.txt": permitted,
        "more/7.txt": {"readers"},
    }
    readers = {
        key: after[key]["readers"] for key in ("a.txt", "b.txt", "c/d.txt", "c/e.txt", "more/0.txt", "more/7.txt")
    }
    assert readers == {
        "a.txt": ["hr"],
        "b.txt": ["board"],
        "c/d.txt": [],
        "c/e.txt": ["hr"],
        "more/0.txt": ["*"],
        "more/7.txt": ["crew"],
    }
    assert (after["c/d.txt"]["reason"], after["c/e.txt"]["reason"]) == ("bad_permissions", "ok")
    version = bucket.table.version()
    with pytest.raises(SourceError):
        bucket.sync()
    assert bucket.table.version() == version
    report = bucket.sync(confirm_removals=True)
    assert (report.recomputed, report.removed) == (2, 7)  # a.txt has another text, b.txt lost its sidecar
    assert bucket.rows()["b.txt"]["readers"] == ["*"]


def test_a_sidecar_is_read_once(bucket: Bucket) -> None:
    allow(bucket, "a.txt", "board")
    sidecar = bucket.folder / "a.txt.acl.json"
    bucket.sync()
    about = sidecar.stat()
    with sidecar.open("r+b") as file:
        file.write(b'{"groups": ["other"]}'[: about.st_size])
    os.utime(sidecar, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert bucket.sync().recomputed == 0


@pytest.mark.parametrize(
    "content",
    [
        "",
        "hr",
        "[]",
        "{}",
        '{"groups": "hr"}',
        '{"groups": ["hr", 1]}',
        '{"groups": [""]}',
        '{"groups": ["*"], "deny": ["hr"]}',
        '{"groups": ["hr"], "groups": ["*"]}',
        '{"groups": ["\\ud800"]}',
        "[" * 100_000,
        '{"groups": ["*"' + " " * MAX_SIDECAR_BYTES + "]}",
        b'{"groups": ["\xff"]}',
    ],
    ids=lambda content: str(content)[:20],
)
def test_a_sidecar_that_says_nothing_clear_closes_its_document(bucket: Bucket, content: str | bytes) -> None:
    bucket.sync()
    before = bucket.rows()["a.txt"]
    sidecar = bucket.folder / "a.txt.acl.json"
    sidecar.write_bytes(content.encode() if isinstance(content, str) else content)
    assert bucket.sync().reasons == {"ok": 3, "bad_permissions": 1}
    row = bucket.rows()["a.txt"]
    assert (row["state"], row["readers"]) == ("quarantined", [])
    assert row["error"].startswith("a.txt.acl.json: ")
    assert bucket.sync().recomputed == 0
    allow(bucket, "a.txt", "hr")
    report = bucket.sync()
    assert (report.reasons, report.details["read"]) == ({"ok": 4}, 0)
    assert bucket.rows()["a.txt"]["fingerprint"] == before["fingerprint"]


@pytest.mark.parametrize(
    ("documents", "sidecars"), [(["NFC"], ["NFC", "NFD"]), (["NFC", "NFD"], ["NFD"]), (["NFC", "NFD"], ["NFC", "NFD"])]
)
def test_where_names_leave_open_whose_a_sidecar_is_nobody_may_read(
    bucket: Bucket, documents: list[Any], sidecars: list[Any]
) -> None:
    keys = [unicodedata.normalize(form, "pläne.txt") for form in documents]
    for key in keys:
        bucket.write(key, f"text of {key}")
    bucket.sync()
    assert [bucket.rows()[key]["readers"] for key in keys] == [["*"]] * len(keys)
    besides = [unicodedata.normalize(form, "pläne.txt") for form in sidecars]
    for key in besides:
        allow(bucket, key, "*")
    assert bucket.sync().reasons == {"ok": 4, "bad_permissions": len(keys)}
    for key in keys:
        row = bucket.rows()[key]
        assert (row["state"], row["readers"]) == ("quarantined", [])
        assert "Unicode form" in row["error"]
    assert bucket.sync().recomputed == 0
    for key in besides[1:]:
        (bucket.folder / f"{key}.acl.json").unlink()
    for key in keys[1:]:
        (bucket.folder / key).unlink()
    assert bucket.sync().reasons == {"ok": 5}
    assert bucket.rows()[keys[0]]["readers"] == ["*"]


def test_of_a_listing_that_is_not_believed_a_sidecar_in_another_unicode_form_counts(bucket: Bucket) -> None:
    key = unicodedata.normalize("NFD", "pläne.txt")
    bucket.write(key, "text")
    allow(bucket, "pläne.txt", "board", "hr")
    bucket.sync()
    for name in ("a.txt", "b.txt", "c/d.txt"):
        (bucket.folder / name).unlink()
    allow(bucket, "pläne.txt", "board")
    with pytest.raises(SourceError, match="lost 3 of 5 objects"):
        bucket.sync()
    assert bucket.rows()[key]["readers"] == ["board"]


def test_a_sidecar_with_an_empty_list_lets_nobody_read(bucket: Bucket) -> None:
    allow(bucket, "a.txt")
    bucket.sync()
    row = bucket.rows()["a.txt"]
    assert (row["state"], row["readers"]) == ("ok", [])


def test_a_sidecar_that_leads_out_of_the_folder_closes_its_document(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "all.json").write_text('{"groups": ["*"]}')
    (bucket.folder / "a.txt.acl.json").symlink_to(tmp_path / "all.json")
    bucket.sync()
    assert bucket.rows()["a.txt"]["reason"] == "bad_permissions"


def test_a_sidecar_still_counts_once_its_document_can_be_read_again(bucket: Bucket) -> None:
    bucket.write("big.txt", "x" * 2000)
    allow(bucket, "big.txt", "hr")
    bucket.sync()
    assert bucket.rows()["big.txt"]["readers"] == ["hr"]
    bucket.sync(max_bytes=5000)
    assert bucket.rows()["big.txt"]["readers"] == ["hr"]
    bucket.write("big.txt.acl.json", "broken")
    bucket.sync(max_bytes=5000)
    bucket.sync(max_bytes=1000)
    assert bucket.rows()["big.txt"]["reason"] == "too_large"
    bucket.sync(max_bytes=5000)
    assert bucket.rows()["big.txt"]["reason"] == "bad_permissions"


def test_sidecars_and_own_files_are_never_documents(bucket: Bucket) -> None:
    allow(bucket, "a.txt", "hr")
    bucket.write(".headwater/receipts/a.txt.json", "{}")
    bucket.write("c/.headwater/x.json", "{}")
    bucket.policy = SourcePolicy(uri=bucket.policy.uri, include=["**"], exclude=[])
    bucket.sync()
    assert sorted(bucket.rows()) == ["a.txt", "b.txt", "c/d.txt", "c/e.txt"]


def test_a_sidecar_in_s3_decides(s3_bucket: Bucket, aws: Aws) -> None:
    aws.put("papers", "in/b/c.txt.acl.json", '{"groups": ["hr"]}')
    s3_bucket.sync()
    assert s3_bucket.rows()["b/c.txt"]["readers"] == ["hr"]


# --- erased objects -------------------------------------------------------------------------------------------


@pytest.fixture
def ledger(tmp_path: Path) -> Any:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    yield ledger
    ledger.close()


def erase(ledger: Ledger, row: dict[str, Any], **receipt: Any) -> None:
    ledger.record_erasure(
        "test",
        key=row["key"],
        doc_id=row["doc_id"],
        revision=row["revision"],
        etag=row["etag"],
        size=row["size"],
        last_modified=row["last_modified"],
        receipt=receipt,
    )


def test_an_erased_object_stays_out_unread_until_it_changes(bucket: Bucket, ledger: Ledger) -> None:
    bucket.sync(ledger=ledger)
    erase(ledger, bucket.rows()["a.txt"])
    allow(bucket, "a.txt", "hr")
    report = bucket.sync(ledger=ledger)
    assert (report.reasons, report.details["read"]) == ({"ok": 3, "erased": 1}, 0)
    row = bucket.rows()["a.txt"]
    assert (row["state"], row["readers"]) == ("rejected", [])
    assert bucket.sync(ledger=ledger).recomputed == 0
    bucket.write("a.txt", "another text, other bytes")
    assert bucket.sync(ledger=ledger).reasons == {"ok": 4}
    assert bucket.rows()["a.txt"]["readers"] == ["hr"]
    assert [erasure.lifted_at is None for erasure in ledger.erasures("test", "a.txt")] == [False]


def test_an_erasure_is_lifted_when_the_object_is_gone(bucket: Bucket, ledger: Ledger) -> None:
    bucket.sync(ledger=ledger)
    erase(ledger, bucket.rows()["a.txt"])
    bucket.sync(ledger=ledger)
    (bucket.folder / "a.txt").unlink()
    assert bucket.sync(ledger=ledger).removed == 1
    assert ledger.erasures("test", "a.txt")[0].lifted_at is not None


@pytest.mark.parametrize("patterns", [{"exclude": ["a.*"]}, {"include": ["c/**"]}])
def test_a_pattern_that_leaves_an_erased_object_out_does_not_lift_its_erasure(
    bucket: Bucket, ledger: Ledger, patterns: dict[str, list[str]]
) -> None:
    bucket.sync(ledger=ledger)
    erase(ledger, bucket.rows()["a.txt"])
    uri = bucket.policy.uri
    for _ in range(2):
        bucket.policy = SourcePolicy(uri=uri, **patterns)
        bucket.sync(ledger=ledger, confirm_removals=True)
        assert "a.txt" not in bucket.rows()
        bucket.policy = SourcePolicy(uri=uri)
        assert bucket.sync(ledger=ledger).reasons == {"ok": 3, "erased": 1}
    bucket.write("a.txt", "another text, other bytes")
    assert bucket.sync(ledger=ledger).reasons == {"ok": 4}
    assert ledger.erasures("test", "a.txt")[0].lifted_at is not None


def test_an_erasure_outlasts_a_time_at_another_place(bucket: Bucket, ledger: Ledger, tmp_path: Path) -> None:
    bucket.sync(ledger=ledger)
    erase(ledger, bucket.rows()["a.txt"], source=bucket.policy.uri)
    here, there = bucket.policy, tmp_path / "there"
    there.mkdir()
    (there / "z.txt").write_text("text")
    bucket.policy = SourcePolicy(uri=there.as_uri())
    bucket.sync(ledger=ledger, confirm_removals=True)
    bucket.policy = here
    assert bucket.sync(ledger=ledger, confirm_removals=True).reasons == {"ok": 3, "erased": 1}
    (bucket.folder / "a.txt").unlink()
    bucket.sync(ledger=ledger)
    assert ledger.erasures("test", "a.txt")[0].lifted_at is not None


def test_an_erasure_of_another_corpus_or_a_lifted_one_keeps_nothing_out(bucket: Bucket, ledger: Ledger) -> None:
    bucket.sync(ledger=ledger)
    erase(ledger, bucket.rows()["a.txt"])
    ledger.lift_erasures("test", ["a.txt"])
    assert bucket.sync(ledger=ledger).reasons == {"ok": 4}


# --- asked for again ------------------------------------------------------------------------------------------


def test_a_requeued_object_gets_another_fingerprint_until_its_bytes_change(bucket: Bucket) -> None:
    bucket.sync()
    before = bucket.rows()
    assert requeue_objects(bucket.table, ["a.txt"], "2030-01-01 new parser") == 1
    requeued = bucket.rows()
    assert requeued["a.txt"]["fingerprint"] != before["a.txt"]["fingerprint"]
    assert requeued["b.txt"] == before["b.txt"]
    assert bucket.sync().recomputed == 0
    os.utime(bucket.folder / "a.txt", (1, 1))
    bucket.sync()
    assert bucket.rows()["a.txt"]["fingerprint"] == requeued["a.txt"]["fingerprint"]
    bucket.write("a.txt", "another text")
    bucket.sync()
    assert bucket.rows()["a.txt"]["requeued"] is None
    bucket.write("a.txt", "text of a.txt")
    bucket.sync()
    assert bucket.rows()["a.txt"]["fingerprint"] == before["a.txt"]["fingerprint"]


def test_requeueing_by_state_or_all_and_unknown_keys(bucket: Bucket) -> None:
    bucket.write("big.txt", "x" * 2000)
    bucket.sync()
    assert requeue_objects(bucket.table, None, "mark", "quarantined") == 1
    assert requeue_objects(bucket.table, None, "another mark") == 5
    with pytest.raises(NotFoundError, match=r"'nope'"):
        requeue_objects(bucket.table, ["a.txt", "nope"], "mark")


# --- tables of older versions ---------------------------------------------------------------------------------


def test_a_table_without_the_newer_columns_is_brought_up_to_date_and_recomputes_nothing_downstream(
    bucket: Bucket,
) -> None:
    bucket.sync()
    newer = ("sidecar", "requeued", "parent", "expanded", "note")
    rows = [{k: v for k, v in row.items() if k not in newer} for row in bucket.rows().values()]
    names = [*CORE.names, "key", "revision", "size", "etag", "last_modified", "readers"]
    old_schema = pa.schema([SCHEMA.field(name) for name in names])
    Table(bucket.table.path, old_schema).replace(pa.Table.from_pylist(rows, schema=old_schema).to_batches())
    assert not bucket.table.same_schema()
    bucket.write("a.txt", "another text")
    (bucket.folder / "b.txt").unlink()
    report = bucket.sync()
    # Each object is read once: whoever wrote the table did not look for attachments.
    assert (report.recomputed, report.removed, report.rows, report.details["read"]) == (3, 1, 3, 3)
    assert bucket.table.same_schema()
    assert bucket.sync().details["read"] == 0
    kept = bucket.rows()["c/d.txt"]
    assert kept["fingerprint"] == next(row["fingerprint"] for row in rows if row["key"] == "c/d.txt")


# --- the digest of a listing ----------------------------------------------------------------------------------


def test_the_digest_is_the_same_in_any_order_and_changes_with_every_field() -> None:
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    entries = [Listed(f"{n}.txt", n, f"e{n}", moment) for n in range(5)]

    def digest_of(*listed: Listed) -> str:
        result = ListingDigest()
        for entry in listed:
            result.add(entry)
        return result.hexdigest()

    whole = digest_of(*entries)
    assert digest_of(*reversed(entries)) == whole
    assert digest_of(*entries[1:]) != whole
    others = (
        Listed("x.txt", 0, "e0", moment),
        Listed("0.txt", 1, "e0", moment),
        Listed("0.txt", 0, "e1", moment),
        Listed("0.txt", 0, "e0", moment.replace(microsecond=1)),
    )
    assert len({whole, *(digest_of(other, *entries[1:]) for other in others)}) == 5


def test_a_sync_reports_the_digest_of_documents_and_sidecars(bucket: Bucket) -> None:
    first = bucket.sync().details["listing"]
    assert bucket.sync().details["listing"] == first
    bucket.write(".git/config", "not of the corpus")
    assert bucket.sync().details["listing"] == first
    allow(bucket, "a.txt", "hr")
    assert bucket.sync().details["listing"] != first
    (bucket.folder / "a.txt.acl.json").unlink()
    assert bucket.sync().details["listing"] == first
