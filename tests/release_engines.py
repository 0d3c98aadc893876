"""The engines that the index tests run against, and the points that they put into them."""

from __future__ import annotations

import atexit
import os
import threading
import uuid
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from qdrant_client import QdrantClient

from headwater.hashing import digest
from headwater.index.apart import SearcherApart
from headwater.index.contract import POINT_SCHEMA, IndexSpec, ReleaseEngine, SearchRequest
from headwater.index.edge import EdgeEngine
from headwater.index.server import ServerEngine
from headwater.policies import IndexPolicy
from tests.qdrant_server import QdrantServer, qdrant_server

DIMENSIONS = 16
SPEC = IndexSpec(DIMENSIONS, "model-a")

QUIET = pytest.mark.filterwarnings("ignore:Payload indexes have no effect", "ignore:Local mode performs exact")
"""The client's in-memory mode says at every turn that it has no indexes."""


class SerialClient:
    """The client's in-memory mode, which implements the server's functions, but not for several threads at once."""

    def __init__(self) -> None:
        self._client = QdrantClient(":memory:")
        self._lock = threading.RLock()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*arguments: Any, **named: Any) -> Any:
            with self._lock:
                return method(*arguments, **named)

        return call


_clients: dict[Path, SerialClient] = {}


def memory_client(path: Path) -> Any:
    """Return the in-memory server that stands for ``path``: engines on the same path share it."""
    return _clients.setdefault(path, SerialClient())


def memory_engine(path: Path) -> ServerEngine:
    return ServerEngine(lambda: memory_client(path), "notes")


def server_engine(path: Path) -> ServerEngine:
    return ServerEngine(
        os.environ["HEADWATER_TEST_QDRANT_URL"], f"test-{digest(path)[:12]}", api_key=os.environ.get("QDRANT_API_KEY")
    )


ENGINES: dict[str, Callable[[Path], ReleaseEngine]] = {"edge": EdgeEngine, "memory": memory_engine}
if os.environ.get("HEADWATER_TEST_QDRANT_URL"):
    ENGINES["server"] = server_engine


@cache
def _wire() -> QdrantServer:
    """The one server of this process that speaks Qdrant's protocol; it ends with the process."""
    running = qdrant_server()
    atexit.register(running.__exit__, None, None, None)
    return running.__enter__()


def wire_engine(path: Path) -> ServerEngine:
    server = _wire()
    policy = IndexPolicy(url=server.url, grpc_port=server.grpc_port)
    return ServerEngine(server.url, f"test-{digest(path)[:12]}", policy=policy)


class ApartEngine(EdgeEngine):
    """The embedded engine as a service uses it: it searches in another process."""

    def open(self, release: int) -> SearcherApart:
        return SearcherApart(self.path, release)


OVER_THE_WIRE: dict[str, Callable[[Path], ReleaseEngine]] = {**ENGINES, "apart": ApartEngine, "wire": wire_engine}
"""The engines, and both once more in another process: the server's over its own protocol."""

SHARED = sorted(ENGINES.keys() - {"memory"})
"""The engines that several processes can use at once."""


def chunk_id(number: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, str(number)))


def unit(number: int, version: int = 0, dimensions: int = DIMENSIONS) -> np.ndarray:
    vector = np.random.default_rng([number, version]).normal(size=dimensions)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def terms(number: int, version: int = 0) -> tuple[np.ndarray, np.ndarray]:
    # Few different lengths and frequencies, so that equal scores are common.
    generator = np.random.default_rng([number, version, 1])
    indices = np.unique(generator.zipf(1.5, 6) % 40).astype(np.uint32)
    return indices, np.ones(len(indices), dtype=np.float32)


def batch(rows: list[tuple[int, int]], dimensions: int = DIMENSIONS, **overrides: object) -> pa.RecordBatch:
    """Points by (number, version), four to a document; every seventh has the same vector as its fellows."""
    records = []
    for number, version in rows:
        indices, values = terms(number, version)
        records.append(
            {
                "chunk_id": chunk_id(number),
                "fingerprint": f"{number}/{version}",
                "vector": unit(0 if number % 7 == 0 else number, version, dimensions),
                "sparse_indices": indices,
                "sparse_values": values,
                "doc_id": f"doc{number // 4}",
                "key": f"folder/{number // 4}.md",
                "revision": f"r{version}",
                "title": "A title",
                "section": ["One", "Two"],
                "page": number % 3 or None,
                "start": number * 10,
                "end": number * 10 + 9,
                "text": f"text {number} {version}",
                "content_type": "text/markdown" if number % 2 else "text/html",
                "readers": ["*"] if number % 5 else ["staff"],
                **overrides,
            }
        )
    return pa.RecordBatch.from_pylist(records, schema=POINT_SCHEMA)


def build(
    engine: ReleaseEngine,
    release: int,
    rows: list[tuple[int, int]],
    parent: int | None = None,
    deletes: list[int] | None = None,
    spec: IndexSpec = SPEC,
) -> None:
    engine.stage(release, parent, spec)
    upserts = [batch(rows, spec.dimensions)] if rows else []
    engine.apply(release, upserts, [[chunk_id(number) for number in deletes or []]])
    engine.seal(release)


def dense_request(number: int = 1, limit: int = 10, **fields: Any) -> SearchRequest:
    return SearchRequest(limit=limit, dense=unit(number, 99), readers=fields.pop("readers", None), **fields)


def numbers(count: int) -> list[tuple[int, int]]:
    return [(number, 0) for number in range(count)]


def held(engine: ReleaseEngine, release: int) -> dict[str, str]:
    """Return what a release holds: chunk id to fingerprint."""
    searcher = engine.open(release)
    try:
        found = searcher.fingerprints()
        assert searcher.count() == len(found)
        return found
    finally:
        searcher.close()


def wanted(rows: list[tuple[int, int]]) -> dict[str, str]:
    """Return what a release of ``rows`` holds."""
    return {chunk_id(number): f"{number}/{version}" for number, version in rows}


def clean_up(engine: ReleaseEngine) -> None:
    """Remove what a test left on a server."""
    if isinstance(engine, ServerEngine):
        for release in engine.releases():
            engine.drop(release)
