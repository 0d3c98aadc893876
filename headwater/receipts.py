"""What became of every object: exactly one end state each, with the reason in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import polars as pl

if TYPE_CHECKING:
    from headwater.tables import Tables

EndState = Literal["indexed", "duplicate", "rejected", "quarantined"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an owner can read about one object.

    ``reason`` is a stable code, ``message`` says it in plain words and ``advice`` what to do, both None for an
    indexed object. ``survivor`` is the key of the copy that was kept, ``similarity`` their Jaccard.
    ``when`` is the object's own modification time, ``release`` the live release that the state belongs to.
    """

    key: str
    doc_id: str
    state: EndState
    reason: str
    message: str
    advice: str
    revision: str
    size: int
    survivor: str | None
    similarity: float | None
    chunks: int
    release: int | None
    when: datetime


def read_receipts(tables: Tables, release: int | None, key: str | None = None) -> list[Receipt]:
    """Return the receipts of all listed objects, or of the one at ``key``, in order of key."""
    frame = end_states(tables)
    if key is not None:
        frame = frame.filter(pl.col("key") == key)
    return [_receipt(row, release) for row in frame.sort("key").collect().iter_rows(named=True)]


def end_states(tables: Tables) -> pl.LazyFrame:
    """Return one row per listed object: where the line ended for it, and why.

    The stages are asked in order; the first that did not pass the document on decides. A document is indexed when
    it has chunks among the wanted points. A state of null means that a stage has not seen the object yet.
    """
    objects = tables.source_objects.scan().select(
        "doc_id",
        "key",
        "revision",
        "size",
        pl.col("last_modified").alias("when"),
        *_verdict("source"),
    )
    for name, table in (
        ("parsed", tables.parsed_documents),
        ("quality", tables.quality_documents),
        ("dedup", tables.deduplicated_documents),
        ("privacy", tables.anonymized_documents),
    ):
        extra = ["survivor", "similarity"] if name == "dedup" else []
        objects = objects.join(table.scan().select("doc_id", *extra, *_verdict(name)), on="doc_id", how="left")
    pieces = (
        tables.embeddings.scan()
        .group_by("doc_id")
        .agg(
            (pl.col("state") == "ok").sum().alias("chunks"),
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
    survivors = tables.source_objects.scan().select(
        pl.col("doc_id").alias("survivor"), pl.col("key").alias("survivor_key")
    )
    joined = (
        objects.join(chunked, on="doc_id", how="left")
        .join(pieces, on="doc_id", how="left")
        .join(survivors, on="survivor", how="left")
    )
    names = ("source", "parsed", "quality", "dedup", "privacy", "chunk")
    return joined.with_columns(
        _first_stop(names, "state", otherwise=pl.lit("indexed"), broken=pl.lit("quarantined")),
        _first_stop(names, "reason", otherwise=pl.lit("ok"), broken=pl.col("embed_reason")),
        _first_stop(names, "error", otherwise=pl.lit(None, pl.String), broken=pl.col("embed_error")),
        pl.col("chunks").fill_null(0),
    ).select(
        "doc_id", "key", "revision", "size", "when", "state", "reason", "error", "survivor_key", "similarity", "chunks"
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


def _receipt(row: Mapping[str, object], release: int | None) -> Receipt:
    code = str(row["reason"] or "not_processed")
    message, advice = explain(code)
    if row["error"]:
        message = f"{message} {_sentence(str(row['error']))}"
    state = row["state"] or "quarantined"
    return Receipt(
        key=str(row["key"]),
        doc_id=str(row["doc_id"]),
        state=state,  # type: ignore[arg-type]
        reason=code,
        message=message,
        advice=advice,
        revision=str(row["revision"]),
        size=int(row["size"]),  # type: ignore[call-overload]
        survivor=row["survivor_key"] if state == "duplicate" else None,  # type: ignore[arg-type]
        similarity=row["similarity"] if state == "duplicate" else None,  # type: ignore[arg-type]
        chunks=int(row["chunks"]),  # type: ignore[call-overload]
        release=release if state == "indexed" else None,
        when=row["when"],  # type: ignore[arg-type]
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


_COMMON: dict[str, tuple[str, str]] = {
    "ok": ("The document can be searched.", ""),
    "not_processed": ("A reindex has not finished with this file yet.", "Wait for the next reindex to finish."),
    "failed": ("The file made a processing step fail.", "Report this to the people who run this system."),
    "no_output": ("The file made a processing step fail.", "Report this to the people who run this system."),
    "timeout": ("The file took longer to process than is allowed.", "Split it, or save it anew in a simpler format."),
    "out_of_memory": ("The file needs more memory than is allowed.", "Split it, or save it anew in a simpler format."),
    "worker_crashed": ("The file made the parser crash.", "Save it anew with another program, and upload it again."),
}


def explain(code: str) -> tuple[str, str]:
    """Return what a reason code means in plain words, and what to do about it."""
    from headwater import chunking, dedup, privacy, quality, source
    from headwater.parsing import reasons as parsing

    for reasons in (
        _COMMON,
        source.REASONS,
        parsing.REASONS,
        quality.REASONS,
        dedup.REASONS,
        privacy.REASONS,
        chunking.REASONS,
    ):
        if code in reasons:
            return reasons[code]
    return (f"Processing stopped with the code {code}.", "Report this to the people who run this system.")
