"""Embeddings to the candidate release: the live release plus the difference.

The wanted points are declared in ``index_manifest`` (one row per point, with its fingerprint). The candidate is
staged from the live release; what the live release's version of the manifest lacks or has otherwise is written,
what it has too much is deleted. When nothing differs from live there is no candidate.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import polars as pl
import pyarrow as pa

from headwater import metadata
from headwater.driver import CORE, change_batches
from headwater.errors import ReleaseError
from headwater.hashing import digest, digest_bytes, row_fingerprints
from headwater.index.contract import POINT_SCHEMA, IndexSpec, ReleaseEngine
from headwater.lake import Table
from headwater.lease import Lease
from headwater.ledger import Ledger, ReleaseInfo
from headwater.reports import Progress, StageReport

STAGE = "index_candidate"
CODE_VERSION = "3"
_BATCH_ROWS = 1000

MANIFEST = pa.schema([*CORE])
"""One row per wanted point; ``fingerprint`` decides whether the index must be changed."""

Learner: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""What the next release learns of the lake, given the settings of the live one: further settings."""

_OWN = ("chunk_id", "doc_id", "fingerprint")
_REUSABLE = ("candidate", "rejected")


@dataclass(frozen=True)
class IndexInputs:
    """The tables that a release is made of."""

    embeddings: Table
    objects: Table
    parsed: Table
    anonymized: Table
    manifest: Table


def build_candidate(
    corpus: str,
    inputs: IndexInputs,
    spec: IndexSpec,
    engine: ReleaseEngine,
    ledger: Ledger,
    versions: Mapping[str, int],
    progress: Progress,
    *,
    settings: Mapping[str, Any],
    learn: Learner | None = None,
    lease: Lease,
) -> tuple[int | None, StageReport]:
    """Build the candidate release; return its number, or live's (or None) when nothing differs, and the report.

    ``settings`` is what a reader needs to search it, to which ``learn`` adds when a release is built; ``lease`` is
    the writer's. Raises ReleaseError when the engine fails, and LeaseError, before the next batch, when the lease is lost;
    the live release is never touched.
    """
    started = time.perf_counter()
    _discard_unfinished(corpus, engine, ledger, lease.token)
    documents = _documents(inputs)
    wanted = _wanted(inputs.embeddings, documents)
    _declare(inputs.manifest, wanted)
    manifest_version = inputs.manifest.version() or 0
    releases = {release.number: release for release in ledger.releases(corpus)}
    _require_known(corpus, engine, releases)
    live = releases.get(ledger.live(corpus) or -1)
    same = _same_release(releases, live, engine, spec, inputs.manifest, wanted)
    _discard_superseded(corpus, engine, ledger, same, lease.token)
    counts = {"points": wanted.height, "documents": wanted["doc_id"].n_unique()}
    if same is not None:
        if same is not live and same.state != "candidate":
            ledger.set_state(corpus, same.number, "candidate", lease=lease.token)
        report = _report(wanted, 0, 0, manifest_version, counts | {"release": same.number}, started)
        progress.finish(report)
        return same.number, report
    parent = live if live is not None and live.spec == spec.fingerprint and live.number in engine.releases() else None
    before = held(engine, inputs.manifest, parent)
    upserts, deletes = diff(wanted, before)
    progress.start(STAGE, len(upserts))
    learnt = learn(live.settings if live is not None else {}) if learn is not None else {}
    number = ledger.create_release(
        corpus,
        parent=parent.number if parent else None,
        spec=spec.fingerprint,
        table_versions={**versions, inputs.manifest.name: manifest_version},
        counts=counts | {"upserted": len(upserts), "deleted": len(deletes)},
        settings={**settings, **learnt},
        lease=lease.token,
    )
    engine.stage(number, parent.number if parent else None, spec)
    points = _batches(inputs.embeddings, upserts, documents, progress)
    engine.apply(number, lease.guarded(points), lease.guarded(_slices(deletes)))
    lease.check()
    engine.seal(number)
    ledger.set_state(corpus, number, "candidate", lease=lease.token)
    details = (
        dict(learnt)
        | counts
        | {"release": number, "parent": parent.number if parent else None, "upserted": len(upserts)}
    )
    report = _report(wanted, len(upserts), len(deletes), manifest_version, details, started)
    progress.finish(report)
    return number, report


def points_of_release(
    inputs: IndexInputs, only: Mapping[str, str], progress: Progress, readers: Mapping[str, Sequence[str]]
) -> Iterator[pa.RecordBatch]:
    """Yield the points ``only`` (id -> fingerprint) as the tables of ``inputs`` have them.

    ``readers`` maps documents (doc_id) to the groups that may read them instead of those of then.
    """
    documents = _documents(inputs)
    allowed = [list(readers.get(name, then)) for name, then in documents.select("doc_id", "readers").iter_rows()]
    documents = documents.with_columns(pl.Series("readers", allowed, dtype=pl.List(pl.String)))
    yield from _batches(inputs.embeddings, only, documents, progress)


def _discard_unfinished(corpus: str, engine: ReleaseEngine, ledger: Ledger, lease: int | None) -> None:
    """Drop what a killed run left half-built."""
    for release in ledger.releases(corpus):
        if release.state == "building":
            reason = "The run that built it did not finish."
            ledger.set_state(corpus, release.number, "dropped", reason=reason, lease=lease)
            engine.drop(release.number)


def _discard_superseded(
    corpus: str, engine: ReleaseEngine, ledger: Ledger, wanted: ReleaseInfo | None, lease: int | None
) -> None:
    """Drop candidates that are not what is wanted any more: there is one candidate at a time."""
    for release in ledger.releases(corpus):
        if release.state in _REUSABLE and (wanted is None or release.number != wanted.number):
            reason = "A later reindex found the bucket changed."
            ledger.set_state(corpus, release.number, "dropped", reason=reason, lease=lease)
            engine.drop(release.number)


def wanted_points(inputs: IndexInputs) -> pl.DataFrame:
    """Return id, doc_id and fingerprint of the points that the tables call for, sorted by id."""
    return _wanted(inputs.embeddings, _documents(inputs))


def _require_known(corpus: str, engine: ReleaseEngine, releases: Collection[int]) -> None:
    """Raise ReleaseError when the index is ahead of the ledger, whose next release would then be one that it has."""
    newest = max(releases, default=0)
    unknown = [str(number) for number in engine.releases() if number > newest]
    if unknown:
        raise ReleaseError(
            f"The index of {corpus!r} has releases that the ledger does not know ({', '.join(unknown)}; its newest is "
            f"{newest or 'none'}): the ledger was lost, is an older one, or HEADWATER_LEDGER_URL names another. Restore it "
            f"(headwater restore), or drop what it does not know (headwater gc {corpus}) and reindex."
        )


def _documents(inputs: IndexInputs) -> pl.DataFrame:
    """Return what every point of a document shares, with a digest of it."""
    frame = (
        inputs.objects.scan()
        .select("doc_id", "key", "revision", "readers")
        .join(inputs.parsed.scan().select("doc_id", "content_type"), on="doc_id")
        .join(inputs.anonymized.scan().select("doc_id", "metadata"), on="doc_id")
        .collect()
    )
    shared = frame.select("key", "revision", "readers", "content_type", "metadata")
    digests = [digest(CODE_VERSION, *row) for row in shared.rows()]
    return frame.with_columns(pl.Series("document_digest", digests, dtype=pl.String))


def _wanted(embeddings: Table, documents: pl.DataFrame) -> pl.DataFrame:
    frame = (
        embeddings.scan()
        .filter(pl.col("state") == "ok")
        .select("id", "doc_id", "fingerprint")
        .collect()
        .join(documents.select("doc_id", "document_digest"), on="doc_id")
        .sort("id")
    )
    fingerprints = row_fingerprints(frame["fingerprint"] + frame["document_digest"], digest(STAGE, CODE_VERSION))
    return frame.select("id", "doc_id", pl.Series("fingerprint", fingerprints, dtype=pl.String))


def _declare(manifest: Table, wanted: pl.DataFrame) -> None:
    """Bring the manifest up to date with the wanted points."""
    have = manifest.read(["id", "fingerprint"])
    upserts, deletes = diff(wanted, have)
    if manifest.exists() and not upserts and not deletes:
        return
    rows = wanted.filter(pl.col("id").is_in(list(upserts))).with_columns(
        pl.lit("ok").alias("state"), pl.lit("ok").alias("reason"), pl.lit(None, pl.String).alias("error")
    )
    batches = rows.select(MANIFEST.names).to_arrow().cast(MANIFEST).to_batches()
    if manifest.exists():
        manifest.change(change_batches(MANIFEST, batches, deletes))
    else:
        manifest.replace(batches)


def held(engine: ReleaseEngine, manifest: Table, release: ReleaseInfo | None) -> pl.DataFrame:
    """Return id and fingerprint of a release's points; none without a release.

    What the manifest wanted is what the engine holds, unless the release was changed in place since.
    """
    schema = {"id": pl.String, "fingerprint": pl.String}
    if release is None:
        return pl.DataFrame(schema=schema)
    if not release.redacted:
        return manifest.read(["id", "fingerprint"], release.table_versions[manifest.name])
    searcher = engine.open(release.number)
    try:
        held = searcher.fingerprints()
    finally:
        searcher.close()
    return pl.DataFrame({"id": list(held), "fingerprint": list(held.values())}, schema=schema)


def diff(wanted: pl.DataFrame, have: pl.DataFrame) -> tuple[dict[str, str], list[str]]:
    """Return the points to write, with their fingerprints, and the ids of those to delete."""
    joined = wanted.join(have.rename({"fingerprint": "stored"}), on="id", how="left")
    changed = joined.filter(pl.col("stored").is_null() | (pl.col("stored") != pl.col("fingerprint")))
    gone = have.join(wanted, on="id", how="anti")
    return dict(changed.select("id", "fingerprint").iter_rows()), gone["id"].to_list()


def _same_release(
    releases: Mapping[int, ReleaseInfo],
    live: ReleaseInfo | None,
    engine: ReleaseEngine,
    spec: IndexSpec,
    manifest: Table,
    wanted: pl.DataFrame,
) -> ReleaseInfo | None:
    """Return the release that already is what is wanted: live, or else the newest other one that is kept."""
    sealed = set(engine.releases())
    others = sorted((r for r in releases.values() if r.state in _REUSABLE), key=lambda r: -r.number)
    for release in ([live] if live else []) + others:
        if release.number in sealed and release.spec == spec.fingerprint:
            upserts, deletes = diff(wanted, held(engine, manifest, release))
            if not upserts and not deletes:
                return release
    return None


def _batches(
    embeddings: Table, points: Mapping[str, str], documents: pl.DataFrame, progress: Progress
) -> Iterator[pa.RecordBatch]:
    """Yield the points to write."""
    shared = {row["doc_id"]: row for row in documents.iter_rows(named=True)}
    columns = [name for name in POINT_SCHEMA.names if name in embeddings.schema.names]
    for batch in embeddings.batches(
        ["id", "doc_id", *(c for c in columns if c not in _OWN)], list(points), _BATCH_ROWS
    ):
        owners = [shared[name] for name in batch.column("doc_id").to_pylist()]
        own = {
            "chunk_id": batch.column("id"),
            "fingerprint": pa.array([points[name] for name in batch.column("id").to_pylist()], pa.string()),
            **{name: pa.array([row[name] for row in owners]) for name in ("key", "revision", "content_type")},
            "readers": pa.array([row["readers"] for row in owners], pa.list_(pa.string())),
            **_metadata([row["metadata"] for row in owners]),
        }
        arrays = [(own.get(f.name) if f.name in own else batch.column(f.name)) for f in POINT_SCHEMA]
        table = pa.table(
            [_cast(array, f.type) for array, f in zip(arrays, POINT_SCHEMA, strict=True)], schema=POINT_SCHEMA
        )
        yield from table.combine_chunks().to_batches()
        progress.advance(STAGE, batch.num_rows)


def _metadata(stored: Sequence[str | None]) -> dict[str, pa.Array]:
    """Return the metadata columns of points whose documents have this JSON."""
    known = {text: metadata.point_fields(text) for text in set(stored)}
    rows = [known[text] for text in stored]
    return {name: pa.array([row[name] for row in rows], POINT_SCHEMA.field(name).type) for name in metadata.FIELDS}


def _cast(array: pa.Array | pa.ChunkedArray, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    return array if array.type == kind else array.cast(kind)


def _slices(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _BATCH_ROWS):
        yield ids[start : start + _BATCH_ROWS]


def _report(
    wanted: pl.DataFrame,
    recomputed: int,
    removed: int,
    version: int,
    details: Mapping[str, Any],
    started: float,
) -> StageReport:
    joined = "".join(wanted.select(pl.concat_str("id", "fingerprint")).to_series().to_list())
    return StageReport(
        stage=STAGE,
        rows=wanted.height,
        recomputed=recomputed,
        removed=removed,
        quarantined=0,
        seconds=time.perf_counter() - started,
        reasons={"ok": wanted.height},
        version=version,
        data_version=digest_bytes(joined.encode()),
        details=details,
    )
