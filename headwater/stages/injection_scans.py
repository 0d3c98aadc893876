"""Parsed documents to the likeliest instruction to a model in each: what ``quality_documents`` decides from.

A table of its own, so that a better scanner scans again and nothing else is computed anew but what changes its verdict.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl
import pyarrow as pa

from headwater import injection
from headwater.driver import Stage, row_schema
from headwater.lake import Table
from headwater.policies import InjectionPolicy
from headwater.stages.columns import ok_row

STAGE = "injection_scans"

SCANS = pa.schema(
    [
        ("injection_score", pa.float64()),
        ("injection_reason", pa.string()),
        ("injection_start", pa.int64()),
        ("injection_end", pa.int64()),
        ("injection_page", pa.int32()),
    ]
)
"""The place is in the parsed text; never the text itself. Both offsets are 0 for what the file's metadata says."""

_DEEPEST = 8
"""Levels of metadata that are looked into."""


def injection_stage() -> Stage:
    """Parsed documents to what in them reads like an instruction; no policy decides it."""
    return Stage(
        name=STAGE,
        code_version=injection.CODE_VERSION,
        parameters={},
        columns=("text", "elements", "title", "metadata"),
        data=SCANS,
        function=scan_rows,
        batch_rows=256,
    )


def scan_rows(batch: pa.Table, parameters: Mapping[str, Any]) -> pa.Table:
    """Scan the documents of a batch. Runs in this process: it takes less time than sending the texts to another."""
    rows = []
    for row in batch.to_pylist():
        stated = json.loads(row["metadata"] or "{}")
        found = injection.scan(row["text"], [row["title"] or "", *_strings(stated)])
        pages = [e["page"] for e in row["elements"] if e["start"] < found.end and e["end"] > found.start]
        rows.append(
            ok_row(
                row["id"],
                injection_score=round(found.score, 4),
                injection_reason=found.reason,
                injection_start=found.start,
                injection_end=found.end,
                injection_page=pages[0] if pages else None,
            )
        )
    return pa.Table.from_pylist(rows, schema=row_schema(SCANS))


def _strings(value: Any, depth: int = 0) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)) and depth < _DEEPEST:
        for part in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from _strings(part, depth + 1)


def instructions(judged: pl.DataFrame, scans: Table | None, policy: InjectionPolicy) -> pl.DataFrame:
    """Return ``judged`` (id, keep, reason ...) with ``instructions`` and ``error``, and what is quarantined for them.

    ``instructions`` says what gave an instruction away, null for a document that has none by the policy. A kept document
    with one gets the reason ``instructions`` where the policy says ``quarantine``, and ``error`` then says where it
    stands. A document that could not be scanned counts as one with an instruction.
    """
    if scans is None or policy.action == "ignore" or not scans.exists():
        nothing = pl.lit(None, pl.String)
        return judged.with_columns(nothing.alias("instructions"), nothing.alias("error"))
    found = scans.scan().select("id", "state", *SCANS.names).rename({"state": "scanned"}).collect()
    joined = judged.join(found, on="id", how="left", maintain_order="left")
    missed = (pl.col("scanned") != "ok").fill_null(False)
    score = pl.when(missed).then(1.0).otherwise(pl.col("injection_score").fill_null(0.0))
    kind = pl.when(missed).then(pl.lit("unread")).otherwise(pl.col("injection_reason"))
    joined = joined.with_columns(pl.when(score >= policy.threshold).then(kind).alias("instructions"))
    stopped = pl.lit(policy.action == "quarantine") & pl.col("keep") & pl.col("instructions").is_not_null()
    place = (
        pl.when(pl.col("injection_end").fill_null(0) == 0)
        .then(pl.lit("in its metadata"))
        .otherwise(
            pl.format("at characters {} to {} of its text", "injection_start", "injection_end")
            + pl.when(pl.col("injection_page").is_not_null())
            .then(pl.format(", page {}", "injection_page"))
            .otherwise(pl.lit(""))
        )
    )
    error = pl.format("It stands {} ({}, score {}).", place, "instructions", score.round(2))
    return joined.with_columns(
        pl.when(stopped).then(pl.lit("instructions")).otherwise("reason").alias("reason"),
        pl.when(stopped).then(error).alias("error"),
        (pl.col("keep") & ~stopped).alias("keep"),
    ).drop("scanned", *SCANS.names)
