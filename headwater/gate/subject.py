"""What the checks look at: one release, the lake it was made from, and the live release beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from headwater.index.contract import Hit
from headwater.ledger import ReleaseInfo
from headwater.receipts import end_states

if TYPE_CHECKING:
    from headwater.corpus import Corpus
    from headwater.stages.evaluation import Evaluation

SAMPLED_POINTS = 500
"""Points read back whole, spread evenly over the sorted ids. With 5 % of the points bad, 500 miss all of them with a
probability of 7e-12; smaller corpora are read completely."""

LISTED = 20
"""Examples named in a check's details."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    passed: bool
    figure: float
    threshold: float
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Subject:
    """One release under test. ``held`` is chunk id -> fingerprint of every point that the engine really holds."""

    corpus: Corpus
    info: ReleaseInfo
    evaluation: Evaluation
    live: ReleaseInfo | None
    live_evaluation: Evaluation | None
    removals_confirmed: bool
    states: pl.DataFrame
    held: Mapping[str, str]
    sampled: Sequence[str]
    points: Sequence[Hit]

    @classmethod
    def of(
        cls,
        corpus: Corpus,
        release: int,
        evaluation: Evaluation,
        baseline: tuple[int, Evaluation] | None,
        *,
        removals_confirmed: bool,
    ) -> Subject:
        """Read what the checks share, once."""
        with corpus.searcher(release) as searcher:
            held = searcher.fingerprints()
            ordered = sorted(held)
            sampled = ordered[:: max(1, len(ordered) // SAMPLED_POINTS)]
            points = searcher.retrieve(sampled, with_vectors=True)
        live, live_evaluation = baseline if baseline is not None else (None, None)
        return cls(
            corpus=corpus,
            info=corpus.ledger.release(corpus.name, release),
            evaluation=evaluation,
            live=corpus.ledger.release(corpus.name, live) if live is not None else None,
            live_evaluation=live_evaluation,
            removals_confirmed=removals_confirmed,
            states=end_states(corpus.tables).select("key", "state").collect(),
            held=held,
            sampled=sampled,
            points=points,
        )
