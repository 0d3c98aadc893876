"""The bucket: what counts as a change, who may read, and when a listing is not believed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headwater.errors import SourceError
from headwater.lake import Table
from headwater.policies import AccessRule, SourcePolicy
from headwater.reports import NoProgress, StageReport
from headwater.source import SCHEMA, KeyFilter, readers_of, sync_objects


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

    def sync(self, max_bytes: int = 1000, **options: bool) -> StageReport:
        return sync_objects("test", self.policy, self.access, max_bytes, self.table, NoProgress(), **options)

    def rows(self) -> dict[str, dict[str, object]]:
        return {row["key"]: row for row in self.table.read(SCHEMA.names).iter_rows(named=True)}


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    bucket = Bucket(tmp_path)
    for name in ("a.txt", "b.txt", "c/d.txt", "c/e.txt"):
        bucket.write(name, f"text of {name}")
    return bucket


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


def test_a_listing_that_lost_most_objects_is_not_believed(bucket: Bucket) -> None:
    bucket.sync()
    for name in ("a.txt", "b.txt", "c/d.txt"):
        (bucket.folder / name).unlink()
    with pytest.raises(SourceError, match=r"lost 3 of 4 objects.*--confirm-removals"):
        bucket.sync()
    assert len(bucket.rows()) == 4
    assert bucket.sync(confirm_removals=True).removed == 3


def test_a_missing_folder_removes_nothing(bucket: Bucket) -> None:
    bucket.sync()
    bucket.folder.rename(bucket.folder.with_name("elsewhere"))
    with pytest.raises(SourceError):
        bucket.sync(confirm_removals=True)
    assert len(bucket.rows()) == 4


def test_an_unreadable_object_is_quarantined_and_tried_again(bucket: Bucket) -> None:
    path = bucket.write("link.txt", "x")
    path.unlink()
    path.symlink_to(bucket.folder / "nowhere")
    report = bucket.sync()
    assert report.reasons["ok"] == 4
    path.unlink()
    path.write_text("now there")
    assert bucket.sync().reasons == {"ok": 5}
