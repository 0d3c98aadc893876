"""The release contract of the index.

A release is one immutable, numbered state of a corpus's index. An engine promises:

1. ``stage(r, parent)`` starts release ``r`` as a copy of ``parent`` (or empty). Nobody can search it yet.
2. ``apply(r, upserts, deletes)`` changes it; applying the same thing twice is the same as once.
3. ``seal(r)`` makes it durable and immutable. Only a sealed release can be opened. One release is built at a time:
   staging one, and redacting, undo what a process that was killed left half-built.
4. ``open(r)`` gives a searcher that sees exactly release ``r`` until closed, whatever is staged and sealed beside it.
   When ``r`` is dropped or redacted meanwhile, it goes on as before (embedded), or raises ReleaseError and has to be
   opened again (server, where forgetting a document may do that to every release; a service whose searching process
   died). It never sees anything else.
5. ``drop(r)`` removes a sealed or half-built release; unknown numbers are no error.
6. ``redact(r, ...)`` is the one exception to immutability, for what must not wait for a new release: it forgets
   documents, and narrows who may read documents, in release ``r`` alone. It is atomic for searchers opened
   afterwards. Once no release holds a forgotten document, there is no trace of it in the engine's storage.
7. ``publish(r)`` lets outsiders who look at the engine's storage follow release ``r``.

Which release is *live* is the ledger's business, not the engine's.

Upsert batches are Arrow record batches with :data:`POINT_SCHEMA`'s columns.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

PAGE_BREAKS = pa.list_(pa.struct([("page", pa.int32()), ("start", pa.int64())]))

POINT_SCHEMA = pa.schema(
    [
        ("chunk_id", pa.string()),
        ("fingerprint", pa.string()),
        ("vector", pa.list_(pa.float32())),
        ("sparse_indices", pa.list_(pa.uint32())),
        ("sparse_values", pa.list_(pa.float32())),
        ("doc_id", pa.string()),
        ("key", pa.string()),
        ("revision", pa.string()),
        ("title", pa.string()),
        ("section", pa.list_(pa.string())),
        ("page", pa.int32()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("text", pa.string()),
        ("content_type", pa.string()),
        ("readers", pa.list_(pa.string())),
        ("language", pa.string()),
        ("date", pa.string()),
        ("modified", pa.string()),
        ("authors", pa.list_(pa.string())),
        ("keywords", pa.list_(pa.string())),
        ("date_seconds", pa.int64()),
        ("modified_seconds", pa.int64()),
        ("meta", pa.string()),
        ("lead", pa.string()),
        ("page_breaks", PAGE_BREAKS),
        ("table_header", pa.string()),
    ]
)
"""Columns of an upsert batch. ``chunk_id`` is a UUID string; ``fingerprint`` is the row fingerprint of the point;
``*_seconds`` are the dates as Unix time; ``meta`` is the front matter as a JSON object of flat values; ``lead`` is the
white space between the document's chunk before and this one, null where something else lies between them;
``page_breaks`` are the pages that begin inside the chunk and their first characters, null where none does;
``table_header`` is the header row of the table that the chunk begins within, null where it begins in none or has it."""

BREAK_PAGES = "page_breaks[].page"
"""The further pages of a point, as a filter names them: one on ``page`` finds a chunk by any page that it stands on."""

FILTERABLE = ("doc_id", "key", "title", "content_type", "page", "language", "date", "modified", "authors", "keywords")
"""Fields that a caller may filter on, beside ``meta.<name>``; ``readers`` is filtered by the principal, never by the
caller."""

INDEXED: Mapping[str, Literal["keyword", "integer"]] = {
    "doc_id": "keyword",
    "key": "keyword",
    "content_type": "keyword",
    "page": "integer",
    BREAK_PAGES: "integer",
    "readers": "keyword",
    "language": "keyword",
    "authors": "keyword",
    "keywords": "keyword",
    "date_seconds": "integer",
    "modified_seconds": "integer",
    "flags": "keyword",
}
"""Payload fields with an index of their own; ``flags`` are the booleans of the front matter, see :func:`flag_of`. Front matter has none: its names are each corpus' own, and a condition on
a field without an index costs time, not results."""


def flag_of(name: str, value: bool) -> str:
    """Return how a boolean of the front matter is found: as text, because the embedded engine takes booleans for numbers
    in a query and then finds none (qdrant-edge-py 0.9.0)."""
    return f"{name}={'true' if value else 'false'}"


REDACTED = "redacted"
"""The fingerprint of a point whose readers were narrowed in place: equal to no computed one."""


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """What every release of one lineage shares: vector width, and the fingerprint of what made the vectors."""

    dimensions: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class SparseVector:
    """A sparse vector: parallel arrays of uint32 indices and float32 weights."""

    indices: npt.NDArray[np.uint32]
    values: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """One search. With both vectors the two result lists are fused; with one, that one ranks alone.

    ``dense_weight`` (0..1) fuses by scores, of which the dense one weighs that much; None fuses by ranks (RRF, with
    ``rrf_k``); see :mod:`headwater.index.fusion`. ``readers`` holds the groups of which a point's readers must contain
    at least one; None disables the permission filter and is for gate and maintenance only. ``filters`` is a filter
    expression, as :mod:`headwater.index.filters` describes it.
    """

    limit: int
    dense: npt.NDArray[np.float32] | None = None
    sparse: SparseVector | None = None
    readers: frozenset[str] | None = frozenset({"*"})
    filters: Mapping[str, Any] = field(default_factory=dict)
    candidates: int = 100
    rrf_k: int = 60
    dense_weight: float | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """One point found: its id, its score, its payload, and by which retriever at which rank with which score.

    ``found`` maps ``dense`` and ``sparse`` to (rank from 1, score), for the retrievers that have it among their best.

    The payload has the columns of :data:`POINT_SCHEMA` less the vectors; ``meta`` is a mapping; a field that the point
    lacks, or that the release was made without, is None. It may be the searcher's own, and is not to be changed.
    """

    chunk_id: str
    score: float
    payload: Mapping[str, Any]
    found: Mapping[str, tuple[int, float]] = field(default_factory=dict)


class Searcher(Protocol):
    """One sealed release, opened for reading; safe to use from several threads."""

    release: int

    def search(self, request: SearchRequest) -> list[Hit]:
        """Return at most ``request.limit`` hits, best first; equal scores are ordered by chunk id."""
        ...

    def search_many(self, requests: Sequence[SearchRequest]) -> list[list[Hit]]:
        """Return what :meth:`search` does for each of ``requests``: cheaper than one by one, as the engine shares work.

        One that can't be answered fails all.
        """
        ...

    def count(self) -> int:
        """Return the number of points."""
        ...

    def fingerprints(self) -> dict[str, str]:
        """Return chunk id -> point fingerprint of every point the engine really holds."""
        ...

    def retrieve(self, chunk_ids: Sequence[str], *, with_vectors: bool = False) -> list[Hit]:
        """Return the points that exist among ``chunk_ids`` (score 0); vectors under ``"vector"`` of the payload."""
        ...

    def close(self) -> None:
        """Release all resources; searching afterwards is an error."""
        ...


class ReleaseEngine(Protocol):
    """Keeps the releases of one corpus; see the module's contract."""

    def stage(self, release: int, parent: int | None, spec: IndexSpec) -> None:
        """Start ``release`` as a copy of ``parent``; None starts empty. Raises ReleaseError if it is sealed already."""
        ...

    def apply(self, release: int, upserts: Iterable[pa.RecordBatch], deletes: Iterable[Sequence[str]]) -> None:
        """Delete the points of ``deletes`` (batches of chunk ids), then write the points of ``upserts``."""
        ...

    def seal(self, release: int) -> None:
        """Optimise, flush, and make the release searchable and immutable."""
        ...

    def open(self, release: int) -> Searcher:
        """Open a sealed release; NotFoundError if there is none of that number."""
        ...

    def releases(self) -> list[int]:
        """Return the numbers of all sealed releases, ascending."""
        ...

    def publish(self, release: int) -> None:
        """Note that ``release`` has become live: point whatever outsiders follow at it.

        May be repeated. Raises NotFoundError for a release that is not sealed.
        """
        ...

    def drop(self, release: int) -> None:
        """Remove a release and everything it holds."""
        ...

    def redact(self, release: int, *, forget: Collection[str] = (), readers: Mapping[str, Sequence[str]] = {}) -> int:
        """Change a sealed release in place; return the number of points changed.

        ``forget`` are doc_ids whose points go, with the bytes of them in the engine's files, and with those that deleted
        points left; where releases share files, when the last of them forgets. ``readers`` maps a doc_id to the groups
        its points get instead of theirs, and marks the fingerprint of those that had other ones as :data:`REDACTED`,
        so that a release staged from this one writes them anew. A document in both is forgotten. A process killed
        meanwhile leaves the release as it was or as it shall be; calling again finishes the work. Raises NotFoundError
        for a release that is not sealed.
        """
        ...

    def close(self) -> None:
        """Let go of the connections that the engine made itself; it may be used again. Searchers are closed apart."""
        ...
