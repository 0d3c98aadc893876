"""Cleaned documents to survivors: duplicates name the copy that was kept, repeated boilerplate is removed.

Which documents are duplicates depends on all of them, so this stage is not row-wise: signatures are (see
``document_signatures``), and the verdicts over them are decided together, deterministically whatever the order
in which documents arrived. Only documents that the same groups may read are compared. A row is written when its
text or its verdict changed; when neither a document nor a permission nor the policy changed, nothing is done.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from headwater import dedup
from headwater.driver import CORE, change_batches, table_report
from headwater.edits import edit_document
from headwater.hashing import digest, row_fingerprints
from headwater.lake import Table
from headwater.policies import DedupPolicy
from headwater.reports import Progress, StageReport
from headwater.stages.columns import DOCUMENT, pack_elements, unpack_document

STAGE = "deduplicated_documents"
CODE_VERSION = "1"
_BATCH_ROWS = 256

SCHEMA = pa.schema(
    [
        *CORE,
        *DOCUMENT,
        ("survivor", pa.string()),
        ("similarity", pa.float64()),
        ("removed_paragraphs", pa.int32()),
        ("verdict", pa.string()),
    ]
)
"""``survivor`` is the kept document's id and ``similarity`` the exact Jaccard with it, both null for a survivor;
``verdict`` is a digest over everything that decides the row."""


def decide_duplicates(
    policy: DedupPolicy, quality: Table, signatures: Table, objects: Table, target: Table, progress: Progress
) -> StageReport:
    """Bring ``target`` up to date; see the module's text."""
    started = time.perf_counter()
    inputs = _inputs(policy, quality, objects)
    if target.exists() and target.note() == inputs and target.same_schema():
        report = table_report(STAGE, target, recomputed=0, removed=0, seconds=time.perf_counter() - started)
        progress.finish(report)
        return report
    wanted = _verdicts(policy, quality, signatures, objects)
    rebuild = not target.exists() or not target.same_schema()
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
        batches = _rows(changed, quality, progress)
        if rebuild:
            target.replace(batches, inputs)
        else:
            target.change(change_batches(SCHEMA, batches, vanished), inputs)
    report = table_report(
        STAGE,
        target,
        recomputed=changed.height,
        removed=len(vanished),
        seconds=time.perf_counter() - started,
        details={
            "paragraphs_removed": int(wanted["removed"].list.len().sum() or 0),
            "clusters": wanted["survivor"].drop_nulls().n_unique(),
        },
    )
    progress.finish(report)
    return report


def _inputs(policy: DedupPolicy, quality: Table, objects: Table) -> str:
    """Return a digest over everything that the verdicts depend on."""
    rows = (
        quality.scan()
        .filter(pl.col("state") == "ok")
        .select("id", "fingerprint")
        .join(objects.scan().select("id", pl.col("readers").list.join("\n")), on="id")
        .sort("id")
        .select(pl.concat_str("id", "fingerprint", "readers", separator="\t"))
        .collect()
    )
    text = "\n".join(rows.to_series().to_list())
    return digest(STAGE, CODE_VERSION, dedup.CODE_VERSION, policy.model_dump_json(), text)


def _verdicts(policy: DedupPolicy, quality: Table, signatures: Table, objects: Table) -> pl.DataFrame:
    """Return one row per kept document: fingerprint, state, reason, survivor, similarity, removed, verdict."""
    kept = quality.scan().filter(pl.col("state") == "ok").select("id", "fingerprint", "characters")
    frame = (
        kept.join(objects.scan().select("id", "key", "readers"), on="id")
        .join(signatures.scan().filter(pl.col("state") == "ok").select("id", "text_hash", "paragraphs"), on="id")
        .sort("id")
        .collect()
    )
    clusters = _cluster(policy, frame, signatures)
    everyone = np.arange(frame.height)
    removed_row = clusters.survivor != everyone
    survivor = [
        name if gone else None for name, gone in zip(frame["id"].gather(clusters.survivor), removed_row, strict=True)
    ]
    similarity = [float(value) if gone else None for value, gone in zip(clusters.similarity, removed_row, strict=True)]
    codes = np.where(removed_row, np.where(clusters.exact, "exact_duplicate", "near_duplicate"), "ok").tolist()
    common = dedup.boilerplate_paragraphs(frame.filter(~pl.Series(removed_row))["paragraphs"].to_list(), policy)
    removed = [sorted(common.intersection(hashes)) for hashes in frame["paragraphs"].to_list()]
    signature = digest(STAGE, CODE_VERSION, dedup.CODE_VERSION, policy.model_dump_json())
    inputs = [f"{row}:{hashes}" for row, hashes in zip(frame["fingerprint"], removed, strict=True)]
    fingerprints = row_fingerprints(inputs, signature)
    verdicts = [digest(*parts) for parts in zip(fingerprints, codes, survivor, similarity, strict=True)]
    return pl.DataFrame(
        {
            "id": frame["id"],
            "fingerprint": fingerprints,
            "state": ["ok" if code == "ok" else "duplicate" for code in codes],
            "reason": codes,
            "survivor": pl.Series(survivor, dtype=pl.String),
            "similarity": pl.Series(similarity, dtype=pl.Float64),
            "removed": pl.Series(removed, dtype=pl.List(pl.String)),
            "verdict": verdicts,
        }
    )


def _cluster(policy: DedupPolicy, frame: pl.DataFrame, signatures: Table) -> dedup.Clusters:
    """Return the survivor of every row of ``frame``."""
    count = frame.height
    everyone = np.arange(count)
    if not policy.enabled or not count:
        return dedup.Clusters(everyone, np.ones(count), np.zeros(count, dtype=bool))
    order = (
        frame.with_row_index("row").sort(["characters", "key"], descending=[True, False])
        if policy.survivor == "longest"
        else frame.with_row_index("row").sort("key")
    )["row"].to_numpy()
    rank = np.empty(count, dtype=np.int64)
    rank[order] = everyone
    groups = frame["readers"].list.join("\n").rank("dense").to_numpy().astype(np.int64)
    exact = dedup.exact_representatives(frame["text_hash"].to_list(), rank, groups)
    distinct = np.flatnonzero(exact == everyone)
    bands, rows = dedup.choose_bands(policy.threshold)
    candidates = distinct[dedup.candidate_pairs(_hashes(signatures, frame["id"].gather(distinct)), bands, rows)]
    members, position = np.unique(candidates, return_inverse=True)
    shingles = _shingles(signatures, frame["id"].gather(members))
    jaccard = dedup.jaccard_pairs(shingles, position.reshape(candidates.shape).astype(np.int64))
    similar = jaccard >= policy.threshold
    return dedup.cluster(count, candidates[similar], jaccard[similar], rank, groups, exact)


def _hashes(signatures: Table, ids: pl.Series) -> npt.NDArray[np.uint32]:
    """Return the signatures of the documents, in the order of ``ids``."""
    rows = ids.to_frame("id").join(signatures.read(["id", "signature"]), on="id", how="left", maintain_order="left")
    flat = rows["signature"].list.explode().to_numpy() if rows.height else np.empty(0, np.int64)
    return flat.astype(np.uint32).reshape(rows.height, -1 if rows.height else dedup.PERMUTATIONS)


def _shingles(signatures: Table, ids: pl.Series) -> dedup.ShingleSets:
    """Return the shingle sets of the documents that are in a candidate pair, in the order of ``ids``."""
    found = signatures.scan().select("id", "shingles").filter(pl.col("id").is_in(ids.implode())).collect()
    rows = ids.to_frame("id").join(found, on="id", how="left", maintain_order="left")
    return dedup.ShingleSets.from_arrow(rows["shingles"].to_arrow())


def _rows(changed: pl.DataFrame, quality: Table, progress: Progress) -> Iterator[pa.RecordBatch]:
    verdicts = {row["id"]: row for row in changed.iter_rows(named=True)}
    for batch in quality.batches(["id", "text", "elements", "title"], list(verdicts), _BATCH_ROWS):
        rows = [_row(source, verdicts[source["id"]]) for source in batch.to_pylist()]
        yield from pa.Table.from_pylist(rows, schema=SCHEMA).to_batches()
        progress.advance(STAGE, len(rows))


def _row(source: dict[str, Any], verdict: dict[str, Any]) -> dict[str, Any]:
    row = {
        "id": source["id"],
        "doc_id": source["id"],
        **{name: verdict[name] for name in ("fingerprint", "state", "reason", "survivor", "similarity", "verdict")},
        "removed_paragraphs": len(verdict["removed"]),
    }
    if verdict["state"] == "duplicate":
        return row
    edits = dedup.boilerplate_edits(source["text"], set(verdict["removed"]))
    document = edit_document(unpack_document(source), edits)
    return row | {"text": document.text, "elements": pack_elements(document.elements), "title": source["title"]}
