"""The resource through which assets reach the library: it opens a corpus for the length of one step."""

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field, PrivateAttr

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

    What was opened stays open until the run ends, so that its steps share one embedding model.
    """

    project: str = Field(description="The project: the folder that holds assets/ with one sub-folder per corpus.")

    _open: "dict[str, Corpus]" = PrivateAttr(default_factory=dict)

    def pipeline(self, corpus: str, log: logging.Logger) -> "Pipeline":
        """Return the corpus' pipeline, its progress going to ``log``.

        Raises NotFoundError for a corpus that is not in the project and ConfigError for a wrong ``defs.yaml``.
        """
        from headwater.corpus import open_corpus
        from headwater.pipeline import Pipeline

        if corpus not in self._open:
            self._open[corpus] = open_corpus(project_at(Path(self.project)).corpus_file(corpus))
        return Pipeline(self._open[corpus], LoggedProgress(log))

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Close what the run opened."""
        while self._open:
            self._open.popitem()[1].close()
