"""How long rows take: from what the corpus' own runs cost, else from figures that were measured on a named machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from headwater.costs import StageCost

RUNS = 30
"""Runs of the cost ledger that are looked at, the newest."""

_FEW = 0.25
"""A run with less than this share of the rows of the largest one says what a stage takes to start."""

SHIPPED_MACHINE = "4 vCPUs of an AMD EPYC without a GPU, Markdown files of 7 KB, all-MiniLM-L6-v2"

MEASURES = ("seconds", "cpu_seconds", "gpu_seconds", "read_bytes")


@dataclass(frozen=True, slots=True)
class Line:
    """What a stage takes: ``idle`` in every run, ``start`` more when it has anything to do, ``each`` per unit.

    A unit is a row; of ``embeddings``, a token; of ``retrieval_evaluation``, a point of the index that is new and so is
    looked through for personal data.
    """

    idle: float = 0.0
    start: float = 0.0
    each: float = 0.0

    def of(self, units: float, *, busy: bool) -> float:
        """Return what ``units`` take."""
        return self.idle + (self.start + self.each * units if busy else 0.0)


SHIPPED: Mapping[str, Mapping[str, Line]] = {
    "source_objects": {
        "seconds": Line(0.1, 0.0, 0.0007),
        "cpu_seconds": Line(0.1, 0.0, 0.0007),
    },
    "parsed_documents": {
        "seconds": Line(0.05, 2.0, 0.0065),
        "cpu_seconds": Line(0.05, 8.0, 0.025),
    },
    "quality_documents": {
        "seconds": Line(0.1, 2.0, 0.006),
        "cpu_seconds": Line(0.1, 2.0, 0.006),
    },
    "deduplicated_documents": {
        "seconds": Line(0.1, 0.2, 0.001),
        "cpu_seconds": Line(0.1, 0.2, 0.001),
    },
    "anonymized_documents": {
        "seconds": Line(0.1, 2.0, 0.045),
        "cpu_seconds": Line(0.1, 5.0, 0.16),
    },
    "chunks": {
        "seconds": Line(0.1, 0.5, 0.0105),
        "cpu_seconds": Line(0.1, 0.5, 0.0105),
    },
    "embeddings": {
        "seconds": Line(0.1, 2.0, 0.00005),
        "cpu_seconds": Line(0.1, 6.0, 0.00019),
    },
    "index_candidate": {
        "seconds": Line(0.2, 2.0, 0.001),
        "cpu_seconds": Line(0.2, 3.0, 0.0015),
    },
    "retrieval_evaluation": {"seconds": Line(0.1, 1.5, 0.0012), "cpu_seconds": Line(0.1, 2.5, 0.0028)},
    "live_release": {"seconds": Line(0.1, 0.1, 0.0), "cpu_seconds": Line(0.1, 0.1, 0.0)},
}
"""By stage and measure. What is missing is nothing."""

ROW_BYTES: Mapping[str, float] = {
    "source_objects": 200,
    "parsed_documents": 3_300,
    "quality_documents": 3_700,
    "deduplicated_documents": 12_200,
    "anonymized_documents": 3_800,
    "chunks": 930,
    "embeddings": 2_150,
    "index_candidate": 3_300,
}
"""Bytes on disk per row of a stage's tables, measured on the same."""


def rates(costs: Sequence[StageCost]) -> tuple[dict[str, dict[str, Line]], set[str]]:
    """Return the lines by stage and measure, and the stages whose own runs said something; ``costs`` are of one corpus."""
    points = {cost.run: cost.recomputed for cost in costs if cost.stage == "index_candidate"}

    def units(cost: StageCost) -> float:
        if cost.stage == "retrieval_evaluation":
            return max(points.get(cost.run, 0), 1) if cost.recomputed else 0
        return cost.tokens if cost.stage == "embeddings" else cost.recomputed

    found: dict[str, dict[str, Line]] = {}
    own = set()
    for stage, shipped in SHIPPED.items():
        runs = [cost for cost in costs if cost.stage == stage]
        if any(units(cost) > 0 for cost in runs):
            own.add(stage)
        found[stage] = {
            measure: fit([(units(run), float(getattr(run, measure))) for run in runs], shipped.get(measure, Line()))
            for measure in MEASURES
        }
    return found, own


def stored_rows(costs: Sequence[StageCost]) -> tuple[dict[str, int], dict[str, float]]:
    """Return how many rows each stage's table has, and bytes on disk per row: ``costs`` are newest first.

    A run that changes a row writes the data file anew that the row is in; as ids are scattered, that is most of a table.
    """
    rows: dict[str, int] = {}
    each = dict(ROW_BYTES)
    seen = set()
    for cost in costs:
        rows.setdefault(cost.stage, cost.rows)
        if cost.stage in each and cost.stage not in seen and cost.written_bytes and cost.rows:
            seen.add(cost.stage)
            each[cost.stage] = cost.written_bytes / cost.rows
    return rows, each


def fit(runs: Iterable[tuple[float, float]], shipped: Line) -> Line:
    """Return the line through runs (units, measured), ``shipped`` where they don't tell.

    The slope is that of all runs together, so large ones weigh more.
    """
    pairs = list(runs)
    still = sorted(value for amount, value in pairs if amount <= 0)
    idle = still[len(still) // 2] if still else shipped.idle
    busy = [(amount, max(value - idle, 0.0)) for amount, value in pairs if amount > 0]
    if not busy:
        return Line(idle, shipped.start, shipped.each)
    most = max(amount for amount, _ in busy)
    small = [(amount, value) for amount, value in busy if amount < _FEW * most]
    large = [(amount, value) for amount, value in busy if amount >= _FEW * most]
    amount, value = sum(a for a, _ in large), sum(v for _, v in large)
    if small:
        # Two unknowns: start from the small runs, slope from the large ones, by the line through both means.
        mean_small = sum(a for a, _ in small) / len(small), sum(v for _, v in small) / len(small)
        mean_large = amount / len(large), value / len(large)
        each = max((mean_large[1] - mean_small[1]) / (mean_large[0] - mean_small[0]), 0.0)
        return Line(idle, max(mean_small[1] - each * mean_small[0], 0.0), each)
    # Of what one kind of run took, the start can't be told apart: half of it at most is believed to be one.
    start = min(shipped.start, value / len(large) / 2)
    return Line(idle, start, max(value - start * len(large), 0.0) / amount)
