"""The contract of a release engine, run against every engine."""

from __future__ import annotations

import hashlib
import multiprocessing
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.errors import NotFoundError, ReleaseError
from headwater.index.contract import POINT_SCHEMA, IndexSpec, ReleaseEngine, SearchRequest, SparseVector
from headwater.index.edge import EdgeEngine
from headwater.index.fusion import rank, reciprocal_rank_fusion

DIMENSIONS = 16
SPEC = IndexSpec(DIMENSIONS, "model-a")
ENGINES: dict[str, Callable[[Path], ReleaseEngine]] = {"edge": EdgeEngine}


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> ReleaseEngine:
    return ENGINES[request.param](tmp_path / "index")


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
    """Points by (number, version); every seventh has the same vector as its fellows."""
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
) -> None:
    engine.stage(release, parent, SPEC)
    engine.apply(release, [batch(rows)] if rows else [], [[chunk_id(number) for number in deletes or []]])
    engine.seal(release)


def dense_request(number: int = 1, limit: int = 10, **fields: object) -> SearchRequest:
    return SearchRequest(limit=limit, dense=unit(number, 99), readers=fields.pop("readers", None), **fields)  # type: ignore[arg-type]


def numbers(count: int) -> list[tuple[int, int]]:
    return [(number, 0) for number in range(count)]


def test_a_sealed_release_holds_exactly_what_was_written(engine: ReleaseEngine) -> None:
    build(engine, 1, numbers(20))
    searcher = engine.open(1)
    assert searcher.release == 1
    assert searcher.count() == 20
    assert searcher.fingerprints() == {chunk_id(number): f"{number}/0" for number in range(20)}
    expected = batch([(3, 0)]).to_pylist()[0]
    (hit,) = searcher.retrieve([chunk_id(3), chunk_id(999)], with_vectors=True)
    np.testing.assert_allclose(hit.payload["vector"], unit(3), atol=1e-6)
    assert hit.score == 0.0
    payload = {name: value for name, value in hit.payload.items() if name != "vector"}
    assert payload == {name: expected[name] for name in POINT_SCHEMA.names if name in payload}
    assert set(POINT_SCHEMA.names) - set(payload) == {"vector", "sparse_indices", "sparse_values"}
    searcher.close()


def test_a_release_is_its_parent_plus_the_difference_and_leaves_the_parent_as_it_was(engine: ReleaseEngine) -> None:
    build(engine, 1, numbers(20))
    build(engine, 2, [(3, 1), (50, 0)], parent=1, deletes=[4, 5, 777])
    first, second = engine.open(1), engine.open(2)
    assert first.fingerprints() == {chunk_id(number): f"{number}/0" for number in range(20)}
    expected = {chunk_id(number): f"{number}/0" for number in range(20) if number not in (4, 5)}
    assert second.fingerprints() == expected | {chunk_id(3): "3/1", chunk_id(50): "50/0"}
    assert second.retrieve([chunk_id(3)])[0].payload["text"] == "text 3 1"
    assert engine.releases() == [1, 2]
    first.close()
    second.close()


def test_applying_the_same_change_twice_is_the_same_as_once(engine: ReleaseEngine) -> None:
    build(engine, 1, numbers(10))
    engine.stage(2, 1, SPEC)
    for _ in range(2):
        engine.apply(2, [batch([(1, 1), (30, 0)])], [[chunk_id(2)]])
    engine.seal(2)
    engine.seal(2)
    searcher = engine.open(2)
    assert searcher.count() == 10
    assert searcher.fingerprints()[chunk_id(1)] == "1/1"
    searcher.close()


def test_only_sealed_releases_can_be_opened(engine: ReleaseEngine) -> None:
    with pytest.raises(NotFoundError, match="there are: none"):
        engine.open(1)
    engine.stage(1, None, SPEC)
    engine.apply(1, [batch(numbers(3))], [])
    with pytest.raises(NotFoundError):
        engine.open(1)
    assert engine.releases() == []
    # A process killed here leaves a half-built release: staging it again starts over.
    engine.stage(1, None, SPEC)
    engine.seal(1)
    assert engine.open(1).count() == 0
    with pytest.raises(ReleaseError, match="sealed"):
        engine.stage(1, None, SPEC)
    with pytest.raises(ReleaseError, match="stage it first"):
        engine.apply(1, [batch(numbers(3))], [])


def test_a_release_of_another_model_can_not_start_from_this_one(engine: ReleaseEngine) -> None:
    build(engine, 1, numbers(3))
    with pytest.raises(ReleaseError, match="without a parent"):
        engine.stage(2, 1, IndexSpec(DIMENSIONS, "model-b"))
    with pytest.raises(NotFoundError):
        engine.stage(2, 7, SPEC)
    engine.stage(2, None, IndexSpec(8, "model-b"))
    with pytest.raises(ReleaseError, match=chunk_id(0)):
        engine.apply(2, [batch(numbers(1))], [])


def test_a_dropped_release_is_gone_but_an_open_searcher_keeps_reading_it(engine: ReleaseEngine) -> None:
    build(engine, 1, numbers(50))
    build(engine, 2, [], parent=1)
    engine.stage(3, 1, SPEC)
    searcher = engine.open(1)
    before = searcher.search(dense_request())
    for release in (1, 3, 99):
        engine.drop(release)
    assert engine.releases() == [2]
    assert searcher.search(dense_request()) == before
    assert len(searcher.fingerprints()) == 50
    searcher.close()
    with pytest.raises(NotFoundError):
        engine.open(1)
    with pytest.raises(ReleaseError, match="stage it first"):
        engine.seal(3)
    assert engine.open(2).count() == 50


def test_dense_search_finds_the_nearest_points(engine: ReleaseEngine) -> None:
    build(engine, 1, numbers(300))
    searcher = engine.open(1)
    vectors = np.stack([unit(0 if number % 7 == 0 else number) for number in range(300)])
    for query in range(10):
        scores = vectors @ unit(query, 99)
        expected = sorted(range(300), key=lambda number: (-round(float(scores[number]), 5), chunk_id(number)))[:10]
        hits = searcher.search(dense_request(query))
        assert [hit.chunk_id for hit in hits] == [chunk_id(number) for number in expected]
        np.testing.assert_allclose([hit.score for hit in hits], scores[expected], atol=1e-5)
    searcher.close()


def test_sparse_search_weighs_terms_by_how_rare_they_are(engine: ReleaseEngine) -> None:
    engine.stage(1, None, SPEC)
    common, rare = np.uint32(5), np.uint32(9)
    rows = [batch([(number, 0)], sparse_indices=[common], sparse_values=[1.0], readers=["*"]) for number in range(1, 9)]
    rows.append(batch([(9, 0)], sparse_indices=[rare], sparse_values=[1.0], readers=["*"]))
    rows.append(batch([(10, 0)], sparse_indices=[], sparse_values=[], readers=["*"]))
    engine.apply(1, rows, [])
    engine.seal(1)
    searcher = engine.open(1)
    query = SparseVector(np.array([common, rare], dtype=np.uint32), np.ones(2, dtype=np.float32))
    hits = searcher.search(SearchRequest(limit=20, sparse=query))
    assert [hit.chunk_id for hit in hits] == [chunk_id(9), *sorted(chunk_id(number) for number in range(1, 9))]
    assert len({hit.score for hit in hits}) == 2
    nothing = SparseVector(np.empty(0, dtype=np.uint32), np.empty(0, dtype=np.float32))
    assert searcher.search(SearchRequest(limit=5, sparse=nothing)) == []
    searcher.close()


def test_hybrid_search_fuses_both_rankings_by_reciprocal_rank(engine: ReleaseEngine) -> None:
    build(engine, 1, numbers(100))
    searcher = engine.open(1)
    sparse = SparseVector(*terms(3))
    one = searcher.search(SearchRequest(limit=30, dense=unit(3, 99), readers=None))
    other = searcher.search(SearchRequest(limit=30, sparse=sparse, readers=None))
    expected: dict[str, float] = {}
    for hits in (one, other):
        for place, hit in enumerate(hits, 1):
            expected[hit.chunk_id] = expected.get(hit.chunk_id, 0) + 1 / (60 + place)
    hits = searcher.search(SearchRequest(limit=10, dense=unit(3, 99), sparse=sparse, readers=None, candidates=30))
    assert [hit.chunk_id for hit in hits] == sorted(expected, key=lambda key: (-expected[key], key))[:10]
    np.testing.assert_allclose([hit.score for hit in hits], [expected[hit.chunk_id] for hit in hits])
    searcher.close()


@pytest.mark.parametrize("mode", ["dense", "sparse", "hybrid"])
def test_permissions_and_filters_hold_inside_the_search(engine: ReleaseEngine, mode: str) -> None:
    build(engine, 1, numbers(200))
    searcher = engine.open(1)
    vectors = {
        "dense": unit(2, 99) if mode != "sparse" else None,
        "sparse": SparseVector(np.arange(40, dtype=np.uint32), np.ones(40, dtype=np.float32))
        if mode != "dense"
        else None,
    }

    def found(**fields: object) -> set[str]:
        return {hit.chunk_id for hit in searcher.search(SearchRequest(limit=200, candidates=200, **vectors, **fields))}  # type: ignore[arg-type]

    public = {chunk_id(number) for number in range(200) if number % 5}
    everything = {chunk_id(number) for number in range(200)}
    assert found(readers=None) == everything
    assert found() == public
    assert found(readers=frozenset({"staff"})) == everything - public
    assert found(readers=frozenset({"*", "staff", "x"})) == everything
    assert found(readers=frozenset()) == set()
    assert found(filters={"doc_id": "doc3"}) == public & {chunk_id(number) for number in range(12, 16)}
    pages = {chunk_id(number) for number in range(200) if number % 3 == 1 and number % 2}
    assert found(filters={"page": 1, "content_type": ["text/markdown"]}) == public & pages
    assert found(filters={"key": ["folder/0.md", "folder/1.md", "nothing"]}) == public & {chunk_id(n) for n in range(8)}
    searcher.close()


@pytest.mark.parametrize(
    "filters", [{"readers": "staff"}, {"text": "x"}, {"page": "1"}, {"doc_id": []}, {"key": {"a": 1}}]
)
def test_a_filter_that_can_not_be_used_is_an_error(engine: ReleaseEngine, filters: dict[str, object]) -> None:
    build(engine, 1, numbers(3))
    searcher = engine.open(1)
    with pytest.raises(ReleaseError, match="filter"):
        searcher.search(dense_request(filters=filters))
    searcher.close()


def test_searching_wrongly_says_what_to_do(engine: ReleaseEngine) -> None:
    build(engine, 1, numbers(3))
    searcher = engine.open(1)
    with pytest.raises(ReleaseError, match="16 dimensions"):
        searcher.search(SearchRequest(limit=3, dense=np.ones(8, dtype=np.float32)))
    with pytest.raises(ReleaseError, match="needs a dense vector"):
        searcher.search(SearchRequest(limit=3))
    searcher.close()
    searcher.close()
    with pytest.raises(ReleaseError, match="open it again"):
        searcher.search(dense_request())


steps = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2)), max_size=12),
        st.lists(st.integers(0, 30), max_size=8),
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.slow
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_any_sequence_of_releases_searches_like_one_built_from_scratch(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[list[tuple[int, int]], list[int]]]
) -> None:
    for make in ENGINES.values():
        engine = make(tmp_path_factory.mktemp("index"))
        build(engine, 1, numbers(25))
        wanted = dict(numbers(25))
        for release, (upserts, deletes) in enumerate(steps, 2):
            unique = dict(upserts)
            build(engine, release, list(unique.items()), parent=release - 1, deletes=deletes)
            wanted = {number: version for number, version in wanted.items() if number not in deletes} | unique
        last = len(steps) + 1
        build(engine, 100, sorted(wanted.items(), reverse=True))
        one, other = engine.open(last), engine.open(100)
        assert one.fingerprints() == other.fingerprints()
        for query in range(5):
            sparse = SparseVector(*terms(query, 5))
            for request in (
                dense_request(query, limit=8),
                SearchRequest(limit=8, sparse=sparse),
                SearchRequest(limit=8, dense=unit(query, 99), sparse=sparse, candidates=12),
            ):
                left, right = one.search(request), other.search(request)
                assert [hit.chunk_id for hit in left] == [hit.chunk_id for hit in right]
                assert [hit.payload for hit in left] == [hit.payload for hit in right]
                np.testing.assert_allclose([hit.score for hit in left], [hit.score for hit in right], rtol=1e-5)
        one.close()
        other.close()


def test_edge_deleted_points_weigh_nothing_in_a_release_with_a_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("edge", "edge_search"):
        monkeypatch.setattr(f"headwater.index.{module}.EXACT_POINTS", 10)
    engine = EdgeEngine(tmp_path)
    build(engine, 1, numbers(300))
    build(engine, 2, [], parent=1, deletes=list(range(250, 300)))
    build(engine, 3, numbers(250))
    churned, fresh = engine.open(2), engine.open(3)
    for query in range(10):
        request = SearchRequest(limit=20, sparse=SparseVector(*terms(query, 5)))
        one, other = churned.search(request), fresh.search(request)
        assert [hit.chunk_id for hit in one] == [hit.chunk_id for hit in other]
        np.testing.assert_allclose([hit.score for hit in one], [hit.score for hit in other], rtol=1e-5)
    vectors = np.stack([unit(0 if number % 7 == 0 else number) for number in range(250)])
    found = 0
    for query in range(10):
        nearest = {chunk_id(int(number)) for number in np.argsort(-(vectors @ unit(query, 99)))[:10]}
        found += len(nearest & {hit.chunk_id for hit in churned.search(dense_request(query))})
    assert found >= 95
    churned.close()
    fresh.close()


def _read_repeatedly(make: Callable[[Path], ReleaseEngine], path: Path) -> list[list[str]]:
    engine = make(path)
    results = []
    for _ in range(5):
        searcher = engine.open(1)
        results.append([hit.chunk_id for hit in searcher.search(dense_request())])
        searcher.close()
    return results


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_several_processes_read_one_release_while_the_next_is_built(name: str, tmp_path: Path) -> None:
    engine = ENGINES[name](tmp_path)
    build(engine, 1, numbers(200))
    expected = [hit.chunk_id for hit in engine.open(1).search(dense_request())]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        readers = [pool.apply_async(_read_repeatedly, (ENGINES[name], tmp_path)) for _ in range(4)]
        for release in range(2, 8):
            build(engine, release, [(release, 1)], parent=1)
        assert [reader.get(timeout=120) for reader in readers] == [[expected] * 5] * 4
    for release in range(2, 8):
        searcher = engine.open(release)
        assert searcher.count() == 200
        assert searcher.fingerprints()[chunk_id(release)] == f"{release}/1"
        searcher.close()


def test_several_threads_search_one_searcher(engine: ReleaseEngine) -> None:
    build(engine, 1, numbers(200))
    searcher = engine.open(1)
    expected = [searcher.search(dense_request(query)) for query in range(20)]
    wrong: list[int] = []

    def work() -> None:
        wrong.extend(query for query in range(20) if searcher.search(dense_request(query)) != expected[query])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    searcher.close()


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_edge_reading_a_sealed_release_changes_no_byte_of_it(tmp_path: Path) -> None:
    engine = EdgeEngine(tmp_path)
    build(engine, 1, numbers(50))
    before = contents(tmp_path / "1")
    for _ in range(2):
        searcher = engine.open(1)
        searcher.search(dense_request())
        searcher.fingerprints()
        searcher.close()
    build(engine, 2, [(1, 1)], parent=1, deletes=[2])
    assert contents(tmp_path / "1") == before


def test_edge_a_small_release_is_small_on_disk(tmp_path: Path) -> None:
    engine = EdgeEngine(tmp_path)
    build(engine, 1, numbers(50))
    build(engine, 2, [], parent=1)
    for release in ("1", "2"):
        blocks = sum(path.stat().st_blocks for path in (tmp_path / release).rglob("*"))
        assert blocks * 512 < 4 * 2**20


def test_edge_a_damaged_release_says_how_to_go_on(tmp_path: Path) -> None:
    engine = EdgeEngine(tmp_path)
    build(engine, 1, numbers(5))
    for path in (tmp_path / "1" / "shard" / "segments").rglob("segment.json"):
        path.write_text("{")
    with pytest.raises(ReleaseError, match="roll back"):
        engine.open(1)


def test_ties_are_broken_by_id_and_noise_is_a_tie() -> None:
    ids, scores = rank(["d", "c", "b", "a"], [2.0, 5.0, 2.0 + 1e-7, 1.0])
    assert ids == ["c", "b", "d", "a"]
    assert scores[1] == scores[2]
    assert rank([], []) == ([], [])


def test_fusion_prefers_what_both_rankings_hold() -> None:
    ids, scores = reciprocal_rank_fusion([["a", "b", "c"], ["c", "d"]], 60)
    assert ids == ["c", "a", "b", "d"]
    assert scores[0] == pytest.approx(1 / 63 + 1 / 61)
    assert ids[2:] == ["b", "d"]  # equal scores
