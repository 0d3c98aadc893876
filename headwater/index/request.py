"""What a search asks for, checked and put into terms that every engine shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headwater.errors import ReleaseError
from headwater.index.contract import POINT_SCHEMA, SearchRequest

DENSE = "dense"
SPARSE = "sparse"
"""Names of the two vectors of a point."""

PAYLOAD = [name for name in POINT_SCHEMA.names if name not in ("chunk_id", "vector", "sparse_indices", "sparse_values")]
"""What is stored beside the vectors and the chunk id."""

EXACT_POINTS = 50_000
"""Up to this many points the dense search compares all of them: about 2 ms at 384 dimensions and 20,000 points, and the result then depends on the points alone, not on the order in which a graph was built."""

HNSW_M = 16
HNSW_EF_CONSTRUCT = 128
HNSW_EF = 256
"""The graph above that: Qdrant's default links, a slightly wider construction beam, and the search beam."""


def can_match(request: SearchRequest) -> bool:
    """Return whether anything may come back: something is asked for, by somebody in at least one group."""
    return request.limit > 0 and (request.readers is None or bool(request.readers))


def check_vectors(request: SearchRequest, dimensions: int, release: int) -> None:
    """Raise ReleaseError for a search without vectors, or with one of another width than the release's."""
    if request.dense is None and request.sparse is None:
        raise ReleaseError("a search needs a dense vector, a sparse vector, or both")
    if request.dense is not None and request.dense.shape != (dimensions,):
        raise ReleaseError(
            f"the query vector has shape {request.dense.shape}, release {release} holds {dimensions} dimensions; "
            "embed the query with the model that made the release"
        )


def depth(request: SearchRequest) -> int:
    """Return how many results each retriever has to rank."""
    both = request.dense is not None and request.sparse is not None
    return max(request.limit, request.candidates) if both else request.limit


def together(requests: Sequence[SearchRequest], asked: Sequence[Mapping[str, object]]) -> list[tuple[int, str]]:
    """Return the place and retriever of every query of ``asked``, those that differ in vector only behind one another.

    Qdrant runs queries of a batch in one pass where they stand together and have retriever, filter and limit in common: sixteen
    hybrid queries over 20,000 points took 34 ms of CPU one request after the other, and 16 retriever by retriever.
    """

    def kind(query: tuple[int, str]) -> tuple[str, str, str, int]:
        place, name = query
        request = requests[place]
        return name, repr(sorted(request.readers or ())), repr(request.filters), depth(request)

    return sorted(((place, name) for place, one in enumerate(asked) for name in one), key=kind)
