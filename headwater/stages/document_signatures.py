"""Cleaned documents to what duplicates are found by: the row-wise half of ``deduplicated_documents``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from headwater import dedup
from headwater.driver import Stage, row_schema
from headwater.hashing import digest
from headwater.policies import DedupPolicy
from headwater.stages.columns import ok_row

SIGNATURES = pa.schema(
    [
        ("text_hash", pa.string()),
        ("signature", pa.list_(pa.int64())),
        ("shingles", pa.list_(pa.int64())),
        ("paragraphs", pa.list_(pa.string())),
        # One hash per sentence; null unless the policy looks at sentences, because cutting them costs the most.
        ("sentences", pa.list_(pa.int64())),
    ]
)


def signature_stage(policy: DedupPolicy) -> Stage:
    """Cleaned documents to MinHash signatures, shingle hashes and paragraph hashes."""
    return Stage(
        name="document_signatures",
        code_version=dedup.CODE_VERSION,
        parameters={"sentences": policy.sentences != "keep"},
        columns=("text",),
        data=SIGNATURES,
        function=signature_rows,
        batch_rows=256,
    )


def signature_rows(batch: pa.Table, parameters: Mapping[str, Any]) -> pa.Table:
    """Sketch the documents of a batch. Runs in this process: the kernel is faster than a worker's start."""
    texts = batch.column("text").to_pylist()
    sketches = dedup.signatures(texts)
    shingles = sketches.shingles
    rows = [
        ok_row(
            name,
            text_hash=digest(text),
            signature=sketches.hashes[index].astype("int64"),
            shingles=shingles.values[shingles.offsets[index] : shingles.offsets[index + 1]].view("int64"),
            paragraphs=[paragraph for _, _, paragraph in dedup.paragraphs(text)],
            sentences=dedup.sentence_hashes(text) if parameters["sentences"] else None,
        )
        for index, (name, text) in enumerate(zip(batch.column("id").to_pylist(), texts, strict=True))
    ]
    return pa.Table.from_pylist(rows, schema=row_schema(SIGNATURES))
