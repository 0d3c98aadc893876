"""The folder of one embedded release: how it is laid out, written to, and built anew from another one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater.index.contract import INDEXED, REDACTED
from headwater.index.request import DENSE, EXACT_POINTS, HNSW_EF_CONSTRUCT, HNSW_M, SPARSE

if TYPE_CHECKING:
    from qdrant_edge import EdgeConfig, EdgeShard, Filter, Record

UPSERT_ROWS = 1000
"""Points per update operation: bounds memory; larger ones were not faster."""


def create_shard(folder: Path, dimensions: int) -> None:
    """Make an empty shard in the new folder ``folder``."""
    from qdrant_edge import EdgeShard, PayloadSchemaType, UpdateOperation

    folder.mkdir()
    shard = EdgeShard.create(str(folder), _config(dimensions))
    for name, kind in INDEXED.items():
        index = PayloadSchemaType.Integer if kind == "integer" else PayloadSchemaType.Keyword
        shard.update(UpdateOperation.create_field_index(name, index))
    shard.flush()
    shard.close()
    # The first opening writes the configuration in its final form; no later one changes it any more.
    EdgeShard.load(str(folder)).close()


@contextmanager
def opened(folder: Path) -> Iterator[EdgeShard]:
    """Open the shard in ``folder``, and close it in the end."""
    from qdrant_edge import EdgeShard

    shard = EdgeShard.load(str(folder))
    try:
        yield shard
    finally:
        shard.close()


def points_of(shard: EdgeShard, doc_ids: Collection[str]) -> int:
    """Return the number of points of these documents."""
    from qdrant_edge import CountRequest

    return int(shard.count(CountRequest(filter=_documents(doc_ids)))) if doc_ids else 0


def to_narrow(shard: EdgeShard, readers: Mapping[str, Sequence[str]]) -> dict[str, list[Any]]:
    """Return, by document, the ids of the points that have other readers than ``readers`` gives them."""
    found: dict[str, list[Any]] = {}
    if readers:
        for records in _scroll(shard, _documents(readers), ["doc_id", "readers"], False):
            for record in records:
                payload = record.payload or {}
                if set(payload["readers"]) != set(readers[payload["doc_id"]]):
                    found.setdefault(payload["doc_id"], []).append(record.id)
    return found


def narrow(shard: EdgeShard, points: Mapping[str, Sequence[Any]], readers: Mapping[str, Sequence[str]]) -> None:
    """Give the points of :func:`to_narrow` their new readers, and the fingerprint that says so."""
    from qdrant_edge import UpdateOperation

    for doc_id, ids in points.items():
        payload = {"readers": sorted(readers[doc_id]), "fingerprint": REDACTED}
        shard.update(UpdateOperation.set_payload(list(ids), payload))


def copy_without(source: EdgeShard, target: EdgeShard, forget: Collection[str]) -> None:
    """Write every point of ``source`` to ``target`` but those of the documents ``forget``."""
    from qdrant_edge import Point, UpdateOperation

    for records in _scroll(source, None, True, [DENSE, SPARSE]):
        kept = [record for record in records if (record.payload or {})["doc_id"] not in forget]
        if kept:
            points = [Point(record.id, record.vector or {}, record.payload) for record in kept]
            target.update(UpdateOperation.upsert_points(points))


def _documents(doc_ids: Collection[str]) -> Filter:
    from qdrant_edge import FieldCondition, Filter, MatchAny

    return Filter(must=[FieldCondition("doc_id", match=MatchAny(sorted(doc_ids)))])


def _scroll(
    shard: EdgeShard, condition: Filter | None, payload: bool | list[str], vectors: bool | list[str]
) -> Iterator[list[Record]]:
    from qdrant_edge import ScrollRequest

    offset: Any = None
    while True:
        records, offset = shard.scroll(
            ScrollRequest(offset=offset, limit=UPSERT_ROWS, filter=condition, with_payload=payload, with_vector=vectors)
        )
        yield records
        if offset is None:
            return


def _config(dimensions: int) -> EdgeConfig:
    from qdrant_edge import (
        Distance,
        EdgeConfig,
        EdgeOptimizersConfig,
        EdgeSparseVectorParams,
        EdgeVectorParams,
        HnswIndexConfig,
        Modifier,
    )

    return EdgeConfig(
        vectors={DENSE: EdgeVectorParams(size=dimensions, distance=Distance.Dot)},  # unit vectors: dot is cosine
        sparse_vectors={SPARSE: EdgeSparseVectorParams(modifier=Modifier.Idf)},
        hnsw_config=HnswIndexConfig(m=HNSW_M, ef_construct=HNSW_EF_CONSTRUCT, full_scan_threshold=10_000),
        optimizers=EdgeOptimizersConfig(
            default_segment_number=1,
            # In KiB of vectors. Below it a graph would only cost time: such a release is searched exactly.
            indexing_threshold=max(1, EXACT_POINTS * dimensions * 4 // 1024),
        ),
        wal_enabled=False,
    )
