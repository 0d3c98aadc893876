"""How far a reindex is: bars on a terminal, a line now and then where there is none. Both on standard error."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from headwater.cli.output import console
from headwater.reports import StageReport

_LINE_SECONDS = 5.0
"""At most one line per stage in this time, where no terminal shows a bar."""


class StageProgress:
    """Keeps the reports of finished stages; what all kinds of display have in common."""

    def __init__(self) -> None:
        self.reports: list[StageReport] = []

    def start(self, stage: str, total: int) -> None:
        """``total`` rows are going to be computed in ``stage``."""

    def advance(self, stage: str, rows: int) -> None:
        """``rows`` more are done."""

    def finish(self, report: StageReport) -> None:
        """The stage is done."""
        self.reports.append(report)


class _Bars(StageProgress):
    """One bar for the stages, and one for the rows of each stage that has any to compute."""

    def __init__(self, bars: Progress, title: str, stages: int) -> None:
        super().__init__()
        self._bars = bars
        self._all = bars.add_task(title, total=stages)
        self._rows: dict[str, TaskID] = {}

    def start(self, stage: str, total: int) -> None:
        if total:
            self._rows[stage] = self._bars.add_task(stage, total=total)

    def advance(self, stage: str, rows: int) -> None:
        if stage in self._rows:
            self._bars.advance(self._rows[stage], rows)

    def finish(self, report: StageReport) -> None:
        super().finish(report)
        self._bars.advance(self._all)


class _Lines(StageProgress):
    """Counts and speed every few seconds, and a line per finished stage."""

    def __init__(self, out: Console) -> None:
        super().__init__()
        self._out = out
        self._total = self._done = 0
        self._started = self._printed = 0.0

    def start(self, stage: str, total: int) -> None:
        self._total, self._done = total, 0
        self._started = self._printed = time.monotonic()

    def advance(self, stage: str, rows: int) -> None:
        self._done += rows
        now = time.monotonic()
        if now - self._printed >= _LINE_SECONDS:
            self._printed = now
            speed = self._done / (now - self._started)
            self._out.print(f"{stage}: {self._done:,} of {self._total:,} rows, {speed:,.1f} rows/s")

    def finish(self, report: StageReport) -> None:
        super().finish(report)
        self._out.print(
            f"{report.stage}: {report.rows:,} rows, {report.recomputed:,} recomputed in {report.seconds:,.1f} s"
        )


@contextmanager
def stage_progress(title: str, stages: int) -> Iterator[StageProgress]:
    """Give the progress of a run of ``stages`` stages; the display ends with the block."""
    out = console(stderr=True)
    if not out.is_terminal:
        yield _Lines(out)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=out, transient=True) as bars:
        yield _Bars(bars, title, stages)
