"""Putting a backup in place of what is there, or of nothing.

All files are checked before anything is changed, and whether the ledger takes their rows. Then: the ledger's rows go
(readers see no release), lake and index are put in place, and the rows come back, with releases that nobody can open. What
was erased since is erased again in all corpora. Last, each corpus' releases are opened in one transaction. Killed in
between, a mark stays in each lake (:mod:`headwater.restore_mark`), nothing else writes these corpora, and the same command
does it all again, from whatever home: what has to be remembered is in that mark, and which numbers were given out in the
ledger, which forgets none.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from headwater import __version__
from headwater.audit import audited
from headwater.backup.erased import Erased, erase_again, erased_since, erasure_of, known_erasures, row_of
from headwater.backup.manifest import Manifest, StoredFile, read_manifest
from headwater.backup.packing import SUFFIX, unpack
from headwater.backup.places import Place
from headwater.backup.saving import COPIES, PROJECT
from headwater.corpus import Corpus, open_corpus
from headwater.errors import BackupError, NotFoundError, ReleaseError
from headwater.index.edge import EdgeEngine
from headwater.index.files import remove_tree, sync_tree
from headwater.index.server import fenced
from headwater.lake_folder import LocalFolder
from headwater.lake_owner import OWNER_FILE, check_owner
from headwater.lease import Lease, corpus_lease
from headwater.ledger import ErasureRecord, Ledger, ReleaseInfo
from headwater.ledger.transfer import check_rows
from headwater.project import Project
from headwater.rebuild import build
from headwater.releases import KEPT
from headwater.reports import NoProgress, Progress, StageReport
from headwater.restore_mark import MARK_FILE, RestoreMark, read_mark, remove_mark, write_mark

_NAMED = 5
"""Damaged files that a message names."""


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What was restored. ``rebuilt`` are releases that were built from the lake, by corpus.

    ``erased`` are the documents that were erased after the backup was taken and had come back with it: they were erased
    again. ``erasures_known`` is False when nobody could say what was erased since: neither a ledger nor a list.
    ``keys_known`` is False when API keys came back as they were, because the ledger at hand had none: one that was revoked
    since works again, and so does a secret that was rotated.
    """

    place: str
    taken_at: datetime
    corpora: tuple[str, ...]
    live: dict[str, int | None]
    rebuilt: dict[str, tuple[int, ...]]
    erased: tuple[Erased, ...]
    erasures_known: bool
    keys_known: bool
    files: int
    seconds: float


def check(src: str, *, progress: Progress | None = None) -> Manifest:
    """Read every file of a backup and compare it with the manifest, which is returned.

    Raises BackupError for a backup that is incomplete or damaged, and names the first files that are not as written; or
    that this version could not restore, because a newer one wrote it.
    """
    place = Place(src)
    manifest = read_manifest(place)
    _verify(place, manifest.files, progress or NoProgress())
    _check_rows(place, manifest, (PROJECT, *manifest.corpora))
    return manifest


def restore(
    project: Project,
    src: str,
    *,
    corpora: Sequence[str] | None = None,
    force: bool = False,
    erasures: Path | None = None,
    progress: Progress | None = None,
) -> RestoreReport:
    """Put the backup at ``src`` (or some of its corpora, without prompts and keys) in place.

    The corpora must be configured. ``erasures`` is a JSON Lines file of what was erased since, such as the
    ``ledger/<corpus>/erasures.jsonl`` of a later backup: ``corpus`` and ``key`` at least. What the ledger at hand knows of
    later erasures is kept, and counts, too.

    Raises BackupError for a backup that can't be used, and for a project that is not empty without ``force``;
    NotFoundError for a corpus that the backup or the project does not have; LeaseError while one is being written.
    """
    started = time.perf_counter()
    told = progress or NoProgress()
    place = Place(src)
    manifest = read_manifest(place)
    names = _chosen(manifest, corpora, place)
    for name in names:
        project.corpus_file(name)
    whole = corpora is None and manifest.project
    wanted = {
        key: file
        for name in names
        for part in ("ledger", "lake", "index")
        for key, file in manifest.files_under(f"{part}/{name}/").items()
    }
    if whole:
        wanted |= manifest.files_under(f"ledger/{PROJECT}/")
    listed = known_erasures(erasures) if erasures is not None else []
    _verify(place, wanted, told)
    _check_rows(place, manifest, (PROJECT, *names) if whole else names)
    project.make_home()
    with ExitStack() as stack:
        ledger = stack.enter_context(closing(Ledger(project.ledger_url)))
        leases = {
            name: stack.enter_context(corpus_lease(ledger, name, project.lake_path(name) / ".lock")) for name in names
        }
        found = {name: mark for name in names if (mark := read_mark(project.lake(name))) is not None}
        if not force:
            mine = [(name, mark) for name, mark in found.items() if mark.place == place.uri]
            unfinished = {one for name, mark in mine for one in (name, *mark.opened)}
            _require_empty(project, ledger, [name for name in names if name not in unfinished], whole and not mine)
        for name in names:
            check_owner(project.lake(name), project)  # an empty one becomes this home's
        noted = stack.enter_context(audited(ledger, "backup.restore", corpus=names[0] if len(names) == 1 else None))
        before = _known_before(ledger, names, found)
        marks = {
            name: before.model_copy(
                update={
                    "place": place.uri,
                    "erasures": [
                        row_of(one) for one in _to_erase(ledger, place, manifest, name, listed, found.get(name))
                    ],
                }
            )
            for name in names
        }
        for name in sorted(names, key=found.__contains__):  # a mark that tells of others goes when they have their own
            write_mark(project.lake(name), marks[name])
        rebuilt = {}
        for name in names:
            rebuilt[name] = _corpus(project, place, manifest, told, leases[name])
        if whole:
            ledger.clear_rows(None)
            ledger.import_rows(_tables(place, manifest, PROJECT), None)
        erased: list[Erased] = []
        # Once the rows of all corpora are there: an erasure looks for traces in each of them.
        for name in names:
            with open_corpus(project.corpus_file(name).parent) as corpus:
                erased += erase_again(corpus, [erasure_of(row) for row in marks[name].erasures])
        for name in names:
            with open_corpus(project.corpus_file(name).parent) as corpus:
                _open(corpus, place, manifest, leases[name])
        # Killed in between, those that are left say of which others theirs is gone.
        for name, mark in marks.items():
            write_mark(project.lake(name), mark.model_copy(update={"opened": names}))
        for name in names:
            remove_mark(project.lake(name))
        noted.add(counts={"corpora": len(names), "files": len(wanted), "erased": len(erased)})
    return RestoreReport(
        place=place.uri,
        taken_at=min(manifest.corpora[name].taken_at for name in names),
        corpora=tuple(names),
        live={name: manifest.corpora[name].live for name in names},
        rebuilt={name: releases for name, releases in rebuilt.items() if releases},
        erased=tuple(erased),
        erasures_known=bool(listed) or before.erasures_known,
        keys_known=not whole or before.keys_known,
        files=len(wanted),
        seconds=time.perf_counter() - started,
    )


def _chosen(manifest: Manifest, corpora: Sequence[str] | None, place: Place) -> list[str]:
    names = list(dict.fromkeys(corpora)) if corpora else sorted(manifest.corpora)
    missing = [name for name in names if name not in manifest.corpora]
    if missing:
        there = ", ".join(sorted(manifest.corpora))
        raise NotFoundError(f"{place.uri} has no corpus {', '.join(missing)} (there: {there}).")
    return names


def _verify(place: Place, files: dict[str, StoredFile], progress: Progress) -> None:
    title = "check"
    progress.start(title, len(files))
    started = time.perf_counter()

    def wrong(key: str) -> str | None:
        digest = hashlib.sha256()
        try:
            for piece in place.read(key):
                digest.update(piece)
        except FileNotFoundError:
            return f"{key} is missing"
        return None if digest.hexdigest() == files[key].sha256 else f"{key} is not what was written"

    damaged = []
    with ThreadPoolExecutor(COPIES, thread_name_prefix="headwater-check") as pool:
        for found in pool.map(wrong, files):
            progress.advance(title, 1)
            if found is not None:
                damaged.append(found)
    if damaged:
        more = f", and {len(damaged) - _NAMED} more" if len(damaged) > _NAMED else ""
        raise BackupError(
            f"The backup at {place.uri} is damaged: {'; '.join(damaged[:_NAMED])}{more}. Nothing was changed. Use another "
            "backup."
        )
    progress.finish(StageReport(title, len(files), len(files), 0, 0, time.perf_counter() - started))


def _check_rows(place: Place, manifest: Manifest, scopes: Iterable[str]) -> None:
    """Raise BackupError unless the ledger can take every row: by then, those that are there would be gone."""
    for scope in scopes:
        corpus = None if scope == PROJECT else scope
        key = f"ledger/{scope}"
        try:
            for table, rows in _tables(place, manifest, scope).items():
                key = f"ledger/{scope}/{table}.jsonl"
                check_rows(table, rows, corpus)
            if corpus is not None:
                key = f"ledger/{scope}/releases.jsonl"
                list(_infos(place, manifest, scope))
        except (BackupError, ValueError, TypeError, KeyError, AttributeError) as error:
            why = str(error) if isinstance(error, BackupError) else "It does not have the rows that the ledger needs."
            raise BackupError(
                f"{place.uri}/{key} can't be restored. {why} Nothing was changed. The backup was written by Headwater "
                f"{manifest.version}, this is {__version__}: restore it with that version, or use another backup."
            ) from error


def _require_empty(project: Project, ledger: Ledger, names: Sequence[str], whole: bool) -> None:
    held = []
    for name in names:
        if ledger.holds_rows(name):
            held.append(f"the ledger has releases of {name!r}")
        if any(folder != ".lock" and not folder.startswith(".") for folder in project.lake(name).children()):
            held.append(f"there are tables of {name!r} in {project.lake(name).uri}")
        if _anything(project.index_path(name)):
            held.append(f"there are releases in {project.index_path(name)}")
    if whole and ledger.holds_rows(None):
        held.append("the ledger has API keys")
    if held:
        raise BackupError(
            f"The project is not empty: {'; '.join(held)}. Restoring replaces that; add --force if it is meant to, or "
            "choose other corpora."
        )


def _anything(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _known_before(ledger: Ledger, names: Sequence[str], found: Mapping[str, RestoreMark]) -> RestoreMark:
    """Return what the ledger knows, or what it knew before a restore that was interrupted: by now it may be the backup's."""
    half = {name for name in names if any(info.state == "restoring" for info in ledger.releases(name))}
    restored = {*half, *found, *(name for mark in found.values() for name in mark.opened)}
    return RestoreMark(
        place="",
        erasures=[],
        erasures_known=any(mark.erasures_known for mark in found.values())
        or any(ledger.remembers(name) for name in names if name not in restored),
        keys_known=any(mark.keys_known for mark in found.values()) if restored else ledger.holds_rows(None),
    )


def _to_erase(
    ledger: Ledger,
    place: Place,
    manifest: Manifest,
    name: str,
    listed: Sequence[ErasureRecord],
    mark: RestoreMark | None,
) -> list[ErasureRecord]:
    """Return what has to be erased again in a corpus."""
    noted = [erasure_of(row) for row in mark.erasures] if mark is not None else []
    stored = map(erasure_of, _tables(place, manifest, name).get("erasures", iter(())))
    return erased_since(
        ledger.erasures(name),
        [one for one in listed if one.corpus == name],
        noted,
        {(one.id, one.erased_at) for one in stored},
        manifest.corpora[name].taken_at,
    )


def _corpus(project: Project, place: Place, manifest: Manifest, progress: Progress, lease: Lease) -> tuple[int, ...]:
    """Put one corpus in place, closed to readers; return the releases that had to be built from the lake."""
    started = time.perf_counter()
    name = lease.corpus
    lake, index = manifest.files_under(f"lake/{name}/"), manifest.files_under(f"index/{name}/")
    title = f"restore {name}"
    progress.start(title, len(lake) + len(index))
    with open_corpus(project.corpus_file(name).parent) as corpus, fenced(corpus.engine, lease):
        corpus.ledger.clear_rows(name)
        corpus.ledger.touch(name)
        _place_lake(corpus, place, lake, name, lambda: progress.advance(title, 1))
        for release in corpus.engine.releases():
            lease.check()
            corpus.engine.drop(release)
        if isinstance(corpus.engine, EdgeEngine):
            _place_index(corpus.engine.path, place, index, name, lambda: progress.advance(title, 1))
        infos = [info for info in _infos(place, manifest, name) if info.state in KEPT]
        narrowed: set[int] = set()
        kept = _readable(corpus, infos)
        rebuilt = build(corpus, kept, None, every=False, progress=progress, note=narrowed.add, lease=lease)
        tables = _tables(place, manifest, name)
        tables["corpora"] = (row | {"live": None} for row in tables["corpora"])
        tables["releases"] = (
            row | {"state": "restoring", "redacted": row["redacted"] or row["number"] in narrowed}
            if row["state"] in KEPT
            else row
            for row in tables["releases"]
        )
        lease.check()
        corpus.ledger.import_rows(tables, name)
        corpus.refresh()
    count = len(lake) + len(index)
    progress.finish(StageReport(title, count, count, 0, 0, time.perf_counter() - started))
    return rebuilt.releases


def _open(corpus: Corpus, place: Place, manifest: Manifest, lease: Lease) -> None:
    """Let readers see a corpus again, in which everything is erased that has to be."""
    live = manifest.corpora[corpus.name].live
    if live is not None:
        with fenced(corpus.engine, lease):
            corpus.engine.publish(live)
    states = {info.number: info.state for info in _infos(place, manifest, corpus.name) if info.state in KEPT}
    corpus.ledger.open_restored(corpus.name, states, live, lease=lease.token)


def _place_lake(
    corpus: Corpus, place: Place, files: dict[str, StoredFile], name: str, tell: Callable[[], None]
) -> None:
    folder = corpus.tables.folder
    target = Place(folder.uri)
    if isinstance(folder, LocalFolder):
        for child in folder.children():  # not the lock, which is a file
            remove_tree(folder.path / child)
    else:
        target.delete([key for key in target.files() if key not in (OWNER_FILE, MARK_FILE)])

    def copy(key: str) -> None:
        _, digest = target.write(key.removeprefix(f"lake/{name}/"), place.read(key))
        if digest != files[key].sha256:
            raise BackupError(f"{place.uri}/{key} changed while it was restored. Restore again.")

    _in_parallel(copy, files, tell)
    if isinstance(folder, LocalFolder):
        sync_tree(folder.path)


def _place_index(folder: Path, place: Place, files: dict[str, StoredFile], name: str, tell: Callable[[], None]) -> None:
    remove_tree(folder)
    if not files:
        return

    def copy(key: str) -> None:
        unpack(place.read(key), folder / key.removeprefix(f"index/{name}/").removesuffix(SUFFIX))

    _in_parallel(copy, files, tell)
    sync_tree(folder)


def _in_parallel(work: Callable[[str], None], keys: Iterable[str], tell: Callable[[], None]) -> None:
    with ThreadPoolExecutor(COPIES, thread_name_prefix="headwater-restore") as pool:
        for _ in pool.map(work, keys):
            tell()


def _readable(corpus: Corpus, infos: Sequence[ReleaseInfo]) -> Sequence[ReleaseInfo]:
    """Drop the releases that this version of the engine can't open, so that they are built again; return all."""
    for release in corpus.engine.releases():
        try:
            corpus.engine.open(release).close()
        except ReleaseError:
            corpus.engine.drop(release)
    return infos


def _infos(place: Place, manifest: Manifest, name: str) -> Iterator[ReleaseInfo]:
    for row in _tables(place, manifest, name)["releases"]:
        times = {key: row[key] and datetime.fromisoformat(row[key]) for key in ("created_at", "published_at")}
        yield ReleaseInfo(**{**row, **times, "checks": tuple(row["checks"])})


def _tables(place: Place, manifest: Manifest, scope: str) -> dict[str, Iterator[dict[str, Any]]]:
    prefix = f"ledger/{scope}/"
    return {key.removeprefix(prefix).removesuffix(".jsonl"): _rows(place, key) for key in manifest.files_under(prefix)}


def _rows(place: Place, key: str) -> Iterator[dict[str, Any]]:
    waiting = b""
    for piece in place.read(key):
        *lines, waiting = (waiting + piece).split(b"\n")
        for line in lines:
            yield json.loads(line)
