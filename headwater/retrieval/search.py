"""A query to passages: vectors, search, rerank, diversity, and what is put together of the results.

Every step reads one release, through the one searcher that it is given.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from headwater import tracing
from headwater.index.contract import Hit, Searcher, SearchRequest
from headwater.index.request import DENSE, SPARSE
from headwater.retrieval.explain import ExplainedHit, Explanation, Outcome
from headwater.retrieval.grammar import expression_of
from headwater.retrieval.passages import Group, collapse, merge, singles
from headwater.retrieval.vectors import QUERY_VECTORS, Found
from headwater.retrieval.weights import weight_for
from headwater.types import Duplicate, Passage

if TYPE_CHECKING:
    from headwater.corpus import Corpus
    from headwater.policies import RetrievalPolicy

Mode = Literal["hybrid", "dense", "sparse"]

_SPARE = 10
"""Results read beyond ``k``."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for. ``readers`` are the asker's groups, None sees everything: for the gate and maintenance only.

    ``dense`` is the query's vector where the caller has it already; ``merge`` None leaves it to the policy.
    """

    text: str
    k: int
    readers: frozenset[str] | None
    filters: Mapping[str, Any] | str | None = None
    mode: Mode = "hybrid"
    dense: npt.NDArray[np.float32] | None = None
    merge: bool | None = None


class _Clock:
    """Seconds by step."""

    def __init__(self) -> None:
        self.timings: dict[str, float] = {}
        self._last = self._began = time.perf_counter()

    def lap(self, step: str, ended: float | None = None) -> None:
        """End a step: now, or when it did (``time.perf_counter``)."""
        now = ended or time.perf_counter()
        self.timings[step] = self.timings.get(step, 0.0) + now - self._last
        tracing.lap(step, now - self._last)
        self._last = now

    def total(self) -> dict[str, float]:
        return {**self.timings, "total": time.perf_counter() - self._began}


def retrieve(corpus: Corpus, searcher: Searcher, query: Query) -> Explanation:
    """Return the passages for ``query`` in the release of ``searcher``, and how they were found.

    Raises FilterError for a filter that can't be understood, ReleaseError when the release can't be searched.
    """
    clock = _Clock()
    policy, number = corpus.policy.retrieval, searcher.release
    filters = expression_of(query.filters)
    dense = None if query.mode == "sparse" else query.dense
    sparse = None if query.mode == "dense" else corpus.sparse_encoder_of(number).encode_query(query.text)
    weight, source = None, None
    if query.mode == "hybrid":
        weight, source = weight_for(query.text, corpus.settings_of(number), policy)
    candidates = max(corpus.policy.index.candidates, query.k)
    joins = policy.merge if query.merge is None else query.merge
    reranks = policy.rerank_model is not None and query.k > 0
    request = SearchRequest(
        limit=_window(query.k, candidates, policy, joins=joins),
        dense=dense,
        sparse=sparse,
        readers=query.readers,
        filters=filters,
        candidates=candidates,
        rrf_k=corpus.policy.index.rrf_k,
        dense_weight=weight,
    )
    found: Found | None = None
    if query.mode != "sparse" and dense is None:
        found = QUERY_VECTORS.search(corpus.embedder_of(number), query.text, searcher, request)
        request = found.request
    clock.lap("encode", found.encoded if found else None)
    while True:
        hits, found = found.hits if found else searcher.search(request), None
        clock.lap("search")
        ordered, rescored = hits, dict[str, float]()
        if reranks and hits:
            ordered, rescored = _reranked(corpus, query.text, hits)
            clock.lap("rerank")
        if policy.diversity and ordered:
            ordered = _diverse(searcher, ordered, policy.diversity)
            clock.lap("diversity")
        groups = singles(ordered)
        if policy.collapse:
            groups = collapse(groups)
        if joins:
            groups = merge(groups, policy.merge_characters)
        clock.lap("passages")
        used_up = len(groups) < query.k and len(hits) == request.limit < candidates
        if reranks or not used_up:
            break
        request = replace(request, limit=min(2 * request.limit, candidates))
    chosen = groups[: query.k]
    stands_for = corpus.duplicates_of(number, [group.lead.payload["doc_id"] for group in chosen], query.readers)
    passages = tuple(_passage(group, number, stands_for.get(group.lead.payload["doc_id"], ())) for group in chosen)
    clock.lap("duplicates")
    return Explanation(
        query=query.text,
        release=number,
        mode=query.mode,
        passages=passages,
        fusion="none" if query.mode != "hybrid" else "ranks" if weight is None else "scores",
        dense_weight=weight,
        weight_source=source,
        filters=filters,
        candidates=candidates,
        rerank_model=policy.rerank_model if reranks else None,
        diversity=policy.diversity,
        hits=_explained(hits, groups, query.k, rescored),
        timings=clock.total(),
    )


def _window(k: int, candidates: int, policy: RetrievalPolicy, *, joins: bool) -> int:
    """Return how many results are read for ``k`` passages."""
    if not k:
        return 0
    # Joining and leaving out use results up: where these are not enough, more are read.
    window = min(k + _SPARE, candidates) if joins or policy.collapse else k
    if policy.diversity:  # what is unlike the best may stand far below
        window = candidates
    return max(window, policy.rerank_top) if policy.rerank_model else window


def _reranked(corpus: Corpus, query: str, hits: list[Hit]) -> tuple[list[Hit], dict[str, float]]:
    from headwater.retrieval.rerank import open_reranker, reranked

    policy = corpus.policy.retrieval
    model = open_reranker(str(policy.rerank_model), corpus.policy.embed.device)
    found = reranked(hits, query, model, policy.rerank_batch)
    return [replace(hit, score=score) for hit, score in found], {hit.chunk_id: score for hit, score in found}


def _diverse(searcher: Searcher, hits: list[Hit], share: float) -> list[Hit]:
    from headwater.retrieval.diversity import diversify

    stored = searcher.retrieve([hit.chunk_id for hit in hits], with_vectors=True)
    vectors = {hit.chunk_id: hit.payload["vector"] for hit in stored}
    return diversify([hit for hit in hits if hit.chunk_id in vectors], vectors, share)


def _explained(hits: list[Hit], groups: list[Group], k: int, rescored: Mapping[str, float]) -> tuple[ExplainedHit, ...]:
    became: dict[str, tuple[Outcome, str | None]] = {}
    for place, group in enumerate(groups):
        for hit in group.hits:
            leads = hit is group.lead
            became[hit.chunk_id] = ("passage", None) if leads else ("merged", group.lead.chunk_id)
            if place >= k:
                became[hit.chunk_id] = ("beyond the limit", None if leads else group.lead.chunk_id)
        for other, _ in group.same:
            became[other.chunk_id] = ("duplicate", group.lead.chunk_id)
    return tuple(
        ExplainedHit(
            chunk_id=hit.chunk_id,
            key=hit.payload["key"],
            page=hit.payload.get("page"),
            score=hit.score,
            dense=hit.found.get(DENSE),
            sparse=hit.found.get(SPARSE),
            rerank_score=rescored.get(hit.chunk_id),
            outcome=became.get(hit.chunk_id, ("beyond the limit", None))[0],
            into=became.get(hit.chunk_id, ("beyond the limit", None))[1],
        )
        for hit in hits
    )


def _passage(group: Group, release: int, stands_for: tuple[Duplicate, ...]) -> Passage:
    """Return a group as a passage of ``release``, with the documents that its own stands for."""
    payload = group.lead.payload
    same = {payload["doc_id"]: None} | {other.doc_id: None for other in stands_for}
    alike = list(stands_for)
    for hit, similarity in group.same:
        if hit.payload["doc_id"] not in same:
            same[hit.payload["doc_id"]] = None
            alike.append(Duplicate(hit.payload["doc_id"], hit.payload["key"], similarity))
    return Passage(
        chunk_id=group.lead.chunk_id,
        doc_id=payload["doc_id"],
        key=payload["key"],
        revision=payload["revision"],
        release=release,
        title=payload.get("title") or payload["key"],
        section=tuple(payload.get("section") or ()),
        page=payload.get("page"),
        start=group.start,
        end=group.end,
        text=group.text,
        score=group.lead.score,
        content_type=payload.get("content_type") or "",
        language=payload.get("language"),
        date=payload.get("date"),
        modified=payload.get("modified"),
        authors=tuple(payload.get("authors") or ()),
        keywords=tuple(payload.get("keywords") or ()),
        meta=dict(payload.get("meta") or {}),  # the searcher keeps its own
        duplicates=tuple(sorted(alike, key=lambda other: (-other.similarity, other.key))),
        chunks=tuple(hit.chunk_id for hit in group.hits),
        page_breaks=group.page_breaks,
        table_header=group.hits[0].payload.get("table_header"),
    )
