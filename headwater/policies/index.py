"""How releases are kept in Qdrant."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from headwater.policies.base import Policy


class IndexPolicy(Policy):
    """The Qdrant releases."""

    url: str | None = Field(
        default=None,
        description="Qdrant server, such as http://qdrant:6333 (its key: QDRANT_API_KEY); default: embedded, in process.",
    )
    retain: int = Field(default=5, ge=1, description="How many releases before the live one are kept for rollback.")
    rrf_k: int = Field(
        default=60,
        ge=1,
        description="Constant of reciprocal rank fusion (Cormack et al. 2009: 60), for retrieval.fusion ranks.",
    )
    candidates: int = Field(default=100, ge=10, description="How many results each retriever hands to the fusion.")
    grpc_port: int = Field(
        default=6334,
        ge=1,
        le=65535,
        description="Server: port for gRPC; where it does not answer, url is used for all.",
    )
    timeout_seconds: int = Field(
        default=60, ge=1, description="Server: limit of one request that writes; tried again up to four times."
    )
    search_timeout_seconds: int = Field(
        default=10, ge=1, description="Server: limit of one request that searches, after which none is tried again."
    )
    shards: int | None = Field(
        default=None,
        ge=1,
        description="Server: shards per collection; default: the server's. A change makes a new collection.",
    )
    replication: int = Field(
        default=1, ge=1, description="Server: copies of every shard. A change makes a new collection."
    )
    write_consistency: int | None = Field(
        default=None,
        ge=1,
        description="Server: copies that must have a write before it counts; default: more than half of them.",
    )
    read_consistency: Literal["one", "majority", "quorum", "all"] = Field(
        default="one",
        description="Server: copies that a search asks: one, more than half (quorum) or every one, of which majority or all have to agree. Asking every one fails while a node is down.",
    )
    quantization: Literal["none", "int8"] = Field(
        default="none",
        description="Server: int8 keeps a quarter of the vectors' bytes in memory; the best are rescored with the full vectors.",
    )
    quantile: float = Field(
        default=0.99, ge=0.5, le=1, description="Server: share of the values that int8's range covers; the rest is cut."
    )
    oversampling: float = Field(
        default=2.0, ge=1, le=10, description="Server: how many times the results are rescored where int8 is used."
    )
    vectors_on_disk: bool = Field(
        default=False, description="Server: read full vectors from disk; with int8, only rescoring reads them."
    )
    payload_on_disk: bool = Field(default=True, description="Server: read texts and other payload from disk.")
    hnsw_on_disk: bool = Field(default=False, description="Server: read the graph from disk.")
    hnsw_m: int = Field(default=16, ge=4, le=128, description="Server: links per point of the graph.")
    hnsw_ef_construct: int = Field(
        default=128, ge=4, description="Server: points looked at when one is put into the graph."
    )
    hnsw_ef: int = Field(default=256, ge=10, description="Server: points looked at when the graph is searched.")

    @model_validator(mode="after")
    def _consistent(self) -> IndexPolicy:
        if self.write_consistency is not None and self.write_consistency > self.replication:
            raise ValueError(
                f"write_consistency ({self.write_consistency}) can't be more than replication ({self.replication})"
            )
        return self

    @property
    def write_copies(self) -> int:
        """Copies of a shard that must have a write before it counts."""
        return self.write_consistency or self.replication // 2 + 1
