"""Cleaned documents to survivors: duplicates name the copy that was kept, repeated boilerplate is removed.

Which documents are duplicates depends on all of them, so this stage is not row-wise: signatures are (see
``document_signatures``), and the verdicts over them are decided together (see ``duplicate_verdicts``). A row is written
when its text or its verdict changed; when neither a document, a permission, the policy (the privacy policy included, where
it can refuse documents), another corpus nor a question that is left out changed, nothing is done.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from headwater import dedup
from headwater.driver import CORE, change_batches, table_report
from headwater.edits import edit_document
from headwater.lake import Table
from headwater.policies import DedupPolicy
from headwater.reports import Progress, StageReport
from headwater.stages.columns import DOCUMENT, pack_elements, unpack_document
from headwater.stages.duplicate_clusters import OtherCorpus
from headwater.stages.duplicate_verdicts import CODE_VERSION, STAGE, DedupInputs, Screen, decide

__all__ = ["CODE_VERSION", "SCHEMA", "STAGE", "decide_duplicates", "without_repeats"]

_BATCH_ROWS = 256
_COUNTS = ("boilerplate_paragraphs", "repeated_sentences", "removed_paragraphs", "removed_sentences")

SCHEMA = pa.schema(
    [
        *CORE,
        *DOCUMENT,
        ("metadata", pa.string()),
        ("survivor", pa.string()),
        ("similarity", pa.float64()),
        *((name, pa.int32()) for name in _COUNTS),
        ("verdict", pa.string()),
    ]
)
"""``survivor`` is the kept document's id (of another corpus where ``error`` says so) and ``similarity`` the exact
Jaccard with it, both null for a survivor; ``verdict`` is a digest over everything that decides the row."""


def decide_duplicates(
    policy: DedupPolicy,
    quality: Table,
    signatures: Table,
    objects: Table,
    target: Table,
    progress: Progress,
    *,
    others: Sequence[OtherCorpus] = (),
    screen: Screen | None = None,
) -> StageReport:
    """Bring ``target`` up to date; ``others`` are the corpora whose documents are left out.

    ``screen`` tells which documents the privacy stage will keep out: none of them stands for another one.

    The report's details count clusters, and what was found and removed of paragraphs and sentences. Raises ConfigError
    when the policy's questions can't be read.
    """
    started = time.perf_counter()
    inputs = DedupInputs(policy, quality, signatures, objects, others, screen)
    rebuild = not target.exists() or not target.same_schema()
    changed, vanished = pl.DataFrame(), []
    if rebuild or target.note() != inputs.digest:
        wanted = decide(inputs)
        have = (
            pl.DataFrame(schema={"id": pl.String, "stored": pl.String})
            if rebuild
            else target.read(["id", "verdict"]).rename({"verdict": "stored"})
        )
        joined = wanted.join(have, on="id", how="left")
        changed = joined.filter(pl.col("stored").is_null() | (pl.col("stored") != pl.col("verdict"))).drop("stored")
        vanished = have.join(wanted, on="id", how="anti")["id"].to_list()
        if changed.height or vanished or rebuild:
            progress.start(STAGE, changed.height)
            batches = _rows(policy, changed, quality, progress)
            if rebuild:
                target.replace(batches, inputs.digest)
            else:
                target.change(change_batches(SCHEMA, batches, vanished), inputs.digest)
    report = table_report(
        STAGE,
        target,
        recomputed=changed.height,
        removed=len(vanished),
        seconds=time.perf_counter() - started,
        details=_details(target),
    )
    progress.finish(report)
    return report


def _details(target: Table) -> dict[str, int]:
    """Return the counts of the table that its reasons don't tell."""
    same = pl.col("reason").is_in(["exact_duplicate", "near_duplicate"])
    clusters = pl.col("survivor").filter(same).n_unique().alias("clusters")
    sums = target.scan().select(clusters, *(pl.col(name).sum() for name in _COUNTS)).collect().row(0, named=True)
    return {name: int(value or 0) for name, value in sums.items()}


def _rows(policy: DedupPolicy, changed: pl.DataFrame, quality: Table, progress: Progress) -> Iterator[pa.RecordBatch]:
    verdicts = {row["id"]: row for row in changed.iter_rows(named=True)}
    for batch in quality.batches(["id", "text", "elements", "title", "metadata"], list(verdicts), _BATCH_ROWS):
        rows = [_row(policy, source, verdicts[source["id"]]) for source in batch.to_pylist()]
        yield from pa.Table.from_pylist(rows, schema=SCHEMA).to_batches()
        progress.advance(STAGE, len(rows))


def _row(policy: DedupPolicy, source: dict[str, Any], verdict: dict[str, Any]) -> dict[str, Any]:
    row = {
        "id": source["id"],
        "doc_id": source["id"],
        **{
            name: verdict[name]
            for name in ("fingerprint", "state", "reason", "error", "survivor", "similarity", "verdict")
        },
        "boilerplate_paragraphs": len(verdict["paragraphs"]),
        "repeated_sentences": len(verdict["sentences"]),
        "removed_paragraphs": 0,
        "removed_sentences": 0,
    }
    if verdict["state"] != "ok":
        return row
    return row | without_repeats(policy, source, verdict["paragraphs"], verdict["sentences"])


def without_repeats(
    policy: DedupPolicy, source: Mapping[str, Any], boilerplate: Sequence[str], repeated: Sequence[int]
) -> dict[str, Any]:
    """Return what is handed on of a row of ``quality_documents``, and what was removed from it.

    ``boilerplate`` (hashes) and ``repeated`` (indexes of sentences) are what was found; the policy says whether they go.
    """
    document = unpack_document(source)
    paragraphs = dedup.boilerplate_edits(document.text, boilerplate) if policy.boilerplate == "remove" else []
    left = list(repeated) if policy.sentences == "remove" else []
    if left and paragraphs:
        left = dedup.sentences_left(document.text, paragraphs, left)
    document = edit_document(document, paragraphs)
    sentences = dedup.sentence_edits(document.text, left)
    document = edit_document(document, sentences)
    return {
        "title": source["title"],
        "metadata": source["metadata"],
        "text": document.text,
        "elements": pack_elements(document.elements),
        "removed_paragraphs": len(boilerplate) if paragraphs else 0,
        "removed_sentences": len(left) if sentences else 0,
    }
