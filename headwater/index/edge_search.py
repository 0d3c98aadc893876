"""Searching one sealed release with Qdrant's embedded engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from headwater.errors import ReleaseError
from headwater.index.contract import Hit, IndexSpec, SearchRequest
from headwater.index.filters import AllHold, AnyOf, Condition, Fails, OneHolds, StartsWith, conditions
from headwater.index.fusion import TIE_ROWS, Ranking, fuse, places, settle
from headwater.index.request import (
    DENSE,
    EXACT_POINTS,
    HNSW_EF,
    PAYLOAD,
    SPARSE,
    can_match,
    check_vectors,
    depth,
)

if TYPE_CHECKING:
    from qdrant_edge import EdgeShard, FieldCondition, Filter, Query, SearchParams

_SCROLL_ROWS = 10_000


class EdgeSearcher:
    """Implements :class:`headwater.index.contract.Searcher`."""

    def __init__(self, release: int, shard: EdgeShard, spec: IndexSpec, count: int) -> None:
        self.release = release
        self._shard: EdgeShard | None = shard
        self._spec = spec
        self._count = count

    def search(self, request: SearchRequest) -> list[Hit]:
        """Return at most ``request.limit`` hits, best first; equal scores are ordered by chunk id.

        Both permission and caller filters apply inside each retriever. Raises ReleaseError for an unknown filter
        field, a vector of another width than the release's, or a closed searcher.
        """
        from qdrant_edge import Filter, IdfParams, Query, SearchParams
        from qdrant_edge import SparseVector as EdgeSparseVector

        condition = _condition(request)
        check_vectors(request, self._spec.dimensions, self.release)
        if not can_match(request):
            return []
        rows = depth(request)
        dense: Ranking | None = None
        sparse: Ranking | None = None
        if request.dense is not None:
            nearest = SearchParams(exact=self._count <= EXACT_POINTS, hnsw_ef=HNSW_EF)
            dense = self._ranking(Query.Nearest(request.dense.tolist(), using=DENSE), condition, rows, nearest)
        if request.sparse is not None:
            sparse = ([], [])  # nothing but stop words: no point matches
            if len(request.sparse.indices):
                terms = EdgeSparseVector(request.sparse.indices.tolist(), request.sparse.values.tolist())
                # The empty filter makes the engine count living points only: else deleted ones weigh until a merge.
                living = SearchParams(idf=IdfParams(Filter()))
                sparse = self._ranking(Query.Nearest(terms, using=SPARSE), condition, rows, living)
        ids, scores = fuse(dense, sparse, rrf_k=request.rrf_k, dense_weight=request.dense_weight)
        payloads = self._payloads(ids[: request.limit])
        found = places({DENSE: dense, SPARSE: sparse})
        return [
            Hit(point, score, payloads[point], found[point])
            for point, score in zip(ids, scores, strict=True)
            if point in payloads
        ]

    def count(self) -> int:
        """Return the number of points, as the engine counts them now."""
        from qdrant_edge import CountRequest

        return int(self._call("count", CountRequest()))

    def fingerprints(self) -> dict[str, str]:
        """Return chunk id -> point fingerprint of every point the engine really holds."""
        from qdrant_edge import ScrollRequest

        result: dict[str, str] = {}
        offset: Any = None
        while True:
            records, offset = self._call(
                "scroll", ScrollRequest(offset=offset, limit=_SCROLL_ROWS, with_payload=["fingerprint"])
            )
            result.update((str(record.id), record.payload["fingerprint"]) for record in records)
            if offset is None:
                return result

    def retrieve(self, chunk_ids: Sequence[str], *, with_vectors: bool = False) -> list[Hit]:
        """Return the points that exist among ``chunk_ids``, in their order (score 0)."""
        payloads = self._payloads(chunk_ids, with_vectors=with_vectors)
        return [Hit(point, 0.0, payloads[point]) for point in dict.fromkeys(chunk_ids) if point in payloads]

    def close(self) -> None:
        """Release all resources; a search that another thread has in flight may fail with ReleaseError."""
        shard, self._shard = self._shard, None
        if shard is not None:
            shard.close()

    def _ranking(self, query: Query, condition: Filter | None, rows: int, params: SearchParams) -> Ranking:
        from qdrant_edge import QueryRequest

        def fetch(limit: int) -> Ranking:
            request = QueryRequest(limit=limit, query=query, filter=condition, params=params, with_payload=False)
            points = self._call("query", request)
            return [str(point.id) for point in points], [point.score for point in points]

        return settle(fetch(rows + TIE_ROWS), rows, fetch)

    def _payloads(self, ids: Sequence[str], *, with_vectors: bool = False) -> dict[str, dict[str, Any]]:
        if not ids:
            return {}
        records = self._call("retrieve", list(ids), True, [DENSE] if with_vectors else False)
        result = {}
        for record in records:
            payload = {"chunk_id": str(record.id), **{name: record.payload.get(name) for name in PAYLOAD}}
            if with_vectors:
                payload["vector"] = np.asarray(record.vector[DENSE], dtype=np.float32)
            result[str(record.id)] = payload
        return result

    def _call(self, method: str, *arguments: Any) -> Any:
        shard = self._shard
        if shard is None:
            raise ReleaseError(f"release {self.release} was closed; open it again")
        try:
            return getattr(shard, method)(*arguments)
        except Exception as error:  # the engine raises bare Exception
            if self._shard is None:
                raise ReleaseError(f"release {self.release} was closed during a search; open it again") from error
            raise ReleaseError(f"release {self.release} could not be read ({error}); roll back or reindex") from error


def _condition(request: SearchRequest) -> Filter | None:
    from qdrant_edge import Filter

    wanted = [_translated(condition) for condition in conditions(request)]
    return Filter(must=list(wanted)) if wanted else None


def _translated(condition: Condition) -> Filter | FieldCondition:
    from qdrant_edge import FieldCondition, Filter, MatchAny, MatchPrefix, RangeFloat

    if isinstance(condition, AllHold):
        return Filter(must=[_translated(part) for part in condition.parts])
    if isinstance(condition, OneHolds):
        return Filter(should=[_translated(part) for part in condition.parts])
    if isinstance(condition, Fails):
        return Filter(must_not=[_translated(condition.part)])
    if isinstance(condition, AnyOf):
        values: list[Any] = list(condition.values)
        return FieldCondition(condition.field, match=MatchAny(values))
    if isinstance(condition, StartsWith):
        return FieldCondition(condition.field, match=MatchPrefix(condition.prefix))
    return FieldCondition(condition.field, range=RangeFloat(**condition.limits))
