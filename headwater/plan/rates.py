"""How long rows take: from what the corpus' own runs cost, else from figures that were measured on a named machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from headwater.costs import StageCost
from headwater.plan.lines import Line, fit
from headwater.plan.shipped import COLD, ROW_BYTES, SHIPPED

if TYPE_CHECKING:
    from headwater.ledger import ReleaseInfo

RUNS = 100
"""Runs of the cost ledger that are looked at, the newest: most of a schedule's find nothing to do."""

MEASURES = ("seconds", "cpu_seconds", "gpu_seconds", "read_bytes")


def of_model(costs: Sequence[StageCost], releases: Iterable[ReleaseInfo], model: str) -> list[StageCost]:
    """Return the costs without the embeddings of runs that are known to have used another model than ``model``.

    A release is the work of the last run whose ``embeddings`` began before it was made; runs whose release is gone stay.
    """
    began = sorted((cost.at, cost.run) for cost in costs if cost.stage == "embeddings" and cost.recomputed)
    foreign = set()
    for release in releases:
        run = next((run for at, run in reversed(began) if at <= release.created_at), None)
        if release.settings.get("model", model) != model:
            foreign.add(run)
    return [cost for cost in costs if cost.stage != "embeddings" or cost.run not in foreign]


@dataclass(frozen=True, slots=True)
class Rates:
    """What stages take, by stage and measure; what a cold run takes more (:func:`is_cold`), by measure; and the stages
    whose own runs said something."""

    lines: Mapping[str, Mapping[str, Line]]
    cold: Mapping[str, float]
    own: frozenset[str]


def is_cold(*, objects: int, tokens: int, points: int) -> bool:
    """Return whether a run of so many changed objects, tokens to embed, and points to write or delete loads the embedding
    model for nothing but the learning and the evaluation of its release.

    Wherever there are changed objects, it is loaded beside the first stages, and is a part of what these take to start.
    """
    return points > 0 and not objects and not tokens


def rates(costs: Sequence[StageCost]) -> Rates:
    """Return what the runs of a corpus tell."""
    runs: dict[str, dict[str, StageCost]] = {}
    for cost in costs:
        runs.setdefault(cost.run, {})[cost.stage] = cost
    cold = {name for name, run in runs.items() if _was_cold(run)}

    def said(stage: str) -> list[tuple[StageCost, float, bool]]:
        left = cold if stage in _OF_RELEASE else ()
        each = [(name, run[stage]) for name, run in runs.items() if stage in run and name not in left]
        return [(cost, _units(cost, runs[name]), _was_touched(cost)) for name, cost in each]

    lines: dict[str, dict[str, Line]] = {}
    for stage, shipped in SHIPPED.items():
        stages = said(stage)
        lines[stage] = {
            measure: fit(
                [(units, float(getattr(cost, measure)), touched) for cost, units, touched in stages],
                shipped.get(measure, Line()),
            )
            for measure in MEASURES
        }
    own = frozenset(stage for stage in SHIPPED if any(units for _, units, _ in said(stage)))
    more = {measure: _more([runs[name] for name in cold], lines, measure) for measure in MEASURES}
    return Rates(lines, more, own)


_OF_RELEASE = ("index_candidate", "retrieval_evaluation")
"""Where the embedding model is loaded in a cold run: in the first of them that needs it."""


def _was_cold(run: Mapping[str, StageCost]) -> bool:
    source, embeddings, index = (run.get(name) for name in ("source_objects", "embeddings", "index_candidate"))
    if source is None or embeddings is None or index is None:
        return False
    return is_cold(objects=source.recomputed, tokens=embeddings.tokens, points=index.recomputed + index.removed)


def _was_touched(cost: StageCost) -> bool:
    return bool(cost.recomputed or cost.removed)


def _units(cost: StageCost, run: Mapping[str, StageCost]) -> float:
    if cost.stage == "retrieval_evaluation":
        index = run.get("index_candidate")
        return max(index.recomputed if index is not None else 0, 1) if cost.recomputed else 0
    if cost.stage == "quality_documents" and not cost.read_bytes:
        return 0  # verdicts were decided anew, and no text was read for it
    return cost.tokens if cost.stage == "embeddings" else cost.recomputed


def _more(runs: Sequence[Mapping[str, StageCost]], lines: Mapping[str, Mapping[str, Line]], measure: str) -> float:
    """Return what cold runs took beyond their lines: the median, with what was shipped as one more run."""
    beyond = []
    for run in runs:
        costs = [run[stage] for stage in _OF_RELEASE if stage in run]
        expected = (lines[cost.stage][measure].of(_units(cost, run), touched=_was_touched(cost)) for cost in costs)
        beyond.append(max(sum(float(getattr(cost, measure)) for cost in costs) - sum(expected), 0.0))
    return median([*beyond, COLD.get(measure, 0.0)])


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
