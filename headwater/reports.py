"""What a stage says of its run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from headwater.costs import StageCost


@dataclass(frozen=True, slots=True)
class StageReport:
    """The counts of one stage run.

    ``rows`` = rows in the stage table afterwards; ``recomputed`` were computed in this run, ``removed`` left the
    table, ``quarantined`` are rows of the table whose processing failed. ``reasons`` counts the table's rows by
    verdict (``ok`` and every reject, duplicate or quarantine code). ``version`` is the Delta version of the table;
    ``data_version`` a digest over its row fingerprints.
    """

    stage: str
    rows: int
    recomputed: int
    removed: int
    quarantined: int
    seconds: float
    reasons: Mapping[str, int] = field(default_factory=dict)
    version: int | None = None
    data_version: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    cost: StageCost | None = None
    """What it cost; known when the stage is over, so not yet when progress is told of it."""

    @property
    def rows_per_second(self) -> float:
        """Recomputed rows per second of wall time."""
        return self.recomputed / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class GateCheck:
    """One check between a candidate and live: its figure, the threshold, and what to do when it failed."""

    name: str
    passed: bool
    figure: float
    threshold: float
    description: str
    details: Mapping[str, Any] = field(default_factory=dict)


class Progress(Protocol):
    """Where a stage reports how far it is."""

    def start(self, stage: str, total: int) -> None:
        """``total`` rows are going to be computed in ``stage``."""
        ...

    def advance(self, stage: str, rows: int) -> None:
        """``rows`` more are done."""
        ...

    def finish(self, report: StageReport) -> None:
        """The stage is done."""
        ...


class NoProgress:
    """Reports to nobody."""

    def start(self, stage: str, total: int) -> None:
        """Do nothing."""

    def advance(self, stage: str, rows: int) -> None:
        """Do nothing."""

    def finish(self, report: StageReport) -> None:
        """Do nothing."""
