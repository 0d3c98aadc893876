"""What a sensor reads from Dagster's records about the runs of one corpus."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
from dagster import DagsterInstance, DagsterRunStatus, RunRecord, RunsFilter

from headwater.watch import Attempt
from resources.headwater import CORPUS_TAG

LISTING_TAG = "headwater/listing"
"""The tag of a run that was asked for because of a listing: its digest."""

UNFINISHED = [
    status
    for status in DagsterRunStatus
    if status not in (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
]
_LOOKED_AT = 25
"""Finished runs that are read: enough for the longest pause between two tries."""


@dataclass(frozen=True)
class Runs:
    """The unfinished run of a corpus in words, and its finished ones, newest first."""

    running: str | None
    finished: Sequence[RunRecord]

    def attempts(self, listing: str | None) -> list[Attempt]:
        """Return the finished runs for this listing since the last one for another, newest first."""
        found = []
        for record in self.finished:
            tag = record.dagster_run.tags.get(LISTING_TAG)
            if tag is not None and tag != listing:
                break
            if tag is not None and record.end_time is not None:
                ended = datetime.fromtimestamp(record.end_time, UTC)
                succeeded = record.dagster_run.status == DagsterRunStatus.SUCCESS
                found.append(Attempt(record.dagster_run.run_id[:8], ended, succeeded))
        return found

    def reindexed_at(self, job: str) -> datetime | None:
        """Return when the last successful run of ``job`` began."""
        for record in self.finished:
            run = record.dagster_run
            if run.job_name == job and run.status == DagsterRunStatus.SUCCESS and record.start_time is not None:
                return datetime.fromtimestamp(record.start_time, UTC)
        return None


def runs_of(instance: DagsterInstance, corpus: str) -> Runs:
    """Return the runs of a corpus: those with its tag, and unfinished ones that materialise its assets."""
    unfinished = instance.get_run_records(RunsFilter(statuses=UNFINISHED))
    running = next((record for record in unfinished if _is_about(record.dagster_run, corpus)), None)
    ended = [status for status in DagsterRunStatus if status not in UNFINISHED]
    finished = instance.get_run_records(RunsFilter(tags={CORPUS_TAG: corpus}, statuses=ended), limit=_LOOKED_AT)
    return Runs(_describe(running) if running is not None else None, finished)


def _is_about(run: dg.DagsterRun, corpus: str) -> bool:
    if run.tags.get(CORPUS_TAG) == corpus or run.job_name == f"reindex_{corpus}":
        return True
    return any(key.path[0] == corpus for key in run.asset_selection or ())


def _describe(record: RunRecord) -> str:
    run = record.dagster_run
    since = record.create_timestamp.astimezone(UTC)
    return f"run {run.run_id[:8]} of {run.job_name}, {run.status.value} (asked for at {since:%H:%M:%S} UTC)"
