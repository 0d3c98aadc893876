"""Taking snapshots of a corpus on a Qdrant server, and going back to one without bringing back what must stay away."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from headwater.audit import audited
from headwater.errors import ConfigError, NotFoundError
from headwater.index import API_KEY, CA_FILE
from headwater.index.server import ServerEngine
from headwater.index.snapshots import Snapshot
from headwater.lease import when_free
from headwater.rebuild import Rebuilt, build, noter
from headwater.releases import KEPT, narrowed
from headwater.reports import NoProgress

if TYPE_CHECKING:
    from headwater.corpus import Corpus

PATIENCE_SECONDS = 3600
"""How long a server may take for the snapshot of one collection."""


def take_snapshot(corpus: Corpus, *, wait: float = 0.0, keep: int | None = None) -> Snapshot:
    """Let the server take a snapshot of every release, and delete older ones so that ``keep`` stay (None: all).

    Raises ConfigError without a server, NotFoundError without a release, and LeaseError while a reindex runs for longer
    than ``wait`` seconds.
    """
    with (
        audited(corpus.ledger, "snapshot.take", corpus=corpus.name) as noted,
        _patient(corpus) as engine,
        when_free(corpus.writing, wait) as lease,
        engine.written_under(lease),
    ):
        if not corpus.releases():
            raise NotFoundError(f"Corpus {corpus.name!r} has no release yet of which a snapshot could be taken.")
        snapshot = engine.take_snapshot()
        if keep is not None:
            engine.snapshots.prune(keep)
        noted.add(target=snapshot.id, counts={"collections": len(snapshot.files)})
    return snapshot


def list_snapshots(corpus: Corpus) -> list[Snapshot]:
    """Return the snapshots of a corpus, newest first. Raises ConfigError without a server."""
    with _patient(corpus) as engine:
        return engine.snapshots.all()


def restore_snapshot(corpus: Corpus, identity: str) -> Rebuilt:
    """Put a snapshot in place; return the releases that are newer, or missing in it, and were built from the lake.

    Permissions that were taken away since are taken away from it, and releases that the ledger does not keep any more are
    dropped. Nobody can open a release before that is done; where it is interrupted, :func:`headwater.rebuild.rebuild_releases`
    builds those that are not back. What was erased since is in no snapshot: an erasure deletes them. Raises NotFoundError
    for a snapshot that isn't there, and what :func:`take_snapshot` does.
    """
    with (
        audited(corpus.ledger, "snapshot.restore", corpus=corpus.name, target=identity) as noted,
        corpus.writing() as lease,
        _patient(corpus) as engine,
        engine.written_under(lease),
    ):
        kept = [info for info in corpus.releases() if info.state in KEPT]
        by_number = {info.number: info for info in kept}

        def left(release: int) -> dict[str, list[str]] | None:
            if release not in by_number:
                return None
            info = by_number[release]
            current = corpus.tables.source_objects.read(["doc_id", "readers"], info.readers_version)
            return narrowed(corpus, info, current)

        engine.restore_snapshot(identity, left)
        live = corpus.ledger.live(corpus.name)
        rebuilt = build(corpus, kept, live, every=False, progress=NoProgress(), note=noter(corpus), lease=lease)
        if live is not None:
            engine.publish(live)
        corpus.ledger.touch(corpus.name)
        corpus.refresh()
        noted.add(counts={"releases": len(kept), "built": len(rebuilt.releases)})
    return rebuilt


@contextmanager
def _patient(corpus: Corpus) -> Iterator[ServerEngine]:
    policy = corpus.policy.index
    if policy.url is None:
        raise ConfigError(
            f"Corpus {corpus.name!r} has no Qdrant server (index.url): its index is in files, which headwater backup copies."
        )
    engine = ServerEngine(
        policy.url,
        corpus.name,
        api_key=os.environ.get(API_KEY),
        ca_file=os.environ.get(CA_FILE),
        policy=policy.model_copy(update={"timeout_seconds": PATIENCE_SECONDS}),
    )
    try:
        yield engine
    finally:
        engine.close()
