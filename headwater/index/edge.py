"""Releases in process: one directory per release, read and written by Qdrant's embedded engine.

``<path>/<n>.partial`` is being built, ``<path>/<n>`` is sealed. A release starts as a copy of its parent and is
never written again once it has its final name. (Opening and closing a shard rewrites a few of its files with the
bytes that they already have, so reading a sealed release changes nothing in it.)

The write-ahead log is off: a release that was not sealed is thrown away, so replaying it has no use, and without
the log several processes can open one release.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from headwater.errors import NotFoundError, ReleaseError
from headwater.index.contract import FILTERABLE, POINT_SCHEMA, IndexSpec
from headwater.index.edge_search import DENSE, EXACT_POINTS, PAYLOAD, SPARSE, EdgeSearcher
from headwater.index.files import copy_tree, remove_tree, replace_folder, sync_tree

if TYPE_CHECKING:
    from qdrant_edge import EdgeConfig, EdgeShard, Point

UPSERT_ROWS = 1000
"""Points per update operation: bounds memory; larger ones were not faster."""

HNSW_M = 16
HNSW_EF_CONSTRUCT = 128
"""Graph parameters for releases above EXACT_POINTS: Qdrant's default links, a slightly wider construction beam."""

_MANIFEST = "release.json"
_SHARD = "shard"


class EdgeEngine:
    """The releases of one corpus under ``path``. Implements :class:`headwater.index.contract.ReleaseEngine`."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def stage(self, release: int, parent: int | None, spec: IndexSpec) -> None:
        """Start ``release``; a half-built one of the same number is replaced.

        Raises ReleaseError if ``release`` is sealed or ``parent`` was made for another spec, NotFoundError if
        there is no such parent.
        """
        if self._sealed(release).exists():
            raise ReleaseError(
                f"release {release} in {self.path} is sealed and can't be staged again; take the next number"
            )
        self._sweep()
        partial = self._partial(release)
        remove_tree(partial)
        partial.mkdir(parents=True)
        if parent is None:
            self._create(partial / _SHARD, spec)
        else:
            held = _spec(self._manifest(parent))
            if held != spec:
                raise ReleaseError(
                    f"release {parent} holds vectors of {held}, not of {spec}; stage release {release} without a parent"
                )
            copy_tree(self._sealed(parent) / _SHARD, partial / _SHARD)
        # Last: a release without it was not staged to the end.
        (partial / _MANIFEST).write_text(json.dumps({"dimensions": spec.dimensions, "fingerprint": spec.fingerprint}))

    def apply(self, release: int, upserts: Iterable[pa.RecordBatch], deletes: Iterable[Sequence[str]]) -> None:
        """Delete, then write; on disk when it returns. Raises ReleaseError if the release is not being built."""
        from qdrant_edge import UpdateOperation

        dimensions = _spec(self._staged(release)).dimensions
        with self._writing(release) as shard:
            for ids in deletes:
                if ids:
                    shard.update(UpdateOperation.delete_points(list(ids)))
            for batch in upserts:
                for start in range(0, batch.num_rows, UPSERT_ROWS):
                    points = _points(batch.slice(start, UPSERT_ROWS), dimensions)
                    shard.update(UpdateOperation.upsert_points(points))

    def seal(self, release: int) -> None:
        """Optimise, sync to disk, and give the release its final name; a sealed release is left as it is."""
        from qdrant_edge import CountRequest

        if self._sealed(release).exists():
            return
        manifest = self._staged(release)
        with self._writing(release) as shard:
            shard.optimize()
            manifest["count"] = shard.count(CountRequest())
        manifest["engine"] = _engine()
        partial = self._partial(release)
        (partial / _MANIFEST).write_text(json.dumps(manifest))
        sync_tree(partial)
        replace_folder(partial, self._sealed(release))

    def open(self, release: int) -> EdgeSearcher:
        """Open a sealed release for reading, from any number of threads and processes at once."""
        from qdrant_edge import EdgeShard

        manifest = self._manifest(release)
        try:
            shard = EdgeShard.load(str(self._sealed(release) / _SHARD))
        except Exception as error:  # the engine raises bare Exception
            if not self._sealed(release).exists():
                raise self._missing(release) from error
            raise ReleaseError(
                f"release {release} in {self.path} was written by {manifest.get('engine')} and can't be opened by "
                f"{_engine()} ({error}); roll back to another release or reindex"
            ) from error
        return EdgeSearcher(release, shard, _spec(manifest), int(manifest["count"]))

    def releases(self) -> list[int]:
        """Return the numbers of all sealed releases, ascending."""
        if not self.path.is_dir():
            return []
        return sorted(int(entry.name) for entry in self.path.iterdir() if entry.name.isdecimal())

    def drop(self, release: int) -> None:
        """Remove a release, sealed or half-built; whoever has it open keeps reading it until closed."""
        for folder in (self._sealed(release), self._partial(release)):
            if folder.exists():
                # First out of sight in one step: nobody can open a release that is half removed.
                replace_folder(folder, self.path / f"{folder.name}.dropped")
        self._sweep()

    def _sweep(self) -> None:
        for leftover in self.path.glob("*.dropped"):
            remove_tree(leftover)

    def _sealed(self, release: int) -> Path:
        return self.path / str(release)

    def _partial(self, release: int) -> Path:
        return self.path / f"{release}.partial"

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

    def _create(self, folder: Path, spec: IndexSpec) -> None:
        from qdrant_edge import EdgeShard, PayloadSchemaType, UpdateOperation

        folder.mkdir()
        shard = EdgeShard.create(str(folder), _config(spec.dimensions))
        for name in (*FILTERABLE, "readers"):
            kind = (
                PayloadSchemaType.Integer
                if pa.types.is_integer(POINT_SCHEMA.field(name).type)
                else PayloadSchemaType.Keyword
            )
            shard.update(UpdateOperation.create_field_index(name, kind))
        shard.flush()
        shard.close()
        # The first opening writes the configuration in its final form; no later one changes it any more.
        EdgeShard.load(str(folder)).close()

    @contextmanager
    def _writing(self, release: int) -> Iterator[EdgeShard]:
        from qdrant_edge import EdgeShard

        try:
            shard = EdgeShard.load(str(self._partial(release) / _SHARD))
            try:
                yield shard
                shard.flush()
            finally:
                shard.close()
        except ReleaseError:
            raise
        except Exception as error:  # the engine raises bare Exception
            raise ReleaseError(
                f"release {release} in {self.path} could not be written ({error}); no release was changed. Reindex "
                "to build it anew"
            ) from error


def _config(dimensions: int) -> EdgeConfig:
    from qdrant_edge import (
        Distance,
        EdgeConfig,
        EdgeOptimizersConfig,
        EdgeSparseVectorParams,
        EdgeVectorParams,
        HnswIndexConfig,
        Modifier,
    )

    return EdgeConfig(
        vectors={DENSE: EdgeVectorParams(size=dimensions, distance=Distance.Dot)},  # unit vectors: dot is cosine
        sparse_vectors={SPARSE: EdgeSparseVectorParams(modifier=Modifier.Idf)},
        hnsw_config=HnswIndexConfig(m=HNSW_M, ef_construct=HNSW_EF_CONSTRUCT, full_scan_threshold=10_000),
        optimizers=EdgeOptimizersConfig(
            default_segment_number=1,
            # In KiB of vectors. Below it a graph would only cost time: such a release is searched exactly.
            indexing_threshold=max(1, EXACT_POINTS * dimensions * 4 // 1024),
        ),
        wal_enabled=False,
    )


def _points(batch: pa.RecordBatch, dimensions: int) -> list[Point]:
    from qdrant_edge import Point
    from qdrant_edge import SparseVector as EdgeSparseVector

    ids: list[str] = batch.column("chunk_id").to_pylist()
    dense = batch.column("vector")
    widths = np.asarray(dense.value_lengths().fill_null(0))
    if (widths != dimensions).any():
        row = int(np.argmax(widths != dimensions))
        raise ReleaseError(
            f"chunk {ids[row]} has a vector of {widths[row]} numbers, the release holds {dimensions}; "
            "embed it with the model that the release was staged for"
        )
    vectors = np.asarray(dense.flatten()).reshape(len(ids), dimensions).tolist()
    indices = batch.column("sparse_indices").to_pylist()
    values = batch.column("sparse_values").to_pylist()
    columns = [batch.column(name).to_pylist() for name in PAYLOAD]
    payloads = (dict(zip(PAYLOAD, row, strict=True)) for row in zip(*columns, strict=True))
    return [
        Point(point, {DENSE: vector, SPARSE: EdgeSparseVector(terms or [], weights or [])}, payload)
        for point, vector, terms, weights, payload in zip(ids, vectors, indices, values, payloads, strict=True)
    ]


def _spec(manifest: dict[str, Any]) -> IndexSpec:
    return IndexSpec(int(manifest["dimensions"]), str(manifest["fingerprint"]))


def _engine() -> str:
    return f"qdrant-edge-py {version('qdrant-edge-py')}"
