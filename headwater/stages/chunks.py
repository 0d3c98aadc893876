"""Documents to chunks: structural pieces under the token cap of the embedding model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from headwater import chunking
from headwater.driver import Stage, row_schema
from headwater.hashing import chunk_id
from headwater.index.contract import PAGE_BREAKS
from headwater.policies import ChunkPolicy, CorpusPolicy
from headwater.stages.columns import ok_row, unpack_document
from headwater.types import Chunk

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_MAX_LEAD = 64
"""White space longer than this, such as a blank page, is no place to put two chunks together."""

CHUNKS = pa.schema(
    [
        ("ordinal", pa.int32()),
        ("text", pa.string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("section", pa.list_(pa.string())),
        ("page", pa.int32()),
        ("tokens", pa.int32()),
        ("token_ids", pa.list_(pa.int32())),
        ("title", pa.string()),
        ("embedded", pa.string()),
        ("terms", pa.int32()),
        ("lead", pa.string()),
        ("page_breaks", PAGE_BREAKS),
        ("table_header", pa.string()),
    ]
)


def chunk_stage(policy: CorpusPolicy) -> Stage:
    """Documents to chunks."""
    from headwater.embedding import model_fingerprint, prompts_of, tokenizer_source

    source = tokenizer_source(policy.embed)
    return Stage(
        name="chunks",
        code_version=chunking.CODE_VERSION,
        parameters=policy.chunk.model_dump(mode="json")
        | {
            "model": model_fingerprint(source),
            "prompt": prompts_of(policy.embed).document,
            "bm25_language": policy.embed.bm25_language,
        },
        columns=("text", "elements", "title"),
        data=CHUNKS,
        function="headwater.stages.chunks:chunk_rows",
        owner="doc_id",
        batch_rows=32,
        ephemeral={"_model": source},
        warm_up=("headwater.stages.chunks:warm_up", {"model": source}),
    )


def warm_up(model: str | None) -> None:
    """Load what cuts and counts."""
    _tokenizer(model)


def chunk_rows(batch: pa.Table, parameters: Mapping[str, Any]) -> pa.Table:
    """Cut the documents of a batch; a document without a chunk is quarantined."""
    from headwater.embedding import token_counts

    settings = {k: v for k, v in parameters.items() if k in ChunkPolicy.model_fields}
    policy = ChunkPolicy.model_validate(settings)
    tokenizer = _tokenizer(parameters["_model"])
    result = []
    for row in batch.to_pylist():
        pieces = chunking.chunk(unpack_document(row), policy, tokenizer=tokenizer, prompt=parameters["prompt"])
        embedded = [
            chunking.embedded_text(
                row["title"] or "", piece.section, piece.text, policy, tokenizer, table_header=piece.table_header
            )
            for piece in pieces
        ]
        terms = token_counts(embedded, parameters["bm25_language"])
        before = leads(row["text"], pieces)
        for ordinal, (piece, text, count, lead) in enumerate(zip(pieces, embedded, terms, before, strict=True)):
            values = ok_row(
                row["id"],
                ordinal=ordinal,
                text=piece.text,
                start=piece.start,
                end=piece.end,
                section=list(piece.section),
                page=piece.page,
                tokens=piece.tokens,
                token_ids=piece.ids,
                title=row["title"],
                embedded=text,
                terms=int(count),
                lead=lead,
                table_header=piece.table_header,
                page_breaks=[asdict(one) for one in piece.page_breaks] or None,
            )
            result.append(values | {"id": chunk_id(row["id"], ordinal)})
        if not pieces:
            failure = {"state": "quarantined", "reason": "no_chunks", "error": "Nothing is left of the text to index."}
            result.append({"input": row["id"], "id": row["id"], **failure})
    return pa.Table.from_pylist(result, schema=row_schema(CHUNKS))


def leads(text: str, pieces: Sequence[Chunk]) -> list[str | None]:
    """Return the white space before each chunk back to the one before it; None where that is not all there is.

    It is what a search needs to put neighbours together again.
    """
    gaps = [text[before.end : piece.start] for before, piece in pairwise(pieces)]
    return [None, *(gap if len(gap) <= _MAX_LEAD and not gap.strip() else None for gap in gaps)][: len(pieces)]


@lru_cache(maxsize=4)
def _tokenizer(model: str | None) -> Tokenizer:
    """Return a model's tokenizer, the same one for all batches: it remembers the words that it has seen."""
    from headwater.embedding import load_tokenizer

    return load_tokenizer(model)
