"""Building releases again from the lake: after the index was lost, or for another engine.

A release pins the version of every table that it was made from, and those tables have its vectors. So nothing is parsed
or embedded again, and the release keeps its number, its chunk ids and its fingerprints. Its points are written with the
readers that their documents have left, so nobody who lost a document finds it in a release that is just being built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import polars as pl

from headwater.audit import audited
from headwater.embedding import embedder_of_release
from headwater.errors import ReleaseError
from headwater.index.contract import REDACTED, IndexSpec
from headwater.lake import Table
from headwater.lease import Lease
from headwater.ledger import ReleaseInfo
from headwater.releases import KEPT, narrowed
from headwater.reports import NoProgress, Progress
from headwater.stages.embeddings import stored_dimensions
from headwater.stages.index_candidate import IndexInputs, diff, held, points_of_release

if TYPE_CHECKING:
    from deltalake import DeltaTable

    from headwater.corpus import Corpus

STAGE = "index"


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The releases that were built again, and how many points were written."""

    releases: tuple[int, ...]
    points: int


def rebuild_releases(corpus: Corpus, *, every: bool = False, progress: Progress | None = None) -> Rebuilt:
    """Build the kept releases that the index lacks (``every``: all of them), with the permissions that are left.

    Up to 50,000 points a release then answers exactly as before; above, its graph is another one of the same points.
    Raises LeaseError while a reindex runs, and ReleaseError for a release whose tables the lake does not have any more.
    """
    with audited(corpus.ledger, "release.rebuild", corpus=corpus.name) as noted, corpus.writing() as lease:
        kept = [info for info in corpus.releases() if info.state in KEPT]
        live = corpus.ledger.live(corpus.name)
        rebuilt = build(
            corpus, kept, live, every=every, progress=progress or NoProgress(), note=noter(corpus), lease=lease
        )
        noted.add(counts={"releases": len(rebuilt.releases), "points": rebuilt.points})
        return rebuilt


def noter(corpus: Corpus) -> Callable[[int], None]:
    """Return what tells the ledger that the points of a release are not those of its manifest."""
    return lambda release: corpus.ledger.note_redaction(corpus.name, release, redacted=True)


def build(
    corpus: Corpus,
    kept: Sequence[ReleaseInfo],
    live: int | None,
    *,
    every: bool,
    progress: Progress,
    note: Callable[[int], None],
    lease: Lease,
) -> Rebuilt:
    """Build those of ``kept`` that the index lacks, the oldest first, so that each is a difference to one before.

    ``lease`` is the writer's; LeaseError when it is lost. No release is ever sealed with permissions that were taken away since; ``note`` is
    called with the number of each that is built with fewer readers than it was made with, before it is.
    """
    sealed = set(corpus.engine.releases())
    wanted = [info for info in sorted(kept, key=lambda info: info.number) if every or info.number not in sealed]
    points = 0
    for info in wanted:
        lease.check()
        corpus.engine.drop(info.number)
        sealed.discard(info.number)
    before = {info.number: info for info in kept if info.number in sealed}
    current = corpus.tables.source_objects.read(["doc_id", "readers"]) if wanted else None
    for info in wanted:
        readers = narrowed(corpus, info, current) if current is not None and info.readers_version is not None else {}
        if readers:
            note(info.number)
        parent = max((n for n, other in before.items() if n < info.number and other.spec == info.spec), default=None)
        points += _build(corpus, info, before[parent] if parent is not None else None, readers, progress, lease)
        # What was just built is as its manifest says, unless it was narrowed.
        before[info.number] = replace(info, redacted=bool(readers))
    if wanted:
        if live is not None:
            lease.check()
            corpus.engine.publish(live)
        corpus.ledger.touch(corpus.name)
        corpus.refresh()
    return Rebuilt(tuple(info.number for info in wanted), points)


def _build(
    corpus: Corpus,
    info: ReleaseInfo,
    parent: ReleaseInfo | None,
    readers: Mapping[str, Sequence[str]],
    progress: Progress,
    lease: Lease,
) -> int:
    """Build a release with the ``readers`` that some of its documents have left; return how many points were written."""
    inputs = _inputs(corpus, info)
    dimensions = stored_dimensions(inputs.embeddings)
    if dimensions is None:
        dimensions = embedder_of_release(info.settings, corpus.policy.embed).dimensions  # a release without points
    have = held(corpus.engine, corpus.tables.index_manifest, parent)
    wanted = inputs.manifest.read(["id", "doc_id", "fingerprint"])
    upserts, deletes = diff(wanted, have)
    # Whatever the parent has of these documents: it may have been narrowed otherwise, or not.
    left = wanted.filter(pl.col("doc_id").is_in(list(readers)))
    upserts |= dict.fromkeys(left["id"].to_list(), REDACTED)
    progress.start(STAGE, len(upserts))
    corpus.engine.stage(info.number, parent.number if parent else None, IndexSpec(dimensions, info.spec))
    points = points_of_release(inputs, upserts, progress, readers)
    corpus.engine.apply(info.number, lease.guarded(points), lease.guarded([deletes] if deletes else []))
    lease.check()
    corpus.engine.seal(info.number)
    return len(upserts)


def _inputs(corpus: Corpus, info: ReleaseInfo) -> IndexInputs:
    tables, versions = corpus.tables, info.table_versions
    try:
        return IndexInputs(
            *(
                _At(table, versions)
                for table in (
                    tables.embeddings,
                    tables.source_objects,
                    tables.parsed_documents,
                    tables.anonymized_documents,
                    tables.index_manifest,
                )
            )
        )
    except KeyError as error:
        raise ReleaseError(
            f"Release {info.number} of {corpus.name!r} does not say which version of {error} it was made from, so it "
            f"can't be built again. Reindex for a new one: headwater reindex {corpus.name}"
        ) from error


class _At(Table):
    """A table as it was at the version that a release was made from."""

    def __init__(self, table: Table, versions: Mapping[str, int]) -> None:
        super().__init__(table.folder, table.schema)
        self._at = versions[table.name]

    def _opened(self, version: int | None = None) -> DeltaTable | None:
        return super()._opened(self._at if version is None else version)
