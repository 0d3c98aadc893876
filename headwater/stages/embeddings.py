"""Chunks to vectors: dense by the embedding model, sparse by BM25; dense ones are cached by text and model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from headwater.costs import note
from headwater.driver import RowFunction, Stage, row_schema
from headwater.embedding.contract import REASONS, EmbeddingModel, Work, all_or_error
from headwater.errors import ConfigError
from headwater.hashing import digest
from headwater.index.contract import PAGE_BREAKS
from headwater.lake import Table
from headwater.policies import EmbedPolicy
from headwater.stages.columns import ok_row

if TYPE_CHECKING:
    from headwater.embedding import VectorCache

CODE_VERSION = "1"
_MASS_FAILURE_ROWS = 20
"""When this many texts, and all of a batch, have no vector, the model is at fault, not the texts: the run stops."""
_COPIED = (
    *("ordinal", "text", "start", "end", "section", "page", "tokens", "title", "lead"),
    *("page_breaks", "table_header"),
)

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
        ("lead", pa.string()),
        ("page_breaks", PAGE_BREAKS),
        ("table_header", pa.string()),
    ]
)
"""Vectors beside what the index stores with them, so that the index reads one table in one pass."""


def average_terms(chunks: Table) -> float:
    """Return the mean number of BM25 terms per chunk, on a coarse grid so that an edit rarely changes it."""
    from headwater.embedding import grid_average_length

    mean = chunks.scan().filter(pl.col("state") == "ok").select(pl.col("terms").mean()).collect().item()
    return grid_average_length(mean or 1.0)


def embedding_stage(
    policy: EmbedPolicy,
    fingerprint: str,
    chunks: Table,
    embedder: Callable[[], EmbeddingModel],
    cache: Path,
    at_once: int = 1,
) -> Stage:
    """Chunks to vectors. Runs in this process: the model brings its own parallelism, and is loaded only for work.

    ``at_once`` is how many batches the engine takes side by side, which pays where it computes elsewhere.

    ``fingerprint`` is the model's; vectors are kept under ``cache`` by it.
    """
    work = Work()

    def details() -> Mapping[str, Any]:
        return {"computed": work.rows} | (embedder().describe(work) if work.rows else {})

    return Stage(
        name="embeddings",
        code_version=CODE_VERSION,
        parameters={
            "model": fingerprint,
            "k": policy.bm25_k,
            "b": policy.bm25_b,
            "language": policy.bm25_language,
            "average_length": average_terms(chunks),
        },
        columns=("embedded", "token_ids", *_COPIED),
        data=EMBEDDINGS,
        function=_embed_rows(embedder, cache, work),
        batch_rows=512,
        details=details,
        at_once=at_once,
    )


def _embed_rows(load: Callable[[], EmbeddingModel], cache: Path, work: Work) -> RowFunction:
    from headwater.embedding import Bm25Encoder

    counting = threading.Lock()

    def embed(batch: pa.Table, parameters: Mapping[str, Any]) -> pa.Table:
        embedder = load()
        _check_length(batch, embedder)
        vectors = _cache(cache, parameters["model"], embedder.dimensions)
        texts = batch.column("embedded").to_pylist()
        hashes = [digest(text) for text in texts]
        found, dense = vectors.lookup(hashes)
        missing = np.flatnonzero(~found)
        failed: dict[int, str] = {}
        if missing.size:
            ids = _token_ids(batch)
            computed = embedder.try_documents([texts[row] for row in missing], [ids[row] for row in missing])
            with counting:
                work.add(computed.work)
            gpus = sum(device.startswith("cuda") for device in getattr(embedder, "devices", ()))
            note(tokens=computed.work.tokens, gpu_seconds=computed.work.seconds * gpus)
            failed = {int(missing[row]): code for row, code in computed.failed.items()}
            if len(failed) == missing.size >= _MASS_FAILURE_ROWS:
                all_or_error(computed, "any text of a batch")
            good = [row for row in range(len(missing)) if row not in computed.failed]
            dense[missing] = computed.values
            vectors.store([hashes[missing[row]] for row in good], computed.values[good])
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
            if index not in failed
            else _quarantined(row["id"], failed[index])
            for index, row in enumerate(batch.select(["id", *_COPIED]).to_pylist())
        ]
        return pa.Table.from_pylist(rows, schema=row_schema(EMBEDDINGS))

    return embed


def _quarantined(name: str, code: str) -> dict[str, Any]:
    return {"input": name, "id": name, "state": "quarantined", "reason": code, "error": REASONS[code][0]}


def _token_ids(batch: pa.Table) -> list[npt.NDArray[np.int32]]:
    """Return the token ids of every row, as views of the column's memory."""
    column = batch.column("token_ids").combine_chunks()
    ids = column.flatten().to_numpy(zero_copy_only=False)
    ends = np.cumsum(column.value_lengths().to_numpy(zero_copy_only=False))
    return np.split(ids, ends[:-1])


def _check_length(batch: pa.Table, embedder: EmbeddingModel) -> None:
    """Refuse chunks that the model would cut off unsaid."""
    longest = max(batch.column("tokens").to_pylist(), default=0)
    if longest > embedder.max_tokens:
        raise ConfigError(
            f"a chunk has {longest} tokens, but the embedding model reads {embedder.max_tokens}: set chunk.max_tokens to "
            f"{embedder.max_tokens} at most, or choose another model (embed.model)"
        )


@lru_cache(maxsize=4)
def _cache(path: Path, fingerprint: str, dimensions: int) -> VectorCache:
    from headwater.embedding import VectorCache

    return VectorCache(path, fingerprint, dimensions)


def stored_dimensions(embeddings: Table) -> int | None:
    """Return the width of the stored vectors, None when there are none."""
    first = embeddings.scan().filter(pl.col("state") == "ok").select(pl.col("vector").list.len()).head(1).collect()
    return int(first.item()) if first.height else None
