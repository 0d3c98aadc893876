"""Searching one sealed release with Qdrant's embedded engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from headwater.errors import ReleaseError
from headwater.index.contract import FILTERABLE, POINT_SCHEMA, Hit, IndexSpec, SearchRequest
from headwater.index.fusion import rank, reciprocal_rank_fusion

if TYPE_CHECKING:
    from qdrant_edge import EdgeShard, Filter, Query, SearchParams

DENSE = "dense"
SPARSE = "sparse"
PAYLOAD = [name for name in POINT_SCHEMA.names if name not in ("chunk_id", "vector", "sparse_indices", "sparse_values")]
"""What is stored beside the vectors; the chunk id is the point's own id."""

EXACT_POINTS = 50_000
"""Up to this many points the dense search compares all of them: about 2 ms at 384 dimensions and 20,000 points, and the result then depends on the points alone, not on the order in which a graph was built."""

HNSW_EF = 256
"""Search beam of the graph above that."""

_TIE_ROWS = 16  # fetched beyond what is asked for, to see whether the last place is shared
_MAX_TIE_ROWS = 4096  # a tie of more points than this is cut where the engine cuts it
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
        if request.limit <= 0 or (request.readers is not None and not request.readers):
            return []
        both = request.dense is not None and request.sparse is not None
        depth = max(request.limit, request.candidates) if both else request.limit
        rankings = []
        if request.dense is not None:
            if request.dense.shape != (self._spec.dimensions,):
                raise ReleaseError(
                    f"the query vector has shape {request.dense.shape}, release {self.release} holds "
                    f"{self._spec.dimensions} dimensions; embed the query with the model that made the release"
                )
            nearest = SearchParams(exact=self._count <= EXACT_POINTS, hnsw_ef=HNSW_EF)
            rankings.append(
                self._ranking(Query.Nearest(request.dense.tolist(), using=DENSE), condition, depth, nearest)
            )
        if request.sparse is not None:
            if len(request.sparse.indices):
                terms = EdgeSparseVector(request.sparse.indices.tolist(), request.sparse.values.tolist())
                # The empty filter makes the engine count living points only: else deleted ones weigh until a merge.
                living = SearchParams(idf=IdfParams(Filter()))
                rankings.append(self._ranking(Query.Nearest(terms, using=SPARSE), condition, depth, living))
            else:
                rankings.append(([], []))  # nothing but stop words: no point matches
        if not rankings:
            raise ReleaseError("a search needs a dense vector, a sparse vector, or both")
        ids, scores = (
            rankings[0] if len(rankings) == 1 else reciprocal_rank_fusion((ids for ids, _ in rankings), request.rrf_k)
        )
        payloads = self._payloads(ids[: request.limit])
        return [
            Hit(point, score, payloads[point]) for point, score in zip(ids, scores, strict=True) if point in payloads
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

    def _ranking(
        self, query: Query, condition: Filter | None, depth: int, params: SearchParams
    ) -> tuple[list[str], list[float]]:
        from qdrant_edge import QueryRequest

        rows = depth + _TIE_ROWS
        while True:
            request = QueryRequest(limit=rows, query=query, filter=condition, params=params, with_payload=False)
            points = self._call("query", request)
            ids, scores = rank([str(point.id) for point in points], [point.score for point in points])
            settled = len(points) < rows or scores[depth - 1] != scores[-1]
            if settled or rows >= depth + _MAX_TIE_ROWS:
                return ids[:depth], scores[:depth]
            rows = depth + 4 * (rows - depth)

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
    from qdrant_edge import FieldCondition, Filter, MatchAny

    wanted: list[tuple[str, Sequence[Any]]] = [(name, _values(name, value)) for name, value in request.filters.items()]
    if request.readers is not None:
        wanted.append(("readers", sorted(request.readers)))
    return (
        Filter(must=[FieldCondition(name, match=MatchAny(list(values))) for name, values in wanted]) if wanted else None
    )


def _values(name: str, value: Any) -> Sequence[Any]:
    if name not in FILTERABLE:
        raise ReleaseError(f"can't filter on {name!r}; filter on one of: {', '.join(FILTERABLE)}")
    values = [value] if isinstance(value, str | int) else value
    kind = int if name == "page" else str
    if (
        isinstance(values, Mapping)
        or not isinstance(values, Sequence)
        or not values
        or not all(type(item) is kind for item in values)
    ):
        raise ReleaseError(f"the filter on {name!r} must be one {kind.__name__} or a list of them")
    return values
