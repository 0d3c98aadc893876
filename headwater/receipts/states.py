"""Where the line ended for every object, as the stage tables stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import polars as pl

if TYPE_CHECKING:
    from headwater.tables import Tables

EndState = Literal["indexed", "duplicate", "rejected", "quarantined"]
END_STATES: tuple[EndState, ...] = ("indexed", "duplicate", "rejected", "quarantined")

DECIDING = (
    "source_objects",
    "parsed_documents",
    "quality_documents",
    "deduplicated_documents",
    "name_spans",
    "anonymized_documents",
    "chunks",
    "embeddings",
)
"""The tables that :func:`end_states` reads."""


def end_states(tables: Tables) -> pl.LazyFrame:
    """Return one row per listed object: where the line ended for it, and why.

    The stages are asked in order; the first that did not pass the document on decides. A document is indexed when
    it has chunks among the wanted points; where some of its chunks have no vector, ``error`` says so all the same. A
    state of null means that a stage has not seen the object yet.
    """
    scanned = tables.source_objects.scan()
    requeued = pl.col("requeued") if "requeued" in scanned.collect_schema() else pl.lit(None, pl.String)
    objects = scanned.select(
        "doc_id",
        "key",
        "revision",
        "size",
        pl.col("last_modified").alias("modified"),
        requeued.alias("requeued"),
        pl.col("fingerprint").alias("source_fingerprint"),
        *_verdict("source"),
    )
    for name, table in (
        ("parsed", tables.parsed_documents),
        ("quality", tables.quality_documents),
        ("dedup", tables.deduplicated_documents),
        ("names", tables.name_spans),
        ("privacy", tables.anonymized_documents),
    ):
        extra = ["survivor", "similarity"] if name == "dedup" else []
        objects = objects.join(table.scan().select("doc_id", *extra, *_verdict(name)), on="doc_id", how="left")
    pieces = (
        tables.embeddings.scan()
        .group_by("doc_id")
        .agg(
            (pl.col("state") == "ok").sum().alias("chunks"),
            pl.len().alias("pieces"),
            pl.col("reason").filter(pl.col("state") != "ok").first().alias("embed_reason"),
            pl.col("error").filter(pl.col("state") != "ok").first().alias("embed_error"),
        )
    )
    chunked = (
        tables.chunks.scan()
        .filter(pl.col("state") != "ok")
        .select(
            "doc_id",
            pl.col("state").alias("chunk_state"),
            pl.col("reason").alias("chunk_reason"),
            pl.col("error").alias("chunk_error"),
        )
        .unique("doc_id")
    )
    joined = objects.join(chunked, on="doc_id", how="left").join(pieces, on="doc_id", how="left")
    names = ("source", "parsed", "quality", "dedup", "names", "privacy", "chunk")
    left = pl.col("pieces") - pl.col("chunks")
    left_out = pl.format("{} {} of its {} passages can't be found.", "embed_error", left, "pieces")
    return joined.with_columns(
        _first_stop(names, "state", otherwise=pl.lit("indexed"), broken=pl.lit("quarantined")),
        _first_stop(names, "reason", otherwise=pl.lit("ok"), broken=pl.col("embed_reason")),
        _first_stop(names, "error", otherwise=pl.when(left > 0).then(left_out), broken=pl.col("embed_error")),
    ).select(
        "doc_id",
        "key",
        "revision",
        "size",
        "modified",
        "requeued",
        "source_fingerprint",
        "state",
        "reason",
        "error",
        pl.when(pl.col("state") == "duplicate").then("survivor").alias("survivor"),
        pl.when(pl.col("state") == "duplicate").then("similarity").alias("similarity"),
        pl.when(pl.col("state") == "indexed").then("chunks").otherwise(0).cast(pl.Int64).alias("chunks"),
    )


def _first_stop(names: Sequence[str], column: str, *, otherwise: pl.Expr, broken: pl.Expr) -> pl.Expr:
    """Return ``column`` of the first stage that stopped the document.

    ``otherwise`` when none did and it has chunks, ``broken`` when none of its chunks could be embedded, else null.
    """
    result = (
        pl.when(pl.col("chunks") > 0)
        .then(otherwise)
        .otherwise(pl.when(pl.col("embed_reason").is_not_null()).then(broken).otherwise(None))
    )
    for name in reversed(names):
        result = pl.when(pl.col(f"{name}_state") != "ok").then(pl.col(f"{name}_{column}")).otherwise(result)
    return result.alias(column)


def _verdict(name: str) -> list[pl.Expr]:
    return [pl.col(column).alias(f"{name}_{column}") for column in ("state", "reason", "error")]
