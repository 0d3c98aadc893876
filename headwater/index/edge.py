"""Releases in process: one directory per release, read and written by Qdrant's embedded engine.

``<path>/<n>.partial`` is being built, ``<path>/<n>`` is sealed. A release starts as a copy of its parent and is
never written again once it has its final name. (Opening and closing a shard rewrites a few of its files with the
bytes that they already have, so reading a sealed release changes nothing in it.)

``release.json`` names the folder beside it that holds the points. A redaction builds another folder and then names
that one instead, in one step; what a killed one leaves is swept by the next write.

The write-ahead log is off: a release that was not sealed is thrown away, so replaying it has no use, and without
the log several processes can open one release.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pyarrow as pa

from headwater.apart import works_apart
from headwater.errors import HeadwaterError, NotFoundError, ReleaseError
from headwater.index.apart import SearcherApart
from headwater.index.contract import IndexSpec, Searcher
from headwater.index.edge_search import EdgeSearcher
from headwater.index.edge_shard import UPSERT_ROWS, copy_without, create_shard, narrow, opened, points_of, to_narrow
from headwater.index.files import copy_tree, remove_tree, replace_file, replace_folder, sync_tree
from headwater.index.points import PointRow, point_rows
from headwater.index.request import DENSE, SPARSE

if TYPE_CHECKING:
    from qdrant_edge import EdgeShard, Point

_MANIFEST = "release.json"
_SHARD = "shard"


class EdgeEngine:
    """The releases of one corpus under ``path``. Implements :class:`headwater.index.contract.ReleaseEngine`."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def stage(self, release: int, parent: int | None, spec: IndexSpec) -> None:
        """Start ``release``; what was half-built before is removed.

        Raises ReleaseError if ``release`` is sealed or ``parent`` was made for another spec, NotFoundError if
        there is no such parent.
        """
        if self._sealed(release).exists():
            raise ReleaseError(
                f"release {release} in {self.path} is sealed and can't be staged again; take the next number"
            )
        self._sweep(half_built=True)
        partial = self._partial(release)
        partial.mkdir(parents=True)
        manifest: dict[str, Any] = {
            "dimensions": spec.dimensions,
            "fingerprint": spec.fingerprint,
            "shard": _SHARD,
            "build": uuid4().hex,
        }
        if parent is None:
            create_shard(partial / _SHARD, spec.dimensions)
        else:
            held = self._manifest(parent)
            if _spec(held) != spec:
                raise ReleaseError(
                    f"release {parent} holds vectors of {_spec(held)}, not of {spec}; stage release {release} "
                    "without a parent"
                )
            copy_tree(self._shard(parent, held), partial / _SHARD)
            manifest["remnants"] = _remnants(held)
        # Last: a release without it was not staged to the end.
        (partial / _MANIFEST).write_text(json.dumps(manifest))

    def apply(self, release: int, upserts: Iterable[pa.RecordBatch], deletes: Iterable[Sequence[str]]) -> None:
        """Delete, then write; on disk when it returns. Raises ReleaseError if the release is not being built."""
        from qdrant_edge import CountRequest, UpdateOperation

        manifest = self._staged(release)
        with self._writing(release) as shard:
            if not _remnants(manifest) and shard.count(CountRequest()):
                # What is deleted or replaced from here on stays in the files until they are written anew.
                manifest["remnants"] = True
                (self._partial(release) / _MANIFEST).write_text(json.dumps(manifest))
            for ids in deletes:
                if ids:
                    shard.update(UpdateOperation.delete_points(list(ids)))
            for batch in upserts:
                for rows in point_rows(batch, _spec(manifest).dimensions, UPSERT_ROWS):
                    shard.update(UpdateOperation.upsert_points([_point(row) for row in rows]))

    def seal(self, release: int) -> None:
        """Optimise, sync to disk, and give the release its final name; a sealed release is left as it is."""
        if self._sealed(release).exists():
            return
        manifest = self._staged(release)
        with self._writing(release) as shard:
            manifest |= _finished(shard)
        partial = self._partial(release)
        (partial / _MANIFEST).write_text(json.dumps(manifest))
        sync_tree(partial)
        replace_folder(partial, self._sealed(release))

    def open(self, release: int) -> Searcher:
        """Open a sealed release for reading, from any number of threads and processes at once."""
        return SearcherApart(self.path, release) if works_apart() else self.open_here(release)

    def open_here(self, release: int) -> EdgeSearcher:
        """Open a sealed release for reading in this process."""
        from qdrant_edge import EdgeShard

        manifest = self._manifest(release)
        while True:
            folder = self._shard(release, manifest)
            try:
                shard = EdgeShard.load(str(folder))
                return EdgeSearcher(release, shard, _spec(manifest), int(manifest["count"]), _state(manifest))
            except Exception as error:  # the engine raises bare Exception
                before, manifest = manifest, self._manifest(release)
                if manifest != before:  # redacted just now: the points are in another folder
                    continue
                raise ReleaseError(
                    f"release {release} in {self.path} was written by {manifest.get('engine')} and can't be opened by "
                    f"{_engine()} ({error}); roll back to another release or reindex"
                ) from error

    def publish(self, release: int) -> None:
        """Nothing to do: nobody outside follows the files of a release."""

    def close(self) -> None:
        """Nothing to do: only searchers hold files open."""

    def releases(self) -> list[int]:
        """Return the numbers of all sealed releases, ascending."""
        if not self.path.is_dir():
            return []
        return sorted(int(entry.name) for entry in self.path.iterdir() if entry.name.isdecimal())

    def files(self, release: int) -> list[Path]:
        """Return the files of a sealed release, less those of readers that are opening or closing it (hidden ones)."""
        manifest = self._manifest(release)
        shard = sorted(self._shard(release, manifest).rglob("*"))
        return [self._sealed(release) / _MANIFEST, *(f for f in shard if f.is_file() and not f.name.startswith("."))]

    def drop(self, release: int) -> None:
        """Remove a release, sealed or half-built; whoever has it open keeps reading it until closed."""
        for folder in (self._sealed(release), self._partial(release)):
            if folder.exists():
                # First out of sight in one step: nobody can open a release that is half removed.
                replace_folder(folder, self.path / f"{folder.name}.dropped")
        self._sweep()

    def redact(self, release: int, *, forget: Collection[str] = (), readers: Mapping[str, Sequence[str]] = {}) -> int:
        """Write the release's points to another folder, changed, and exchange the two; see the contract.

        Narrowing copies the files. Forgetting writes them anew, so that no byte of a deleted point gets into them: also
        when no point of these documents is left in a release that may hold such bytes.
        """
        manifest = self._manifest(release)
        self._sweep(half_built=True)
        old = self._shard(release, manifest)
        new = self._sealed(release) / f"{_SHARD}-{int(manifest.get('redactions', 0)) + 2}"
        kept = {doc_id: groups for doc_id, groups in readers.items() if doc_id not in forget}
        try:
            with opened(old) as source:
                forgotten, narrowed = points_of(source, forget), to_narrow(source, kept)
                anew = bool(forgotten or (forget and _remnants(manifest)))
                if not anew and not narrowed:
                    return 0
                if anew:
                    create_shard(new, _spec(manifest).dimensions)
                    with opened(new) as target:
                        copy_without(source, target, forget)
                        target.flush()
            if not anew:
                copy_tree(old, new)
            with opened(new) as target:
                narrow(target, narrowed, kept)
                finished = _finished(target)
                target.flush()
            with opened(new):
                pass  # The first opening folds the journals in; no later one changes a file any more.
        except Exception as error:  # the engine raises bare Exception
            raise ReleaseError(
                f"release {release} in {self.path} could not be redacted ({error}); it is as it was. Try again"
            ) from error
        sync_tree(new)
        manifest |= finished | {
            "shard": new.name,
            "redactions": int(manifest.get("redactions", 0)) + 1,
            "remnants": not anew and _remnants(manifest),
        }
        replace_file(self._sealed(release) / _MANIFEST, json.dumps(manifest))
        remove_tree(old)
        return forgotten + sum(map(len, narrowed.values()))

    def _sweep(self, *, half_built: bool = False) -> None:
        """Remove what killed processes left: releases that were being dropped, and shards that no release names."""
        for leftover in (*self.path.glob("*.dropped"), *(self.path.glob("*.partial") if half_built else ())):
            remove_tree(leftover)
        for release in self.releases():
            named = self._shard(release, self._manifest(release))
            for folder in self._sealed(release).iterdir():
                if folder.is_dir() and folder != named:
                    remove_tree(folder)

    def _sealed(self, release: int) -> Path:
        return self.path / str(release)

    def _partial(self, release: int) -> Path:
        return self.path / f"{release}.partial"

    def _shard(self, release: int, manifest: Mapping[str, Any]) -> Path:
        return self._sealed(release) / str(manifest.get("shard", _SHARD))

    def _manifest(self, release: int) -> dict[str, Any]:
        try:
            manifest: dict[str, Any] = json.loads((self._sealed(release) / _MANIFEST).read_text())
        except FileNotFoundError as error:
            raise self._missing(release) from error
        return manifest

    def _staged(self, release: int) -> dict[str, Any]:
        try:
            manifest: dict[str, Any] = json.loads((self._partial(release) / _MANIFEST).read_text())
        except FileNotFoundError as error:
            raise ReleaseError(f"release {release} in {self.path} is not being built; stage it first") from error
        return manifest

    def _missing(self, release: int) -> NotFoundError:
        known = ", ".join(map(str, self.releases())) or "none"
        return NotFoundError(f"there is no sealed release {release} in {self.path}; there are: {known}")

    @contextmanager
    def _writing(self, release: int) -> Iterator[EdgeShard]:
        try:
            with opened(self._partial(release) / _SHARD) as shard:
                yield shard
                shard.flush()
        except HeadwaterError:  # also of what gives the batches
            raise
        except Exception as error:  # the engine raises bare Exception
            raise ReleaseError(
                f"release {release} in {self.path} could not be written ({error}); no release was changed. Reindex "
                "to build it anew"
            ) from error


def _finished(shard: EdgeShard) -> dict[str, Any]:
    """Optimise a shard that is complete, and return what the manifest says about it."""
    from qdrant_edge import CountRequest

    shard.optimize()
    return {"count": shard.count(CountRequest()), "engine": _engine()}


def _point(row: PointRow) -> Point:
    from qdrant_edge import Point, SparseVector

    return Point(row.chunk_id, {DENSE: row.vector, SPARSE: SparseVector(row.indices, row.values)}, row.payload)


def _state(manifest: Mapping[str, Any]) -> str:
    """Return what tells this state of a release from any other: of another build, or after another redaction."""
    return f"{manifest.get('build', '')}/{manifest.get('redactions', 0)}"


def _spec(manifest: Mapping[str, Any]) -> IndexSpec:
    return IndexSpec(int(manifest["dimensions"]), str(manifest["fingerprint"]))


def _remnants(manifest: Mapping[str, Any]) -> bool:
    """Return whether the files may hold bytes of deleted points; a manifest that doesn't say so is an old one."""
    return bool(manifest.get("remnants", "shard" not in manifest))


def _engine() -> str:
    return f"qdrant-edge-py {version('qdrant-edge-py')}"
