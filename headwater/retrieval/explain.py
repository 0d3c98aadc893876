"""How a search came to its passages: what :meth:`headwater.corpus.Corpus.explain` returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from headwater.retrieval.weights import WeightSource
from headwater.types import Passage

Outcome = Literal["passage", "merged", "duplicate", "beyond the limit"]
"""What became of a result: it leads a passage, it is part of one, it has the text of a better one, or there were enough."""


@dataclass(frozen=True, slots=True)
class ExplainedHit:
    """One result in the order of the fusion, and what became of it.

    ``dense`` and ``sparse`` are its rank (from 1) and score in either retriever, None where it is not among the
    candidates. ``score`` is the fused one, ``rerank_score`` the cross-encoder's. ``into`` is the chunk that leads its
    passage, or whose text it has.
    """

    chunk_id: str
    key: str
    page: int | None
    score: float
    dense: tuple[int, float] | None
    sparse: tuple[int, float] | None
    rerank_score: float | None
    outcome: Outcome
    into: str | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """The passages of a search and how they were found; ``timings`` are seconds by step.

    ``fusion`` is ``scores`` (with ``dense_weight``, from ``weight_source``), ``ranks``, or ``none`` with one retriever.
    ``filters`` is the expression that was searched with. ``rerank_model`` and ``diversity`` are what was applied.
    """

    query: str
    release: int
    mode: str
    passages: tuple[Passage, ...]
    fusion: Literal["scores", "ranks", "none"]
    dense_weight: float | None
    weight_source: WeightSource | None
    filters: Mapping[str, Any]
    candidates: int
    rerank_model: str | None
    diversity: float
    hits: tuple[ExplainedHit, ...]
    timings: Mapping[str, float] = field(default_factory=dict)
