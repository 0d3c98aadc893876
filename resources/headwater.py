"""The resource through which assets reach the library: it opens a corpus for the length of one step."""

import logging
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field, PrivateAttr, create_model

from headwater.project import project_at
from headwater.reports import StageReport

if TYPE_CHECKING:
    from headwater.corpus import Corpus
    from headwater.pipeline import Pipeline

CORPUS_TAG = "headwater/corpus"
"""The tag of a corpus' assets and runs; dagster.yaml allows one run per value."""

SECONDS_BETWEEN_LOGS = 5.0


class LoggedProgress:
    """Writes a stage's progress to a Dagster log: counts and speed, never content."""

    def __init__(self, log: logging.Logger, seconds_between_logs: float = SECONDS_BETWEEN_LOGS) -> None:
        self._log = log
        self._pause = seconds_between_logs
        self._total = self._done = 0
        self._started = self._logged = 0.0

    def start(self, stage: str, total: int) -> None:
        """Log how many rows are going to be computed."""
        self._total, self._done = total, 0
        self._started = self._logged = time.monotonic()
        self._log.info(f"{stage}: {total:,} rows to compute")

    def advance(self, stage: str, rows: int) -> None:
        """Count ``rows`` more; log when the last line is old enough."""
        self._done += rows
        now = time.monotonic()
        if now - self._logged >= self._pause:
            self._logged = now
            speed = self._done / (now - self._started)
            self._log.info(f"{stage}: {self._done:,} of {self._total:,} rows, {speed:,.1f} rows/s")

    def finish(self, report: StageReport) -> None:
        """Log what the stage did."""
        self._log.info(
            f"{report.stage}: {report.rows:,} rows; {report.recomputed:,} recomputed, {report.removed:,} removed, "
            f"{report.quarantined:,} quarantined in {report.seconds:,.1f} s"
        )


class HeadwaterResource(dg.ConfigurableResource):
    """Opens the corpora of one project. Nothing is opened before a step asks for it.

    What was opened stays open until the run ends, so that its steps share one embedding model; and a run that writes
    a corpus stays its only writer until then, so that nobody comes between two of its steps.
    """

    project: str = Field(description="The project: the folder that holds assets/ with one sub-folder per corpus.")
    confirm_removals: bool = Field(
        default=False,
        description="Go on although the bucket, or the candidate, lost more documents than the corpus allows.",
    )

    _run: str | None = PrivateAttr(default=None)
    _open: "dict[str, Corpus]" = PrivateAttr(default_factory=dict)
    _writing: ExitStack = PrivateAttr(default_factory=ExitStack)
    _written: set[str] = PrivateAttr(default_factory=set)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Note which run this is: what its steps cost is kept under its id, whatever process they ran in."""
        self._run = context.run.run_id if context.run else None

    def corpus(self, name: str) -> "Corpus":
        """Return the opened corpus.

        Raises NotFoundError for a corpus that is not in the project and ConfigError for a wrong ``defs.yaml``.
        """
        from headwater.corpus import open_corpus

        if name not in self._open:
            self._open[name] = open_corpus(project_at(Path(self.project)).corpus_file(name))
        return self._open[name]

    def pipeline(self, corpus: str, log: logging.Logger) -> "Pipeline":
        """Return the corpus' pipeline, its progress going to ``log``; this run is its writer until the run ends.

        Raises LeaseError while another writer is at work, and what :meth:`corpus` raises.
        """
        from headwater.pipeline import Pipeline

        opened = self.corpus(corpus)
        if corpus not in self._written:
            self._writing.enter_context(opened.writing())
            self._written.add(corpus)
        return Pipeline(opened, LoggedProgress(log), confirm_removals=self.confirm_removals, run=self._run)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """End the writing, and close what the run opened."""
        self._writing.close()
        self._written.clear()
        while self._open:
            self._open.popitem()[1].close()


def headwater_resource(project: Path) -> HeadwaterResource:
    """Return the resource of a project.

    The folder becomes the field's default: Dagster drops bound values as soon as a run's configuration names any
    other field of the resource, and nobody should have to repeat the folder to confirm a removal.
    """
    default = Field(default=str(project), description=HeadwaterResource.model_fields["project"].description)
    return create_model("HeadwaterResource", __base__=HeadwaterResource, project=(str, default))()
