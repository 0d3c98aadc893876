"""Building releases again from the lake: after the index was lost, or for another engine.

A release pins the version of every table that it was made from, and those tables have its vectors. So nothing is parsed
or embedded again, and the release keeps its number, its chunk ids and its fingerprints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from headwater.audit import audited
from headwater.embedding import embedder_of_release
from headwater.errors import ReleaseError
from headwater.index.contract import IndexSpec
from headwater.lake import Table
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
    """Build the kept releases that the index lacks (``every``: all of them); killed, the next
    reindex takes away the permissions that were taken away since.

    Up to 50,000 points a release then answers exactly as before; above, its graph is another one of the same points.
    Raises LeaseError while a reindex runs, and ReleaseError for a release whose tables the lake does not have any more.
    """
    with audited(corpus.ledger, "release.rebuild", corpus=corpus.name) as noted, corpus.writing():
        kept = [info for info in corpus.releases() if info.state in KEPT]
        narrow = [info for info in kept if info.readers_version is not None]
        # Killed before a release is narrowed, the next reindex takes away from it what was taken away since.
        for info in narrow:
            made = info.table_versions["source_objects"]
            corpus.ledger.note_redaction(corpus.name, info.number, redacted=True, readers_version=made)
        live = corpus.ledger.live(corpus.name)
        rebuilt = build(corpus, kept, live, every=every, progress=progress or NoProgress())
        for info in narrow:
            corpus.ledger.note_redaction(corpus.name, info.number, readers_version=info.readers_version)
        noted.add(counts={"releases": len(rebuilt.releases), "points": rebuilt.points})
        return rebuilt


def build(corpus: Corpus, kept: Sequence[ReleaseInfo], live: int | None, *, every: bool, progress: Progress) -> Rebuilt:
    """Build those of ``kept`` that the index lacks, the oldest first, so that each is a difference to one before.

    To be called by the corpus' writer. Permissions that were taken away since are taken away here, too.
    """
    sealed = set(corpus.engine.releases())
    wanted = [info for info in sorted(kept, key=lambda info: info.number) if every or info.number not in sealed]
    points = 0
    for info in wanted:
        corpus.engine.drop(info.number)
        sealed.discard(info.number)
    before = {info.number: info for info in kept if info.number in sealed}
    for info in wanted:
        parent = max((n for n, other in before.items() if n < info.number and other.spec == info.spec), default=None)
        points += _build(corpus, info, before[parent] if parent is not None else None, progress)
        # What was just built has not been narrowed yet: its manifest says what it holds.
        before[info.number] = replace(info, redacted=False)
    for info in wanted:
        if info.readers_version is None:
            continue
        current = corpus.tables.source_objects.read(["doc_id", "readers"])
        readers = narrowed(corpus, info, current)
        if readers:
            corpus.engine.redact(info.number, readers=readers)
    if wanted:
        if live is not None:
            corpus.engine.publish(live)
        corpus.ledger.touch(corpus.name)
        corpus.refresh()
    return Rebuilt(tuple(info.number for info in wanted), points)


def _build(corpus: Corpus, info: ReleaseInfo, parent: ReleaseInfo | None, progress: Progress) -> int:
    inputs = _inputs(corpus, info)
    dimensions = stored_dimensions(inputs.embeddings)
    if dimensions is None:
        dimensions = embedder_of_release(info.settings, corpus.policy.embed).dimensions  # a release without points
    have = held(corpus.engine, corpus.tables.index_manifest, parent)
    upserts, deletes = diff(inputs.manifest.read(["id", "fingerprint"]), have)
    progress.start(STAGE, len(upserts))
    corpus.engine.stage(info.number, parent.number if parent else None, IndexSpec(dimensions, info.spec))
    corpus.engine.apply(info.number, points_of_release(inputs, upserts, progress), [deletes] if deletes else [])
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
