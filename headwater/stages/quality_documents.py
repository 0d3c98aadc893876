"""Documents to cleaned documents with a verdict: language, quality signals, keep or reject."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from headwater import quality
from headwater.driver import Stage, row_schema
from headwater.edits import edit_document
from headwater.policies import QualityPolicy
from headwater.stages.columns import DOCUMENT, ok_row, pack_elements, unpack_document

SIGNALS = (
    "characters",
    "words",
    "letters",
    "ascii_letters",
    "spaced_words",
    "mean_word_length",
    "symbol_word_ratio",
    "alpha_word_share",
    "mixed_word_share",
    "unknown_character_share",
    "vowel_share",
    "consonant_run_share",
    "top_word_share",
    "repeated_phrase_share",
    "duplicate_line_share",
    "log_line_share",
    "table_line_share",
    "placeholder_share",
)
"""The numeric columns of :func:`headwater.quality.signals`, stored so that a threshold can be decided anew."""

QUALITY = pa.schema(
    [
        *DOCUMENT,
        ("content_type", pa.string()),
        ("language", pa.string()),
        ("language_score", pa.float64()),
        *((name, pa.float64()) for name in SIGNALS),
    ]
)


def quality_stage(policy: QualityPolicy) -> Stage:
    """Documents to cleaned documents with a verdict."""
    return Stage(
        name="quality_documents",
        code_version=quality.CODE_VERSION,
        parameters=policy.model_dump(mode="json"),
        columns=("text", "elements", "title", "content_type"),
        data=QUALITY,
        function=quality_rows,
        batch_rows=256,
    )


def quality_rows(batch: pa.Table, parameters: Mapping[str, Any]) -> pa.Table:
    """Clean and judge the documents of a batch. Runs in this process: it is vectorised and faster than a worker's start."""
    rows = batch.to_pylist()
    verdicts = quality.assess([row["text"] for row in rows], QualityPolicy.model_validate(parameters))
    result = []
    for row, verdict in zip(rows, verdicts.iter_rows(named=True), strict=True):
        document = edit_document(unpack_document(row), quality.clean_edits(row["text"]))
        cleaned = ok_row(
            row["id"],
            text=document.text,
            elements=pack_elements(document.elements),
            title=row["title"],
            content_type=row["content_type"],
            language=verdict["language"],
            language_score=verdict["language_score"],
            **{name: float(verdict[name]) for name in SIGNALS},
        )
        if not verdict["keep"]:
            cleaned |= {"state": "rejected", "reason": verdict["reason"]}
        result.append(cleaned)
    return pa.Table.from_pylist(result, schema=row_schema(QUALITY))
