"""How a collection lies on the server: copies, memory, quantisation and graph, as the policy asks for them.

What Qdrant can change in place is changed in place (:func:`changes`); the number of shards and of their copies can't
be (Qdrant takes a new factor, but makes no copy by itself), so there the next release gets a new collection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from headwater.index.request import DENSE, EXACT_POINTS, SPARSE
from headwater.policies import IndexPolicy

if TYPE_CHECKING:
    from qdrant_client.models import CollectionInfo, QuantizationSearchParams, ScalarQuantization, VectorParams


class Layout(BaseModel):
    """What a collection keeps for life; ``shards`` None is the server's default."""

    shards: int | None = None
    replication: int = 1

    def serves(self, policy: IndexPolicy) -> bool:
        """Return whether a collection of this layout is what the policy asks for."""
        return self.replication == policy.replication and policy.shards in (None, self.shards)


def layout_of(policy: IndexPolicy) -> Layout:
    """Return the layout of a collection that is made now."""
    return Layout(shards=policy.shards, replication=policy.replication)


def creation(policy: IndexPolicy, dimensions: int) -> dict[str, Any]:
    """Return the arguments of ``create_collection`` for vectors of this width."""
    from qdrant_client.models import (
        Distance,
        HnswConfigDiff,
        Modifier,
        OptimizersConfigDiff,
        SparseVectorParams,
        VectorParams,
    )

    vectors = VectorParams(size=dimensions, distance=Distance.DOT, on_disk=policy.vectors_on_disk)
    return copies(policy) | {
        "vectors_config": {DENSE: vectors},
        "sparse_vectors_config": {SPARSE: SparseVectorParams(modifier=Modifier.IDF)},
        "hnsw_config": HnswConfigDiff(
            m=policy.hnsw_m, ef_construct=policy.hnsw_ef_construct, on_disk=policy.hnsw_on_disk
        ),
        # In KiB of vectors: as in the embedded engine, fewer points are compared one by one.
        "optimizers_config": OptimizersConfigDiff(indexing_threshold=max(1, EXACT_POINTS * dimensions * 4 // 1024)),
        "quantization_config": _quantization(policy),
        "on_disk_payload": policy.payload_on_disk,
        "shard_number": policy.shards,
    }


def copies(policy: IndexPolicy) -> dict[str, Any]:
    """Return the arguments of ``create_collection`` that say how many copies there are."""
    return {"replication_factor": policy.replication, "write_consistency_factor": policy.write_copies}


def changes(policy: IndexPolicy, held: CollectionInfo) -> dict[str, Any]:
    """Return the arguments of ``update_collection`` that bring a collection to the policy; none when it is there.

    Qdrant rebuilds graph and quantised vectors in the background; the collection answers meanwhile.
    """
    from qdrant_client.models import CollectionParamsDiff, Disabled, HnswConfigDiff, VectorParamsDiff

    params, graph = held.config.params, held.config.hnsw_config
    wanted: dict[str, Any] = {}
    graph_wanted = (policy.hnsw_m, policy.hnsw_ef_construct, policy.hnsw_on_disk)
    if (graph.m, graph.ef_construct, bool(graph.on_disk)) != graph_wanted:
        wanted["hnsw_config"] = HnswConfigDiff(
            m=policy.hnsw_m, ef_construct=policy.hnsw_ef_construct, on_disk=policy.hnsw_on_disk
        )
    quantization = _quantization(policy)
    if _key(held.config.quantization_config) != _key(quantization):
        wanted["quantization_config"] = quantization or Disabled.DISABLED
    if bool(_dense(held).on_disk) != policy.vectors_on_disk:
        wanted["vectors_config"] = {DENSE: VectorParamsDiff(on_disk=policy.vectors_on_disk)}
    consistency_wanted = (policy.write_copies, policy.payload_on_disk)
    if (params.write_consistency_factor or 1, params.on_disk_payload is not False) != consistency_wanted:
        wanted["collection_params"] = CollectionParamsDiff(
            write_consistency_factor=policy.write_copies, on_disk_payload=policy.payload_on_disk
        )
    return wanted


def rescoring(policy: IndexPolicy) -> QuantizationSearchParams | None:
    """Return how a search uses quantised vectors; None where there are none."""
    from qdrant_client.models import QuantizationSearchParams

    if policy.quantization == "none":
        return None
    return QuantizationSearchParams(rescore=True, oversampling=policy.oversampling)


def _dense(held: CollectionInfo) -> VectorParams:
    vectors = held.config.params.vectors
    assert isinstance(vectors, dict)  # made by creation(): named vectors
    return vectors[DENSE]


def _key(quantization: Any) -> tuple[Any, ...] | None:
    """Return what tells quantisations apart; a number that went over the wire as float32 is rounded."""
    scalar = getattr(quantization, "scalar", None)
    if scalar is None:
        return None if quantization is None else (type(quantization).__name__,)
    return str(scalar.type), round(scalar.quantile or 1.0, 4), bool(scalar.always_ram)


def _quantization(policy: IndexPolicy) -> ScalarQuantization | None:
    from qdrant_client.models import ScalarQuantization, ScalarQuantizationConfig, ScalarType

    if policy.quantization == "none":
        return None
    config = ScalarQuantizationConfig(type=ScalarType.INT8, quantile=policy.quantile, always_ram=True)
    return ScalarQuantization(scalar=config)
