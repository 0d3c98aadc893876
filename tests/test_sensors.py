"""The sensors on a real Dagster instance: when they ask for a run, what they say when not, and whom they tell."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster import DagsterEventType, DagsterRunStatus
from dagster._core.launcher import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._core.test_utils import create_run_for_test

import definitions
import headwater.watch
from headwater.errors import GateError, LeaseError
from headwater.ledger import Ledger
from headwater.notify import Notice
from headwater.project import Project
from resources.headwater import CORPUS_TAG
from resources.launcher import LocalRunLauncher
from sensors.bucket import watch
from sensors.reconcile import reconcile
from sensors.run_failure import notice_of, notify_run_failures
from sensors.runs import LISTING_TAG, runs_of
from tests.conftest import MakeCorpus
from tests.s3 import Aws, aws
from tests.test_events import notification

__all__ = ["aws"]

FILES = {"a.md": "# A\n\nSome text.", "b/c.md": "# C\n\nSome more text."}
QUIET = {"quiet_seconds": 0.0}


@pytest.fixture(autouse=True)
def listings_begin_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sensor rests for ten times as long as a listing took, which on a busy machine is longer than these tests wait."""
    monkeypatch.setattr(headwater.watch, "REST_FACTOR", 0)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


class Watcher:
    """A corpus' sensor, ticked by hand as the daemon would: the cursor is kept from tick to tick."""

    def __init__(self, project: Project, instance: dg.DagsterInstance, corpus: str = "works") -> None:
        self.project, self.instance, self.corpus = project, instance, corpus
        self.sensor = watch(project, corpus)
        self.cursor: str | None = None

    def tick(self) -> dg.SensorResult:
        with dg.build_sensor_context(self.instance, cursor=self.cursor, sensor_name=self.sensor.name) as context:
            result = self.sensor(context)
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor if result.cursor is not None else self.cursor
        return result

    def asks(self) -> dict[str, str]:
        """Tick, and return the tags of the run that is asked for."""
        result = self.tick()
        assert result.run_requests and len(result.run_requests) == 1, result.skip_reason
        assert result.run_requests[0].run_key is None
        return dict(result.run_requests[0].tags)

    def skips(self) -> str:
        """Tick, and return why no run is asked for."""
        result = self.tick()
        assert not result.run_requests
        assert result.skip_reason is not None
        return str(result.skip_reason.skip_message)

    def apply(self, listing: str) -> None:
        ledger = Ledger(self.project.ledger_url)
        ledger.set_applied_listing(self.corpus, listing)
        ledger.close()

    def run(self, tags: dict[str, str], *, succeeds: bool) -> dg.DagsterRun:
        """Enter a reindex of this corpus that ran and ended just now."""
        job = f"reindex_{self.corpus}"
        run = create_run_for_test(self.instance, job_name=job, tags={CORPUS_TAG: self.corpus, **tags})
        ending = DagsterEventType.RUN_SUCCESS if succeeds else DagsterEventType.RUN_FAILURE
        for kind in (DagsterEventType.RUN_START, ending):
            event = dg.DagsterEvent(event_type_value=kind.value, job_name=job)
            self.instance.report_dagster_event(event, run.run_id)
        return run


@pytest.fixture
def watcher(project: Project, make_corpus: MakeCorpus, instance: dg.DagsterInstance) -> Watcher:
    make_corpus("works", FILES, watch=QUIET)
    return Watcher(project, instance)


def documents(watcher: Watcher) -> Path:
    return watcher.project.root / "assets" / watcher.corpus / "documents"


# --- the watching sensor --------------------------------------------------------------------------------------


def test_a_changed_bucket_asks_for_one_reindex_and_says_for_which_listing(watcher: Watcher) -> None:
    tags = watcher.asks()
    assert len(tags[LISTING_TAG]) == 32
    watcher.apply(tags[LISTING_TAG])
    assert watcher.skips().startswith("Nothing changed: 2 objects")
    (documents(watcher) / "new.md").write_text("new")
    assert watcher.asks()[LISTING_TAG] != tags[LISTING_TAG]
    (documents(watcher) / "new.md").unlink()
    assert watcher.skips().startswith("Nothing changed")


def test_a_file_that_was_just_dropped_is_waited_for_within_the_tick(
    project: Project, make_corpus: MakeCorpus, instance: dg.DagsterInstance
) -> None:
    make_corpus("works", FILES, watch={"quiet_seconds": 0.4})
    watcher = Watcher(project, instance)
    (documents(watcher) / "new.md").write_text("new")
    watcher.asks()


def test_a_deletion_asks_for_a_reindex(watcher: Watcher) -> None:
    watcher.apply(watcher.asks()[LISTING_TAG])
    (documents(watcher) / "a.md").unlink()
    watcher.asks()


@pytest.mark.parametrize("status", [DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING])
def test_nothing_is_asked_for_while_a_run_of_the_corpus_is_not_finished(
    watcher: Watcher, status: DagsterRunStatus
) -> None:
    run = create_run_for_test(watcher.instance, job_name="other", status=status, tags={CORPUS_TAG: "works"})
    reason = watcher.skips()
    assert run.run_id[:8] in reason and status.value in reason
    watcher.instance.report_run_failed(run)
    watcher.asks()


def test_a_person_materialising_one_asset_counts_as_a_run_of_its_corpus(watcher: Watcher) -> None:
    run = create_run_for_test(
        watcher.instance,
        job_name="__ASSET_JOB",
        status=DagsterRunStatus.STARTED,
        asset_selection=frozenset([dg.AssetKey(["works", "chunks"])]),
    )
    assert run.run_id[:8] in watcher.skips()


def test_runs_of_another_corpus_are_no_reason_to_wait(watcher: Watcher) -> None:
    create_run_for_test(
        watcher.instance, job_name="reindex_other", status=DagsterRunStatus.STARTED, tags={CORPUS_TAG: "other"}
    )
    watcher.asks()


def test_a_writer_outside_of_dagster_is_waited_for(watcher: Watcher) -> None:
    ledger = Ledger(watcher.project.ledger_url)
    token = ledger.acquire_lease("works", "desk:42:ab", 60)
    assert "desk:42:ab" in watcher.skips()
    ledger.release_lease("works", token)
    ledger.close()
    watcher.asks()


def test_a_failed_reindex_of_this_listing_is_not_repeated_at_once_but_a_change_is_taken_up(watcher: Watcher) -> None:
    tags = watcher.asks()
    failed = watcher.run(tags, succeeds=False)
    reason = watcher.skips()
    assert f"failed (run {failed.run_id[:8]}" in reason and "Next try in" in reason
    (documents(watcher) / "a.md").write_text("corrected")
    watcher.asks()


def test_attempts_are_counted_back_to_the_last_run_for_another_listing(watcher: Watcher) -> None:
    for listing, succeeds in (("one", False), ("two", False), ("one", False), (None, False), ("one", True)):
        watcher.run({LISTING_TAG: listing} if listing else {}, succeeds=succeeds)
    runs = runs_of(watcher.instance, "works")
    assert [attempt.succeeded for attempt in runs.attempts("one")] == [True, False]
    assert runs.attempts("two") == []
    began = runs.reindexed_at("reindex_works")
    assert began is not None and abs(datetime.now(UTC) - began) < timedelta(minutes=1)


def test_a_bucket_that_cannot_be_read_is_a_reason_and_the_next_tick_tries_again(watcher: Watcher) -> None:
    documents(watcher).rename(documents(watcher).with_name("away"))
    assert "does not exist or can't be opened" in watcher.skips()
    documents(watcher).with_name("away").rename(documents(watcher))
    watcher.asks()


def test_a_large_bucket_is_listed_over_several_ticks(
    project: Project, make_corpus: MakeCorpus, instance: dg.DagsterInstance
) -> None:
    folder = make_corpus("works", FILES, watch=QUIET)
    in_one = Watcher(project, instance).asks()
    file = folder / "defs.yaml"
    document = yaml.safe_load(file.read_text())
    document["attributes"]["watch"]["budget_seconds"] = 1e-9
    file.write_text(yaml.safe_dump(document))
    watcher = Watcher(project, instance)
    assert watcher.skips() == "Listing continues: 1 object so far."
    assert watcher.skips() == "Listing continues: 2 objects so far."
    assert watcher.asks() == in_one


def test_the_policy_decides_pace_and_whether_the_sensor_runs(project: Project, make_corpus: MakeCorpus) -> None:
    make_corpus("works", FILES)
    assert watch(project, "works").default_status is dg.DefaultSensorStatus.RUNNING
    make_corpus("asleep", FILES, watch={"enabled": False, "interval_seconds": 300})
    sensor = watch(project, "asleep")
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED
    assert 290 <= (sensor.minimum_interval_seconds or 0) <= 300
    assert sensor.job_name == "reindex_asleep"


def test_the_code_location_has_a_watcher_per_corpus_and_a_nightly_reindex_that_runs(
    project: Project, make_corpus: MakeCorpus
) -> None:
    for corpus in ("works", "papers"):
        make_corpus(corpus, FILES)
    defs = definitions.defs()
    names = {sensor.name for sensor in defs.sensors or ()}
    assert names == {"watch_works", "watch_papers", "notify_run_failures"}
    assert reconcile("works").default_status is dg.DefaultScheduleStatus.RUNNING


_TICK = """
import json, sys
import dagster as dg
from headwater.project import find_project
from sensors.bucket import watch
with dg.DagsterInstance.ephemeral() as instance, dg.build_sensor_context(instance) as context:
    result = watch(find_project(), "works")(context)
print(json.dumps({"modules": list(sys.modules), "requests": len(result.run_requests)}))
"""


def test_a_tick_opens_no_lake_index_or_model(watcher: Watcher) -> None:
    checkout = Path(definitions.__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", _TICK], cwd=checkout, env=dict(os.environ), capture_output=True, text=True, check=True
    )
    printed = json.loads(done.stdout.splitlines()[-1])
    assert printed["requests"] == 1
    heavy = {"deltalake", "torch", "transformers", "spacy", "unstructured", "qdrant_edge", "numba", "presidio_analyzer"}
    assert not heavy & set(printed["modules"])
    assert {path.name for path in watcher.project.home.iterdir()} <= {"ledger.db", "ledger.db-wal", "ledger.db-shm"}


# --- S3 and its events ----------------------------------------------------------------------------------------


@pytest.fixture
def s3_watcher(
    aws: Aws, project: Project, make_corpus: MakeCorpus, instance: dg.DagsterInstance
) -> tuple[Watcher, Aws, str]:
    aws.bucket("papers")
    aws.put("papers", "in/a.md", "# A")
    queue = aws.queue("changes")
    make_corpus("works", {}, source={"uri": "s3://papers/in"}, watch=QUIET | {"queue": queue})
    return Watcher(project, instance), aws, queue


def test_a_bucket_in_s3_is_watched_from_listing_to_event(s3_watcher: tuple[Watcher, Aws, str]) -> None:
    watcher, aws, queue = s3_watcher
    watcher.apply(watcher.asks()[LISTING_TAG])
    assert watcher.skips().startswith("Nothing changed: 1 object,")
    aws.put("papers", "in/b.md", "# B")
    assert watcher.skips().startswith("Nothing changed")  # with a queue the bucket is listed now and then only
    aws.sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(notification("in/b.md")))
    assert watcher.asks() == {}
    assert watcher.skips().startswith("Nothing changed")


def test_other_messages_are_counted_and_deleted(s3_watcher: tuple[Watcher, Aws, str]) -> None:
    watcher, aws, queue = s3_watcher
    watcher.apply(watcher.asks()[LISTING_TAG])
    for body in ("hello", json.dumps(notification("elsewhere/x.md"))):
        aws.sqs.send_message(QueueUrl=queue, MessageBody=body)
    reason = watcher.skips()
    assert "1 events about other objects and 1 unknown messages" in reason
    assert "other objects" not in watcher.skips()


def test_an_event_outlives_a_bucket_that_cannot_be_listed(s3_watcher: tuple[Watcher, Aws, str]) -> None:
    watcher, aws, queue = s3_watcher
    aws.sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(notification("in/b.md")))
    aws.delete("papers", "in/a.md")
    aws.s3.delete_bucket(Bucket="papers")
    assert "could not be listed" in watcher.skips()
    aws.bucket("papers")
    assert watcher.asks() == {}


def test_a_queue_that_cannot_be_read_leaves_the_listing(
    aws: Aws, project: Project, make_corpus: MakeCorpus, instance: dg.DagsterInstance
) -> None:
    aws.bucket("papers")
    aws.put("papers", "in/a.md", "# A")
    queue = f"{aws.url}/123456789012/nowhere"
    make_corpus("works", {}, source={"uri": "s3://papers/in"}, watch=QUIET | {"queue": queue})
    watcher = Watcher(project, instance)
    watcher.apply(watcher.asks()[LISTING_TAG])
    assert "The event queue can't be read" in watcher.skips()


# --- notices of failed runs -----------------------------------------------------------------------------------


def failed_run(error: Exception, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    @dg.op
    def live_release() -> None:
        raise error

    @dg.job(name="reindex_works", tags={CORPUS_TAG: "works"})
    def job() -> None:
        live_release()

    return job.execute_in_process(instance=instance, raise_on_error=False)


def notice(result: dg.ExecuteInProcessResult, instance: dg.DagsterInstance) -> Notice:
    with dg.build_run_status_sensor_context(
        sensor_name="notify_run_failures",
        dagster_event=next(event for event in result.all_events if event.is_job_failure),
        dagster_instance=instance,
        dagster_run=result.dagster_run,
    ).for_run_failure() as context:
        return notice_of(context)


def test_an_error_of_headwater_is_passed_on_in_its_own_words(instance: dg.DagsterInstance) -> None:
    result = failed_run(GateError("Release 3 of 'works' failed the gate: recall = 0.2."), instance)
    told = notice(result, instance)
    assert (told.corpus, told.job, told.step, told.run) == ("works", "reindex_works", "live_release", result.run_id)
    assert told.message == "Release 3 of 'works' failed the gate: recall = 0.2."
    assert "headwater releases works" in told.advice


def test_the_cause_decides_where_an_error_was_wrapped(instance: dg.DagsterInstance) -> None:
    error = LeaseError("Another process is writing corpus 'works'.")
    assert notice(failed_run(error, instance), instance).advice.startswith("Nothing was changed.")


def test_of_a_foreign_error_only_the_type_is_passed_on(instance: dg.DagsterInstance) -> None:
    told = notice(failed_run(ValueError("words of a document"), instance), instance)
    assert told.message == "It ended with ValueError."
    assert "words of a document" not in told.text()


def test_a_run_whose_process_died_is_told_of_as_such(instance: dg.DagsterInstance) -> None:
    run = create_run_for_test(instance, job_name="reindex_works", status=DagsterRunStatus.STARTED)
    instance.report_run_failed(run)
    record = instance.get_run_by_id(run.run_id)
    assert record is not None
    event = next(
        entry.dagster_event
        for entry in instance.all_logs(run.run_id)
        if entry.dagster_event is not None and entry.dagster_event.is_job_failure
    )
    context = dg.build_run_status_sensor_context(
        sensor_name="notify_run_failures", dagster_event=event, dagster_instance=instance, dagster_run=record
    ).for_run_failure()
    told = notice_of(context)
    assert told.message == "The run's process ended unexpectedly." and told.corpus is None and told.step is None


def test_the_notice_sensor_runs_and_survives_channels_that_are_away(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADWATER_NOTIFY_WEBHOOK", "http://127.0.0.1:9/secret")
    result = failed_run(GateError("The gate said no."), instance)
    assert notify_run_failures.default_status is dg.DefaultSensorStatus.RUNNING
    with dg.build_run_status_sensor_context(
        sensor_name="notify_run_failures",
        dagster_event=next(event for event in result.all_events if event.is_job_failure),
        dagster_instance=instance,
        dagster_run=result.dagster_run,
    ).for_run_failure() as context:
        notify_run_failures(context)


# --- runs that are gone ---------------------------------------------------------------------------------------


def test_a_run_whose_code_server_is_gone_is_found_dead(tmp_path: Path) -> None:
    shutil.copy(Path(definitions.__file__).parent / "dagster.yaml", tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        assert isinstance(instance.run_launcher, LocalRunLauncher) and instance.run_monitoring_enabled
        where = json.dumps({"host": "127.0.0.1", "port": closed.getsockname()[1]})
        run = create_run_for_test(instance, status=DagsterRunStatus.STARTED, tags={GRPC_INFO_TAG: where})
        assert instance.run_launcher.check_run_worker_health(run).status is WorkerStatus.NOT_FOUND


def test_a_run_that_no_code_server_started_is_left_alone(tmp_path: Path) -> None:
    shutil.copy(Path(definitions.__file__).parent / "dagster.yaml", tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        run = create_run_for_test(instance, status=DagsterRunStatus.STARTED)
        assert instance.run_launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
