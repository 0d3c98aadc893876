"""What it costs that one collection holds several releases, and what changing a release costs.

    python benchmarks/index_releases.py [--points 20000 100000] [--queries 200]

First part: searches filtered by ``born <= s < died``, with 0, 20 and 50 % dead points beside the living ones, as ratios
to the same search on the living points alone and without a filter. Embedded engine (the server's, in process), 384
dimensions, vectors in clusters as texts have them, BM25-like sparse vectors. Recall@10 is against comparing all living
points. Second part: seconds to build a release, to build the next one with 1 % changed, and to redact one.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from qdrant_edge import (
    EdgeShard,
    FieldCondition,
    Filter,
    IdfParams,
    PayloadSchemaType,
    Point,
    Query,
    QueryRequest,
    RangeFloat,
    SearchParams,
    SparseVector,
    UpdateOperation,
)

from headwater.hashing import chunk_id
from headwater.index.contract import POINT_SCHEMA, IndexSpec
from headwater.index.edge import EdgeEngine
from headwater.index.edge_shard import create_shard, opened
from headwater.index.request import DENSE, EXACT_POINTS, HNSW_EF, SPARSE

DIMENSIONS = 384
CLUSTERS = 500
VOCABULARY = 20_000
TERMS = 40
STATE = 7
ALIVE = 2**31 - 1


def vectors(count: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(CLUSTERS, DIMENSIONS))
    found = centres[generator.integers(0, CLUSTERS, count)] + 0.7 * generator.normal(size=(count, DIMENSIONS))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def terms(count: int, seed: int, each: int = TERMS) -> Iterator[list[int]]:
    generator = np.random.default_rng(seed)
    for row in generator.zipf(1.3, (count, each)):
        yield np.unique(row % VOCABULARY).tolist()


def payload(number: int) -> dict[str, Any]:
    return {
        "fingerprint": f"{number:032x}",
        "doc_id": f"{number // 8:032x}",
        "key": f"folder/{number // 8}.md",
        "revision": f"{number // 8:032x}",
        "title": "A title",
        "section": ["One", "Two"],
        "page": number % 20,
        "start": 0,
        "end": 900,
        "text": f"{number} lorem ipsum dolor sit amet " * 25,
        "content_type": "text/markdown",
        "readers": ["*"],
    }


def fill(folder: Path, dense: np.ndarray, dead: np.ndarray) -> None:
    create_shard(folder, DIMENSIONS)
    with opened(folder) as shard:
        for field in ("born", "died"):
            shard.update(UpdateOperation.create_field_index(field, PayloadSchemaType.Integer))
        sparse = list(terms(len(dense), 2))
        for start in range(0, len(dense), 1000):
            shard.update(
                UpdateOperation.upsert_points(
                    [
                        Point(
                            chunk_id("benchmark", number),
                            {
                                DENSE: dense[number].tolist(),
                                SPARSE: SparseVector(sparse[number], [1.0] * len(sparse[number])),
                            },
                            payload(number) | {"born": number % STATE, "died": STATE if dead[number] else ALIVE},
                        )
                        for number in range(start, min(start + 1000, len(dense)))
                    ]
                )
            )
        shard.optimize()
        shard.flush()


def timed(run: Callable[[int], Any], queries: int) -> tuple[float, float, list[Any]]:
    """Return p50 and p99 in ms, and the results."""
    for query in range(20):
        run(query)
    took, results = [], []
    for query in range(queries):
        started = time.perf_counter()
        results.append(run(query))
        took.append((time.perf_counter() - started) * 1000)
    return float(np.percentile(took, 50)), float(np.percentile(took, 99)), results


def measure(shard: EdgeShard, seen: Filter | None, exact: bool, asked: np.ndarray, words: list[list[int]]) -> Any:
    def search(query: Query, params: SearchParams) -> list[str]:
        request = QueryRequest(limit=116, query=query, filter=seen, params=params, with_payload=False)
        return [str(point.id) for point in shard.query(request)]

    nearest = SearchParams(exact=exact, hnsw_ef=HNSW_EF)
    corpus = SearchParams(idf=IdfParams(seen or Filter()))
    dense = timed(lambda q: search(Query.Nearest(asked[q].tolist(), using=DENSE), nearest), len(asked))
    sparse = timed(
        lambda q: search(Query.Nearest(SparseVector(words[q], [1.0] * len(words[q])), using=SPARSE), corpus), len(asked)
    )
    return dense, sparse


def filters(points: int, queries: int) -> None:
    asked, words = vectors(queries, 9), list(terms(queries, 8, 6))
    seen = Filter(
        must=[FieldCondition("born", range=RangeFloat(lte=STATE)), FieldCondition("died", range=RangeFloat(gt=STATE))]
    )
    exact = points <= EXACT_POINTS
    alone: tuple[tuple[float, float], tuple[float, float]] | None = None
    for share in (None, 0.0, 0.2, 0.5):
        total = int(points / (1 - (share or 0)))
        dense = vectors(total, 1)
        dead = np.zeros(total, dtype=bool)
        dead[np.random.default_rng(5).permutation(total)[: total - points]] = True
        with tempfile.TemporaryDirectory() as folder:
            fill(Path(folder) / "shard", dense, dead)
            with opened(Path(folder) / "shard") as shard:
                found = measure(shard, None if share is None else seen, exact, asked, words)
        living = np.flatnonzero(~dead)
        best = np.argsort(-(asked @ dense[living].T), axis=1)[:, :10]
        recall = np.mean(
            [
                len({chunk_id("benchmark", int(living[n])) for n in row} & set(ids[:10])) / 10
                for row, ids in zip(best, found[0][2], strict=True)
            ]
        )
        timings = tuple((p50, p99) for p50, p99, _ in found)
        alone = alone or timings  # type: ignore[assignment]
        name = "no filter" if share is None else f"{share:.0%} dead"
        for kind, now, base in zip(("dense", "sparse"), timings, alone or timings, strict=True):
            print(
                f"{points:>7} points  {name:<9}  {kind:<6}  p50 {now[0]:6.2f} ms (x{now[0] / base[0]:.2f})  "
                f"p99 {now[1]:6.2f} ms (x{now[1] / base[1]:.2f})"
                + (f"  recall@10 {recall:.3f}" if kind == "dense" else ""),
                flush=True,
            )


def batches(dense: np.ndarray, offset: int = 0) -> Iterator[pa.RecordBatch]:
    sparse = list(terms(len(dense), 2))
    for start in range(0, len(dense), 1000):
        rows = [
            {
                "chunk_id": chunk_id("benchmark", number + offset),
                "vector": dense[number],
                "sparse_indices": sparse[number],
                "sparse_values": [1.0] * len(sparse[number]),
                **payload(number + offset),
            }
            for number in range(start, min(start + 1000, len(dense)))
        ]
        yield pa.RecordBatch.from_pylist(rows, schema=POINT_SCHEMA)


def changes(points: int) -> None:
    spec = IndexSpec(DIMENSIONS, "benchmark")
    with tempfile.TemporaryDirectory() as folder:
        engine = EdgeEngine(Path(folder))
        documents = [f"{number:032x}" for number in range(points // 800)]  # 1 % of the chunks

        def build(release: int, parent: int | None, count: int) -> None:
            ready = list(batches(vectors(count, release)))
            started = time.perf_counter()
            engine.stage(release, parent, spec)
            engine.apply(release, ready, [])
            engine.seal(release)
            took.append(("build" if parent is None else "next, 1 % changed", time.perf_counter() - started))

        def redact(what: str, **arguments: Any) -> None:
            started = time.perf_counter()
            engine.redact(2, **arguments)
            took.append((what, time.perf_counter() - started))

        took: list[tuple[str, float]] = []
        build(1, None, points)
        build(2, 1, points // 100)
        redact("nothing to change", readers={documents[0]: ["*"]})
        redact("narrow 1 %", readers={key: ["law"] for key in documents})
        redact("forget one document", forget=documents[:1])
        for what, seconds in took:
            print(
                f"{points:>7} points  {what:<22} {seconds:7.2f} s (x{seconds / took[0][1]:.2f} of a build)", flush=True
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--queries", type=int, default=200)
    arguments = parser.parse_args()
    for points in arguments.points:
        filters(points, arguments.queries)
    for points in arguments.points:
        changes(points)


if __name__ == "__main__":
    main()
