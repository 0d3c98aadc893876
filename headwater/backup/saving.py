"""Making a backup: ledger rows, lake tables and embedded releases of one corpus after another, then the manifest.

Each corpus is taken under its writer's lease, so it is one consistent state: no reindex, erasure or garbage collection
changes it meanwhile, while searches and answers go on. Corpora are taken one after another, so one is blocked only while
it is copied itself.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from headwater import __version__
from headwater.audit import audited
from headwater.backup.manifest import (
    FORMAT,
    MANIFEST,
    STARTED,
    Manifest,
    StoredCorpus,
    StoredFile,
    write_manifest,
)
from headwater.backup.packing import SUFFIX, packed
from headwater.backup.places import Place
from headwater.corpus import Corpus, open_corpus
from headwater.errors import BackupError, ConfigError, NotFoundError
from headwater.index.edge import EdgeEngine
from headwater.lake_folder import TABLE_LOG
from headwater.lease import when_free
from headwater.ledger import Ledger
from headwater.ledger.schema import HEAD
from headwater.project import Project
from headwater.releases import KEPT
from headwater.reports import NoProgress, Progress, StageReport

PROJECT = "_project"
"""Stands for the project where a corpus' name is expected; no corpus can have this name."""

COPIES = 8
"""Files copied at once: a bucket answers many requests as fast as one."""

_LINE_BYTES = 2**20

_Write = Callable[[], tuple[str, StoredFile]]


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What a backup holds; ``seconds`` of wall time."""

    place: str
    corpora: tuple[str, ...]
    files: int
    bytes: int
    seconds: float


def backup(
    project: Project,
    dest: str,
    *,
    corpora: Sequence[str] | None = None,
    wait: float = 0.0,
    progress: Progress | None = None,
) -> BackupReport:
    """Copy ledger, lake and index of all corpora (or those named, without prompts, keys and other corpora) to ``dest``.

    ``dest`` is a folder or a bucket URI that holds nothing, or a backup that was interrupted, which is made anew.
    ``wait`` is how many seconds at most to wait for a corpus that is being written. Raises BackupError for another
    ``dest`` or one that can't be written, NotFoundError for an unknown corpus, and LeaseError when the wait is over.
    """
    started = time.perf_counter()
    names = list(dict.fromkeys(corpora)) if corpora else project.corpus_names()
    if not names:
        raise ConfigError(f"The project {project.root} has no corpus to back up.")
    for name in names:
        project.corpus_file(name)
    place = Place(dest)
    _prepare(place)
    told = progress or NoProgress()
    project.make_home()
    ledger = Ledger(project.ledger_url)
    files: dict[str, StoredFile] = {}
    stored: dict[str, StoredCorpus] = {}
    created = datetime.now(UTC)
    try:
        with audited(ledger, "backup.create", corpus=names[0] if len(names) == 1 else None) as noted:
            if corpora is None:
                files |= _rows(ledger, place, None)
            for name in names:
                with open_corpus(project.corpus_file(name).parent) as corpus:
                    stored[name] = _corpus(corpus, place, files, wait, told)
            size = sum(file.size for file in files.values())
            noted.add(counts={"corpora": len(names), "files": len(files), "bytes": size})
            write_manifest(
                place,
                Manifest(
                    format=FORMAT,
                    version=__version__,
                    created_at=created,
                    schema_revision=HEAD,
                    project=corpora is None,
                    corpora=stored,
                    files=files,
                ),
            )
    finally:
        ledger.close()
    return BackupReport(place.uri, tuple(names), len(files), size, time.perf_counter() - started)


def _prepare(place: Place) -> None:
    """Note that a backup begins; remove what an interrupted one left."""
    there = place.files()
    if MANIFEST in there:
        raise BackupError(f"{place.uri} holds a backup already. Give each backup a place of its own, such as a date.")
    if there and STARTED not in there:
        raise BackupError(f"{place.uri} is not empty, and not what an interrupted backup left. Choose another place.")
    place.write(STARTED, [f"{datetime.now(UTC).isoformat()}\n".encode()])
    place.delete([key for key in there if key != STARTED])


def _corpus(
    corpus: Corpus, place: Place, files: dict[str, StoredFile], wait: float, progress: Progress
) -> StoredCorpus:
    with when_free(corpus.writing, wait) as lease:
        started = time.perf_counter()
        taken = datetime.now(UTC)
        found = _rows(corpus.ledger, place, corpus.name)
        kept = [info for info in corpus.releases() if info.state in KEPT]
        releases = sorted({info.number for info in kept} & set(corpus.engine.releases()))
        live = corpus.ledger.live(corpus.name)
        if live is not None and live not in releases:
            raise BackupError(
                f"The index of {corpus.name!r} lacks its live release {live}, so a backup would lack it, too. Build it "
                f"again first: headwater rebuild {corpus.name}"
            )
        copies = list(_lake_copies(corpus, place))
        if isinstance(corpus.engine, EdgeEngine):
            copies += _index_copies(corpus.engine, releases, corpus.name, place)
        title = f"backup {corpus.name}"
        progress.start(title, len(copies))
        with ThreadPoolExecutor(COPIES, thread_name_prefix="headwater-backup") as pool:
            for key, file in pool.map(lambda write: write(), copies):
                found[key] = file
                progress.advance(title, 1)
        lease.check()
    files |= found
    seconds = time.perf_counter() - started
    progress.finish(StageReport(title, len(found), len(found), 0, 0, seconds))
    engine = "edge" if isinstance(corpus.engine, EdgeEngine) else "server"
    return StoredCorpus(taken_at=taken, live=live, releases=tuple(releases), engine=engine)


def _rows(ledger: Ledger, place: Place, corpus: str | None) -> dict[str, StoredFile]:
    """Write the ledger's rows, a JSON Lines file per table."""
    files = {}
    with ledger.exported(corpus) as tables:
        for table, rows in tables:
            key = f"ledger/{corpus or PROJECT}/{table}.jsonl"
            size, digest = place.write(key, _lines(rows))
            files[key] = StoredFile(size=size, sha256=digest)
    return files


def _lines(rows: Iterable[object]) -> Iterator[bytes]:
    waiting = bytearray()
    for row in rows:
        waiting += json.dumps(row).encode() + b"\n"
        if len(waiting) >= _LINE_BYTES:
            yield bytes(waiting)
            waiting.clear()
    yield bytes(waiting)


def _lake_copies(corpus: Corpus, place: Place) -> Iterator[_Write]:
    """Yield what copies a file of the lake: every version of every table, so that each release finds its own."""
    source = Place(corpus.tables.folder.uri)
    for table in corpus.tables.all():
        # The log first: of a table that is written without the lease (answers), what it names is there by then.
        log = source.files(f"{table.name}/{TABLE_LOG}")
        data = [key for key in source.files(table.name) if not key.startswith(f"{table.name}/{TABLE_LOG}/")]
        for key in (*log, *data):
            yield _copy(source, key, place, f"lake/{corpus.name}/{key}")


def _copy(source: Place, key: str, place: Place, target: str) -> _Write:
    def write() -> tuple[str, StoredFile]:
        try:
            size, digest = place.write(target, source.read(key))
        except FileNotFoundError as error:
            raise NotFoundError(f"{source.uri}/{key} went away while it was copied. Make the backup again.") from error
        return target, StoredFile(size=size, sha256=digest)

    return write


def _index_copies(engine: EdgeEngine, releases: Sequence[int], corpus: str, place: Place) -> list[_Write]:
    copies: list[_Write] = []
    for file in (file for release in releases for file in engine.files(release)):
        target = f"index/{corpus}/{file.relative_to(engine.path).as_posix()}{SUFFIX}"

        def write(file: Path = file, target: str = target) -> tuple[str, StoredFile]:
            size, digest = place.write(target, packed(file))
            return target, StoredFile(size=size, sha256=digest)

        copies.append(write)
    return copies
