"""Watching a bucket: what a look finds within its budget, and when a reindex is asked for."""

from __future__ import annotations

import itertools
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.listing import measure
from headwater.errors import SourceError
from headwater.lake import Table
from headwater.policies import SourcePolicy, WatchPolicy
from headwater.reports import NoProgress
from headwater.source import SCHEMA, sync_objects
from headwater.watch import (
    FIRST_RETRY,
    LAST_RETRY,
    QUEUE_PAUSE,
    Attempt,
    Decision,
    Events,
    Observation,
    decide,
    look,
    with_events,
    without_events,
)
from tests.s3 import Aws, aws

__all__ = ["aws"]

NO_TIME = 1e-9
"""A budget that is spent after one object."""


class Watched:
    """A folder, and somebody who looks at it every ten seconds."""

    def __init__(self, folder: Path, **watch: object) -> None:
        self.folder = folder
        self.policy = SourcePolicy(uri=folder.as_uri())
        self.watch = WatchPolicy.model_validate(watch)
        self.cursor: str | None = None
        self.applied: str | None = None
        self.now = datetime.now(UTC) + timedelta(minutes=1)
        self.observed: Observation | None = None

    def write(self, key: str, text: str = "x") -> None:
        path = self.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def look(self, seconds: float = 10.0) -> Observation:
        self.now += timedelta(seconds=seconds)
        self.cursor, self.observed = look(self.policy, self.watch, self.cursor, self.now, applied=self.applied)
        return self.observed

    def pass_over(self) -> int:
        """Look until a pass is complete; return how many looks it took."""
        for number in itertools.count(1):
            if self.look().listed is None:
                return number
        raise AssertionError

    def decide(self, **known: object) -> Decision:
        assert self.observed is not None
        return decide(self.observed, self.watch, self.now, applied=self.applied, **known)  # type: ignore[arg-type]

    @property
    def listing(self) -> str:
        assert self.observed is not None and self.observed.seen is not None
        return self.observed.seen.listing

    def reindex(self, tmp_path: Path) -> str:
        """Do what the first stage of a reindex does, and return the digest that it reports."""
        table = Table(tmp_path / "source_objects", SCHEMA)
        report = sync_objects("test", self.policy, [], 10**6, table, NoProgress(), confirm_removals=True)
        return str(report.details["listing"])


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    folder = tmp_path / "documents"
    folder.mkdir()
    watched = Watched(folder)
    for number in range(20):
        watched.write(f"{number % 3}/{number}.txt", f"text {number}")
    return watched


# --- looking --------------------------------------------------------------------------------------------------


def test_the_watcher_and_the_reindex_give_one_listing_the_same_digest(watched: Watched, tmp_path: Path) -> None:
    watched.write("0/0.txt.acl.json", '{"groups": ["hr"]}')
    watched.write(".git/config", "not of the corpus")
    watched.write("odd\nname.txt")
    watched.look()
    assert watched.listing == watched.reindex(tmp_path / "lake")


def test_a_pass_in_many_looks_gives_the_digest_of_one_look(watched: Watched) -> None:
    watched.look()
    whole, watched.cursor = watched.listing, None
    watched.watch = WatchPolicy(budget_seconds=NO_TIME)
    assert watched.pass_over() == 21
    assert watched.listing == whole
    assert watched.observed is not None and watched.observed.seen is not None and watched.observed.seen.objects == 20


def test_a_pass_over_s3_in_many_looks_gives_the_digest_of_one_look(aws: Aws, tmp_path: Path) -> None:
    name = aws.bucket("papers")
    for key in ("in/a.txt", "in/folder/", "in/folder!", "in/folder/b.txt", "in/z.txt", "in/z.txt.acl.json"):
        aws.put(name, key, b"" if key.endswith("/") else b'{"groups": []}')
    watched = Watched(tmp_path)
    watched.policy = SourcePolicy(uri=f"s3://{name}/in")
    watched.look()
    whole, watched.cursor = watched.listing, None
    watched.watch = WatchPolicy(budget_seconds=NO_TIME)
    watched.pass_over()
    assert watched.listing == whole == watched.reindex(tmp_path / "lake")


def test_a_look_holds_on_to_its_budget_among_objects_of_no_concern(watched: Watched) -> None:
    watched.policy = SourcePolicy(uri=watched.policy.uri, include=["2/**"])
    watched.watch = WatchPolicy(budget_seconds=NO_TIME)
    assert watched.pass_over() == 21
    assert watched.observed is not None and watched.observed.seen is not None and watched.observed.seen.objects == 6


def test_a_change_behind_a_pass_is_found_by_the_next_one(watched: Watched, tmp_path: Path) -> None:
    watched.watch = WatchPolicy(budget_seconds=NO_TIME)
    watched.look()
    watched.write("0/0.txt", "changed behind the pass")
    watched.pass_over()
    mixed = watched.listing
    watched.pass_over()
    assert watched.listing != mixed
    assert watched.listing == watched.reindex(tmp_path / "lake")


def test_an_object_deleted_ahead_of_a_pass_is_not_missed(watched: Watched, tmp_path: Path) -> None:
    watched.watch = WatchPolicy(budget_seconds=NO_TIME)
    watched.look()
    (watched.folder / "2/17.txt").unlink()
    watched.pass_over()
    assert watched.listing == watched.reindex(tmp_path / "lake")


def test_the_cursor_stays_small_whatever_the_bucket_holds(watched: Watched) -> None:
    watched.watch = WatchPolicy(budget_seconds=NO_TIME)
    sizes = set()
    for _ in range(45):
        watched.look()
        sizes.add(len(watched.cursor or ""))
    assert max(sizes) < 1000


@pytest.mark.parametrize("cursor", ["", "no JSON", "{}", '{"source": "x", "seen": 3}', json.dumps({"source": "other"})])
def test_a_cursor_that_means_nothing_starts_anew(watched: Watched, cursor: str) -> None:
    watched.cursor = cursor
    assert watched.look().seen is not None


def test_another_source_or_other_patterns_start_anew(watched: Watched) -> None:
    watched.look()
    first = watched.listing
    watched.policy = SourcePolicy(uri=watched.policy.uri, include=["1/**"])
    watched.look()
    assert watched.listing != first


def test_a_listing_that_fails_raises_and_the_old_cursor_goes_on(watched: Watched, tmp_path: Path) -> None:
    watched.watch = WatchPolicy(budget_seconds=NO_TIME)
    watched.look()
    cursor = watched.cursor
    watched.folder.rename(tmp_path / "elsewhere")
    with pytest.raises(SourceError, match="does not exist"):
        watched.look()
    (tmp_path / "elsewhere").rename(watched.folder)
    watched.cursor = cursor
    assert watched.look().listed == 2


def test_a_bucket_that_takes_long_to_list_is_left_alone_ten_times_as_long(watched: Watched) -> None:
    watched.look()
    assert watched.observed is not None and watched.observed.seen is not None
    slow = watched.observed.seen.model_copy(update={"seconds": 60.0})
    document = json.loads(watched.cursor or "")
    document["seen"] = json.loads(slow.model_dump_json())
    watched.cursor = json.dumps(document)
    watched.write("new.txt")
    watched.look(500)
    assert watched.listing == slow.listing
    watched.look(110)
    assert watched.listing != slow.listing


def test_with_an_event_queue_the_bucket_is_listed_now_and_then_only(watched: Watched) -> None:
    watched.watch = WatchPolicy(queue="http://queue")
    watched.look()
    first = watched.listing
    watched.write("new.txt")
    watched.look(QUEUE_PAUSE.total_seconds() - 5)
    assert watched.listing == first
    watched.look(10)
    assert watched.listing != first


@settings(max_examples=30, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["write", "delete", "look"]), st.sampled_from(["a", "b/c", "b!", "d"])), max_size=25
    )
)
def test_after_any_changes_a_quiet_pass_sees_what_a_reindex_sees(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str]]
) -> None:
    root = tmp_path_factory.mktemp("steps")
    (root / "documents").mkdir()
    watched = Watched(root / "documents", budget_seconds=NO_TIME)
    for number, (action, key) in enumerate(steps):
        if action == "write":
            watched.write(key, str(number))
        elif action == "delete":
            (watched.folder / key).unlink(missing_ok=True)
        else:
            watched.look()
    watched.pass_over()
    watched.pass_over()
    assert watched.listing == watched.reindex(root / "lake")


# --- deciding -------------------------------------------------------------------------------------------------


def test_a_change_is_asked_for_until_it_is_applied_and_then_no_more(watched: Watched) -> None:
    watched.look()
    for _ in range(3):
        watched.look()
        assert watched.decide() == Decision(True, "The bucket changed: 20 objects.", watched.listing)
    watched.applied = watched.listing
    watched.look()
    decision = watched.decide()
    assert not decision.request and decision.reason.startswith("Nothing changed: 20 objects")
    (watched.folder / "0/0.txt").unlink()
    watched.look()
    assert watched.decide().request


def test_an_empty_bucket_is_not_indexed_for_its_own_sake(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.look()
    assert watched.decide() == Decision(False, "The bucket is empty.")
    watched.applied = "what a bucket with objects had"
    watched.look()
    assert watched.decide().request


def test_nothing_is_asked_for_while_a_reindex_runs(watched: Watched) -> None:
    watched.look()
    decision = watched.decide(running="run 1234 of reindex_x")
    assert not decision.request and "Waiting for the reindex that is under way: run 1234" in decision.reason


def test_a_pass_that_is_under_way_says_how_far_it_is(watched: Watched) -> None:
    watched.watch = WatchPolicy(budget_seconds=NO_TIME)
    watched.look()
    assert watched.decide() == Decision(False, "Listing continues: 1 object so far.")


def test_an_upload_is_waited_out_but_not_for_ever(watched: Watched) -> None:
    watched.watch = WatchPolicy(quiet_seconds=5, max_wait_seconds=60)
    watched.now = datetime.now(UTC)
    watched.look(1)
    assert "Waiting for an upload to end" in watched.decide().reason
    watched.look(6)
    assert watched.decide().request
    start = watched.now
    watched.applied = watched.listing
    while not watched.decide().request:
        watched.now += timedelta(seconds=2)
        watched.write("growing.txt", "x" * round((watched.now - start).total_seconds()))
        os.utime(watched.folder / "growing.txt", (watched.now.timestamp(), watched.now.timestamp()))
        watched.look(1)
    assert 60 <= (watched.now - start).total_seconds() <= 70


def test_a_reindex_starts_the_wait_for_an_upload_anew(watched: Watched) -> None:
    watched.look()
    first = watched.observed.differs_since if watched.observed else None
    watched.look()
    assert watched.observed is not None and watched.observed.differs_since == first
    watched.applied = "another state"
    watched.look()
    assert watched.observed is not None and watched.observed.differs_since == watched.now


def test_a_file_from_the_future_does_not_stop_reindexing(watched: Watched) -> None:

    os.utime(watched.folder / "0/0.txt", (4 * 10**9, 4 * 10**9))
    watched.look()
    assert watched.decide().request


def test_a_file_that_keeps_its_old_times_counts_as_just_written(watched: Watched) -> None:

    watched.write("copied.txt")
    os.utime(watched.folder / "copied.txt", (10**9, 10**9))
    watched.now = datetime.now(UTC)
    watched.look(0.5)
    assert "Waiting for an upload to end" in watched.decide().reason


def test_a_listing_that_failed_is_tried_again_ever_more_seldom(watched: Watched) -> None:
    watched.look()
    waits = []
    attempts: list[Attempt] = []
    for number in range(10):
        attempts.insert(0, Attempt(f"run{number}", watched.now, succeeded=False))
        refused = watched.decide(attempts=attempts)
        assert not refused.request and f"failed (run run{number}" in refused.reason
        start = watched.now
        while not watched.decide(attempts=attempts).request:
            watched.now += timedelta(seconds=30)
        waits.append(watched.now - start)
    assert waits[:3] == [FIRST_RETRY, 2 * FIRST_RETRY, 4 * FIRST_RETRY]
    assert waits[-1] == LAST_RETRY


def test_a_reindex_that_did_not_settle_the_listing_does_not_loop(watched: Watched) -> None:
    watched.look()
    decision = watched.decide(attempts=[Attempt("run1", watched.now, succeeded=True)])
    assert not decision.request and "did not settle it" in decision.reason


def test_a_listing_from_before_the_last_reindex_is_not_believed(watched: Watched) -> None:
    watched.watch = WatchPolicy(budget_seconds=NO_TIME)
    watched.pass_over()
    watched.look()
    watched.applied = "what a reindex has applied meanwhile"
    watched.look()
    decision = watched.decide()
    assert not decision.request and decision.reason.startswith("Listing continues")
    watched.pass_over()  # began before the reindex ended: still not to be believed
    assert not watched.decide().request
    watched.pass_over()
    assert watched.decide().request


# --- events ---------------------------------------------------------------------------------------------------


def received(watched: Watched, *, seconds_ago: float = 30.0) -> None:
    when = watched.now - timedelta(seconds=seconds_ago)
    watched.cursor = with_events(watched.cursor, watched.policy, Events(count=1, since=when, newest=when))


def test_an_event_asks_for_a_reindex_without_a_new_listing(watched: Watched) -> None:
    watched.watch = WatchPolicy(queue="http://queue")
    watched.look()
    watched.applied = watched.listing
    received(watched)
    received(watched)
    watched.look()
    assert watched.decide() == Decision(True, "2 events received.", None)
    watched.cursor = without_events(watched.cursor or "", watched.policy)
    watched.look()
    assert not watched.decide().request


def test_an_event_outlasts_a_running_reindex_and_waits_for_more(watched: Watched) -> None:
    watched.look()
    watched.applied = watched.listing
    received(watched, seconds_ago=0)
    watched.look(0.5)
    assert "Waiting for an upload to end" in watched.decide().reason
    watched.look(10)
    assert not watched.decide(running="run 1").request
    watched.look()
    assert watched.decide().request


def test_events_that_a_reindex_has_covered_are_forgotten(watched: Watched) -> None:
    watched.look()
    watched.applied = watched.listing
    received(watched)
    began = watched.now
    watched.now += timedelta(seconds=60)
    watched.cursor, observed = look(
        watched.policy, watched.watch, watched.cursor, watched.now, applied=watched.applied, reindexed_at=began
    )
    assert observed.events is None


# --- at size --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("store", "objects", "budget", "ticks"),
    [("folder", 50_000, 0.3, 2), ("s3", 20_000, 1.0, 2)],
)
def test_a_look_at_many_objects_stays_within_its_budget_and_memory(
    store: str, objects: int, budget: float, ticks: int
) -> None:
    figures = measure(store, objects, budget)
    assert figures["objects"] == objects
    assert figures["ticks"] >= ticks
    assert figures["longest"] < budget + 2
    assert figures["peak_mib"] < 300
    assert figures["cursor"] < 1000
