"""Searching one sealed release on a Qdrant server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from headwater.errors import ReleaseError
from headwater.index import filters, visibility
from headwater.index.collection import PointCollection, marker_id
from headwater.index.connection import Connection, MissingCollectionError
from headwater.index.contract import Hit, IndexSpec, SearchRequest
from headwater.index.filters import AllHold, AnyOf, Fails, OneHolds, StartsWith, conditions, readable
from headwater.index.fusion import TIE_ROWS, Ranking, fuse, places, settle
from headwater.index.layout import rescoring
from headwater.index.registry import Sealed
from headwater.index.request import (
    DENSE,
    EXACT_POINTS,
    PAYLOAD,
    SPARSE,
    can_match,
    check_vectors,
    depth,
    together,
)
from headwater.policies import IndexPolicy

if TYPE_CHECKING:
    from qdrant_client.models import Condition, QueryRequest


class ServerSearcher:
    """Implements :class:`headwater.index.contract.Searcher`.

    What a search read counts only if the marker of its state is still there afterwards: dropping a release and
    redacting it remove the marker before the first point.
    """

    def __init__(
        self,
        release: int,
        connection: Connection,
        sealed: Sealed,
        spec: IndexSpec,
        policy: IndexPolicy = IndexPolicy(),
    ) -> None:
        self.release = release
        self._connection = connection
        self._sealed = sealed
        self._spec = spec
        self._policy = policy
        self._points = PointCollection(connection, sealed.collection, spec, policy)
        self._closed = False

    def search(self, request: SearchRequest) -> list[Hit]:
        """Return at most ``request.limit`` hits, best first; equal scores are ordered by chunk id.

        Both retrievers are one request, with permission and caller filters inside each. Raises ReleaseError for an
        unknown filter field, a vector of another width than the release's, a closed searcher, and a release that was
        dropped or redacted meanwhile.
        """
        return self.search_many([request])[0]

    def search_many(self, requests: Sequence[SearchRequest]) -> list[list[Hit]]:
        """Return what :meth:`search` does for each, in two requests to the server for all."""
        asked = [self._queries(request) for request in requests]
        self._check_open()
        order = together(requests, asked)
        found: dict[str, str] = {}
        first: list[dict[str, Ranking[str]]] = [{} for _ in asked]
        for (place, name), ranking in zip(
            order, self._rankings([asked[at][name] for at, name in order], found), strict=True
        ):
            first[place][name] = ranking
        ranked = [
            self._ranked(request, own, one, found) for request, own, one in zip(requests, first, asked, strict=True)
        ]
        best = dict.fromkeys(chunk_id for (ids, _), _ in ranked for chunk_id in ids)
        payloads = self._read([found[chunk_id] for chunk_id in best]) if any(map(can_match, requests)) else {}
        return [
            [
                Hit(chunk_id, score, payloads[chunk_id], where[chunk_id])
                for chunk_id, score in zip(*ranking, strict=True)
            ]
            for ranking, where in ranked
        ]

    def count(self) -> int:
        """Return the number of points, as the server counts them now."""
        counted = self._call("count", count_filter=visibility.every(*self._seen()), exact=True)
        self._read([])
        return int(counted.count)

    def fingerprints(self) -> dict[str, str]:
        """Return chunk id -> point fingerprint of every point the server really holds."""
        return {
            payload["chunk_id"]: payload["fingerprint"]
            for payload, _ in self._scan(self._seen(), ["chunk_id", "fingerprint"], False)
        }

    def retrieve(self, chunk_ids: Sequence[str], *, with_vectors: bool = False) -> list[Hit]:
        """Return the points that exist among ``chunk_ids``, in their order (score 0)."""
        if not chunk_ids:
            return []
        wanted = [*self._seen(), visibility.one_of("chunk_id", set(chunk_ids))]
        payloads = {}
        for stored, vectors in self._scan(wanted, True, with_vectors):
            payloads[stored["chunk_id"]] = _public(stored)
            if with_vectors:
                payloads[stored["chunk_id"]]["vector"] = np.asarray(vectors[DENSE], dtype=np.float32)
        return [Hit(chunk, 0.0, payloads[chunk]) for chunk in dict.fromkeys(chunk_ids) if chunk in payloads]

    def close(self) -> None:
        """Refuse further searches; the connection is the engine's."""
        self._closed = True

    def _queries(self, request: SearchRequest) -> dict[str, QueryRequest]:
        """Return what the server is asked for, by retriever."""
        from qdrant_client.models import IdfCorpusParams, QueryRequest, SearchParams, SparseVector

        wanted = [_condition(one) for one in conditions(request)]
        check_vectors(request, self._spec.dimensions, self.release)
        if not can_match(request):
            return {}
        condition, rows = visibility.every(*self._seen(), *wanted), depth(request) + TIE_ROWS
        queries = {}
        if request.dense is not None:
            queries[DENSE] = QueryRequest(
                query=request.dense.tolist(),
                using=DENSE,
                filter=condition,
                params=SearchParams(
                    exact=self._sealed.count <= EXACT_POINTS,
                    hnsw_ef=self._policy.hnsw_ef,
                    quantization=rescoring(self._policy),
                ),
                limit=rows,
                with_payload=["chunk_id"],
            )
        if request.sparse is not None and len(request.sparse.indices):
            terms = SparseVector(indices=request.sparse.indices.tolist(), values=request.sparse.values.tolist())
            # Terms are weighed by what the reader may see of the release: not by other releases, nor by hidden points.
            corpus = IdfCorpusParams(corpus=visibility.every(*self._seen(), *map(_condition, readable(request))))
            queries[SPARSE] = QueryRequest(
                query=terms,
                using=SPARSE,
                filter=condition,
                params=SearchParams(idf=corpus),
                limit=rows,
                with_payload=["chunk_id"],
            )
        return queries

    def _ranked(
        self,
        request: SearchRequest,
        first: Mapping[str, Ranking[str]],
        queries: Mapping[str, QueryRequest],
        found: dict[str, str],
    ) -> tuple[Ranking[str], dict[str, dict[str, tuple[int, float]]]]:
        """Return the best ``request.limit`` chunks, and where each retriever has them."""
        rankings: dict[str, Ranking[str] | None] = {DENSE: None, SPARSE: None}
        if request.sparse is not None:
            rankings[SPARSE] = ([], [])  # nothing but stop words: no point matches
        for name, ranking in first.items():

            def more(limit: int, query: QueryRequest = queries[name]) -> Ranking[str]:
                return self._rankings([query.model_copy(update={"limit": limit})], found)[0]

            rankings[name] = settle(ranking, depth(request), more)
        ids, scores = fuse(rankings[DENSE], rankings[SPARSE], rrf_k=request.rrf_k, dense_weight=request.dense_weight)
        best = ids[: request.limit]
        return (best, scores[: request.limit]), places(rankings, best)

    def _rankings(self, queries: Sequence[QueryRequest], found: dict[str, str]) -> list[Ranking[str]]:
        """Run the queries at once; note in ``found`` which point is which chunk."""
        if not queries:
            return []
        rankings = []
        for response in self._call("query_batch_points", list(queries), **self._reading()):
            chunks = [point.payload["chunk_id"] for point in response.points]
            found.update(zip(chunks, (str(point.id) for point in response.points), strict=True))
            rankings.append((chunks, [float(point.score) for point in response.points]))
        return rankings

    def _read(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return payloads by chunk id. The same request looks for the marker: without it, nothing read so far counts."""
        marker = marker_id(self._sealed.state)
        found = self._call("retrieve", [*ids, marker], with_payload=True, **self._reading())
        records = {str(record.id): record for record in found}
        if not all(name in records for name in (*ids, marker)):
            raise self._stale()
        return {records[name].payload["chunk_id"]: _public(records[name].payload) for name in ids}

    def _scan(
        self, wanted: Sequence[Condition], payload: bool | list[str], vectors: bool
    ) -> list[tuple[dict[str, Any], Any]]:
        self._check_open()
        try:
            batches = self._points.scroll(visibility.every(*wanted), payload=payload, vectors=vectors)
            rows = [(record.payload or {}, record.vector) for records in batches for record in records]
        except MissingCollectionError as error:
            raise self._stale() from error
        self._read([])
        return rows

    def _seen(self) -> list[Condition]:
        return visibility.seen_by(self._sealed.state)

    def _reading(self) -> dict[str, Any]:
        """Return how long a read may take, and how many copies it asks."""
        from qdrant_client.models import ReadConsistencyType

        asked = self._policy.read_consistency
        consistency = {} if asked == "one" else {"consistency": ReadConsistencyType(asked)}
        return {"timeout": self._policy.search_timeout_seconds, **consistency}

    def _call(self, method: str, *arguments: Any, **named: Any) -> Any:
        self._check_open()
        try:
            return self._connection.call(method, self._sealed.collection, *arguments, **named)
        except MissingCollectionError as error:
            raise self._stale() from error

    def _check_open(self) -> None:
        if self._closed:
            raise ReleaseError(f"release {self.release} was closed; open it again")

    def _stale(self) -> ReleaseError:
        return ReleaseError(f"release {self.release} was dropped or redacted since it was opened; open it again")


def _condition(condition: filters.Condition) -> Condition:
    from qdrant_client.models import FieldCondition, Filter, MatchPrefix

    if isinstance(condition, AllHold):
        return visibility.every(*(_condition(part) for part in condition.parts))
    if isinstance(condition, OneHolds):
        return visibility.some([_condition(part) for part in condition.parts])
    if isinstance(condition, Fails):
        return Filter(must_not=[_condition(condition.part)])
    if isinstance(condition, AnyOf):
        return visibility.one_of(condition.field, condition.values)
    if isinstance(condition, StartsWith):
        return FieldCondition(key=condition.field, match=MatchPrefix(prefix=condition.prefix))
    return visibility.within(condition.field, condition.limits)


def _public(payload: dict[str, Any]) -> dict[str, Any]:
    return {"chunk_id": payload["chunk_id"], **{name: payload.get(name) for name in PAYLOAD}}
