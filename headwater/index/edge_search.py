"""Searching one sealed release with Qdrant's embedded engine."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np

from headwater.errors import ReleaseError
from headwater.index.contract import Hit, IndexSpec, SearchRequest
from headwater.index.filters import AllHold, AnyOf, Condition, Fails, OneHolds, StartsWith, conditions, readable
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
    together,
)

if TYPE_CHECKING:
    from qdrant_edge import EdgeShard, FieldCondition, Filter, Query, QueryRequest, SearchParams

_SCROLL_ROWS = 10_000

_ALTERNATIVES = 8
"""Up to so many values of a search's only condition are asked for one by one. For a list the engine collects all points that
have any of them and sorts out those met twice: with readers ["*"] on 19,000 points that took as long as the search itself."""

_REMEMBERED = 8192
"""Payloads that an open release keeps, 30 to 65 MB at 200 words each: a sealed release's don't change, and the engine converts
all of a payload each time that it is asked."""


class EdgeSearcher:
    """Implements :class:`headwater.index.contract.Searcher`; ``state`` tells the release as it is from what it was or will be."""

    def __init__(self, release: int, shard: EdgeShard, spec: IndexSpec, count: int, state: str) -> None:
        self.release = release
        self.state = state
        self._shard: EdgeShard | None = shard
        self._spec = spec
        self._count = count
        self._lock = threading.Lock()
        self._known: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def search(self, request: SearchRequest) -> list[Hit]:
        """Return at most ``request.limit`` hits, best first; equal scores are ordered by chunk id.

        Both permission and caller filters apply inside each retriever. Raises ReleaseError for an unknown filter
        field, a vector of another width than the release's, or a closed searcher.
        """
        return self.search_many([request])[0]

    def search_many(self, requests: Sequence[SearchRequest]) -> list[list[Hit]]:
        """Return what :meth:`search` does for each, from one pass over the vectors for all of one filter."""
        asked = [self._queries(request) for request in requests]
        order = together(requests, asked)
        found: list[dict[str, Ranking[int]]] = [{} for _ in asked]
        for (place, name), ranking in zip(order, self._rankings([asked[at][name] for at, name in order]), strict=True):
            found[place][name] = ranking
        return [self._hits(request, own, one) for request, own, one in zip(requests, found, asked, strict=True)]

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
        with self._lock:
            self._known.clear()
        if shard is not None:
            shard.close()

    def _queries(self, request: SearchRequest) -> dict[str, QueryRequest]:
        """Return what the engine is asked for, by retriever."""
        from qdrant_edge import Filter, IdfParams, Query, QueryRequest, SearchParams
        from qdrant_edge import SparseVector as EdgeSparseVector

        condition = _condition(request)
        check_vectors(request, self._spec.dimensions, self.release)
        wanted: dict[str, tuple[Query, SearchParams]] = {}
        if not can_match(request):
            return {}
        if request.dense is not None:
            nearest = SearchParams(exact=self._count <= EXACT_POINTS, hnsw_ef=HNSW_EF)
            wanted[DENSE] = Query.Nearest(request.dense.tolist(), using=DENSE), nearest
        if request.sparse is not None and len(request.sparse.indices):
            terms = EdgeSparseVector(request.sparse.indices.tolist(), request.sparse.values.tolist())
            # An empty filter will do, but not none: the engine then counts deleted points until a merge, too.
            corpus = Filter(should=[_equals(one.field, value) for one in readable(request) for value in one.values])
            wanted[SPARSE] = Query.Nearest(terms, using=SPARSE), SearchParams(idf=IdfParams(corpus))
        rows = depth(request) + TIE_ROWS
        return {
            name: QueryRequest(limit=rows, query=query, filter=condition, params=params, with_payload=False)
            for name, (query, params) in wanted.items()
        }

    def _rankings(self, queries: Sequence[QueryRequest]) -> list[Ranking[int]]:
        """Return ids as numbers, which stand in the order of the ids, and cost less than their text."""
        from qdrant_edge import QueryBatchRequest

        if not queries:
            return []
        found = self._call("query_batch", QueryBatchRequest(list(queries)))
        return [([point.id.int for point in points], [point.score for point in points]) for points in found]

    def _hits(
        self, request: SearchRequest, first: Mapping[str, Ranking[int]], queries: Mapping[str, QueryRequest]
    ) -> list[Hit]:
        rankings: dict[str, Ranking[int] | None] = {DENSE: None, SPARSE: None}
        if request.sparse is not None:
            rankings[SPARSE] = ([], [])  # nothing but stop words: no point matches
        for name, ranking in first.items():

            def more(limit: int, query: QueryRequest = queries[name]) -> Ranking[int]:
                return self._rankings([_with_limit(query, limit)])[0]

            rankings[name] = settle(ranking, depth(request), more)
        ids, scores = fuse(rankings[DENSE], rankings[SPARSE], rrf_k=request.rrf_k, dense_weight=request.dense_weight)
        best = ids[: request.limit]
        found = places(rankings, best)
        names = {point: str(UUID(int=point)) for point in best}
        payloads = self._payloads(list(names.values()))
        return [
            Hit(name, score, payloads[name], found[point])
            for (point, name), score in zip(names.items(), scores, strict=False)
            if name in payloads
        ]

    def _payloads(self, ids: Sequence[str], *, with_vectors: bool = False) -> dict[str, dict[str, Any]]:
        """Return the payloads of the points that exist among ``ids``; not to be changed."""
        found: dict[str, dict[str, Any]] = {}
        if not with_vectors:
            with self._lock:
                for chunk_id in ids:
                    if chunk_id in self._known:
                        self._known.move_to_end(chunk_id)
                        found[chunk_id] = self._known[chunk_id]
        missing = [chunk_id for chunk_id in ids if chunk_id not in found]
        if not missing and self._shard is not None:
            return found
        read: dict[str, dict[str, Any]] = {}
        for record in self._call("retrieve", missing, True, [DENSE] if with_vectors else False):
            chunk_id, stored = str(record.id), record.payload
            payload = {"chunk_id": chunk_id, **{name: stored.get(name) for name in PAYLOAD}}
            if with_vectors:
                payload["vector"] = np.asarray(record.vector[DENSE], dtype=np.float32)
            read[chunk_id] = payload
        if not with_vectors:
            with self._lock:
                if self._shard is not None:
                    self._known.update(read)
                while len(self._known) > _REMEMBERED:
                    self._known.popitem(last=False)
        return found | read

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


def _with_limit(query: QueryRequest, limit: int) -> QueryRequest:
    from qdrant_edge import QueryRequest

    return QueryRequest(
        limit=limit, query=query.query, filter=query.filter, params=query.params, with_payload=query.with_payload
    )


def _condition(request: SearchRequest) -> Filter | None:
    from qdrant_edge import Filter

    wanted = conditions(request)
    if len(wanted) == 1 and isinstance(wanted[0], AnyOf) and len(wanted[0].values) <= _ALTERNATIVES:
        return Filter(should=[_equals(wanted[0].field, value) for value in wanted[0].values])
    return Filter(must=[_translated(condition) for condition in wanted]) if wanted else None


def _equals(field: str, value: str | int) -> FieldCondition:
    from qdrant_edge import FieldCondition, MatchValue

    return FieldCondition(field, match=MatchValue(value))


def _translated(condition: Condition) -> Filter | FieldCondition:
    from qdrant_edge import FieldCondition, Filter, MatchAny, MatchPrefix, RangeFloat

    if isinstance(condition, AllHold):
        return Filter(must=[_translated(part) for part in condition.parts])
    if isinstance(condition, OneHolds):
        return Filter(should=[_translated(part) for part in condition.parts])
    if isinstance(condition, Fails):
        return Filter(must_not=[_translated(condition.part)])
    if isinstance(condition, AnyOf) and len(condition.values) == 1:
        return _equals(condition.field, condition.values[0])
    if isinstance(condition, AnyOf):
        values: list[Any] = list(condition.values)
        return FieldCondition(condition.field, match=MatchAny(values))
    if isinstance(condition, StartsWith):
        return FieldCondition(condition.field, match=MatchPrefix(condition.prefix))
    return FieldCondition(condition.field, range=RangeFloat(**condition.limits))
