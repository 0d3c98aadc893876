"""Chunks to vectors: dense by the embedding model, sparse by BM25; dense ones are cached by text and model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from headwater.driver import RowFunction, Stage, row_schema
from headwater.hashing import digest
from headwater.lake import Table
from headwater.policies import EmbedPolicy
from headwater.stages.columns import ok_row

if TYPE_CHECKING:
    from headwater.embedding import Embedder, VectorCache

CODE_VERSION = "1"
_COPIED = ("ordinal", "text", "start", "end", "section", "page", "tokens", "title")

EMBEDDINGS = pa.schema(
    [
        ("vector", pa.list_(pa.float32())),
        ("sparse_indices", pa.list_(pa.int64())),
        ("sparse_values", pa.list_(pa.float32())),
        ("ordinal", pa.int32()),
        ("text", pa.string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("section", pa.list_(pa.string())),
        ("page", pa.int32()),
        ("tokens", pa.int32()),
        ("title", pa.string()),
    ]
)
"""Vectors beside what the index stores with them, so that the index reads one table in one pass."""


def average_terms(chunks: Table) -> float:
    """Return the mean number of BM25 terms per chunk, on a coarse grid so that an edit rarely changes it."""
    from headwater.embedding import grid_average_length

    mean = chunks.scan().filter(pl.col("state") == "ok").select(pl.col("terms").mean()).collect().item()
    return grid_average_length(mean or 1.0)


def embedding_stage(policy: EmbedPolicy, chunks: Table, embedder: Callable[[], Embedder], cache: Path) -> Stage:
    """Chunks to vectors. Runs in this process: the model brings its own parallelism, and is loaded only for work."""
    from headwater.embedding import model_fingerprint

    return Stage(
        name="embeddings",
        code_version=CODE_VERSION,
        parameters={
            "model": model_fingerprint(policy.model),
            "k": policy.bm25_k,
            "b": policy.bm25_b,
            "language": policy.bm25_language,
            "average_length": average_terms(chunks),
        },
        columns=("embedded", *_COPIED),
        data=EMBEDDINGS,
        function=_embed_rows(embedder, cache),
        batch_rows=512,
    )


def _embed_rows(load: Callable[[], Embedder], cache: Path) -> RowFunction:
    from headwater.embedding import Bm25Encoder

    def embed(batch: pa.Table, parameters: Mapping[str, Any]) -> pa.Table:
        embedder = load()
        vectors = _cache(cache, embedder.fingerprint, embedder.dimensions)
        texts = batch.column("embedded").to_pylist()
        hashes = [digest(text) for text in texts]
        found, dense = vectors.lookup(hashes)
        missing = np.flatnonzero(~found)
        if missing.size:
            computed = embedder.encode_documents([texts[index] for index in missing])
            dense[missing] = computed
            vectors.store([hashes[index] for index in missing], computed)
        encoder = Bm25Encoder(
            k=parameters["k"],
            b=parameters["b"],
            average_length=parameters["average_length"],
            language=parameters["language"],
        )
        sparse = encoder.encode_documents(texts)
        rows = [
            ok_row(
                row["id"],
                vector=dense[index],
                sparse_indices=sparse[index].indices.astype("int64"),
                sparse_values=sparse[index].values,
                **{name: row[name] for name in _COPIED},
            )
            for index, row in enumerate(batch.to_pylist())
        ]
        return pa.Table.from_pylist(rows, schema=row_schema(EMBEDDINGS))

    return embed


@lru_cache(maxsize=4)
def _cache(path: Path, fingerprint: str, dimensions: int) -> VectorCache:
    from headwater.embedding import VectorCache

    return VectorCache(path, fingerprint, dimensions)


def stored_dimensions(embeddings: Table) -> int | None:
    """Return the width of the stored vectors, None when there are none."""
    first = embeddings.scan().filter(pl.col("state") == "ok").select(pl.col("vector").list.len()).head(1).collect()
    return int(first.item()) if first.height else None
