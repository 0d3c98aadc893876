"""The contract of a release engine, run against every engine: one release, and searching it."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headwater.dates import period
from headwater.errors import NotFoundError, ReleaseError
from headwater.index.contract import POINT_SCHEMA, IndexSpec, ReleaseEngine, SearchRequest, SparseVector
from headwater.index.edge import EdgeEngine
from headwater.index.fusion import rank, reciprocal_rank_fusion
from tests.release_engines import (
    DIMENSIONS,
    ENGINES,
    OVER_THE_WIRE,
    QUIET,
    SHARED,
    SPEC,
    batch,
    build,
    chunk_id,
    clean_up,
    dense_request,
    numbers,
    terms,
    unit,
)

pytestmark = QUIET


@pytest.fixture(params=sorted(OVER_THE_WIRE))
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ReleaseEngine]:
    engine = OVER_THE_WIRE[request.param](tmp_path / "index")
    yield engine
    clean_up(engine)


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


def test_a_dropped_release_is_gone_and_an_open_searcher_sees_all_of_it_or_says_so(engine: ReleaseEngine) -> None:
    build(engine, 1, numbers(50))
    build(engine, 2, [], parent=1, deletes=[1])
    engine.stage(3, 1, SPEC)
    searcher = engine.open(1)
    before = searcher.search(dense_request())
    for release in (1, 3, 99):
        engine.drop(release)
    assert engine.releases() == [2]
    if isinstance(engine, EdgeEngine):
        assert searcher.search(dense_request()) == before
        assert len(searcher.fingerprints()) == 50
    else:
        for read in (searcher.count, searcher.fingerprints, lambda: searcher.search(dense_request())):
            with pytest.raises(ReleaseError, match="open it again"):
                read()
    searcher.close()
    with pytest.raises(NotFoundError):
        engine.open(1)
    with pytest.raises(ReleaseError, match="stage it first"):
        engine.seal(3)
    assert engine.open(2).count() == 49


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


@pytest.mark.parametrize("mode", ["dense", "sparse", "hybrid"])
def test_no_score_tells_of_points_that_the_asker_may_not_read(engine: ReleaseEngine, mode: str) -> None:
    readable = [number for number in range(120) if number % 5]
    build(engine, 1, [(number, 0) for number in readable])
    build(engine, 2, numbers(120))
    build(engine, 3, numbers(180))
    build(engine, 4, [], parent=3, deletes=list(range(120, 180)))
    without, *beside_hidden = (engine.open(release) for release in (1, 2, 4))
    public = {chunk_id(number) for number in readable}
    for number, filters in enumerate([{}, {"page": 1}, {"content_type": "text/html"}] * 4):
        request = SearchRequest(
            limit=20,
            dense=unit(number, 99) if mode != "sparse" else None,
            sparse=SparseVector(*terms(number, 5)) if mode != "dense" else None,
            dense_weight=0.6,
            filters=filters | {"doc_id": [f"doc{one}" for one in range(30)]},
        )
        wanted = without.search(request)
        assert wanted and {hit.chunk_id for hit in wanted} <= public
        for searcher in beside_hidden:
            hits = searcher.search(request)
            assert [hit.chunk_id for hit in hits] == [hit.chunk_id for hit in wanted]
            for hit, other in zip(hits, wanted, strict=True):
                assert hit.score == pytest.approx(other.score, rel=1e-5)
                assert hit.found.keys() == other.found.keys()
                for name, place in hit.found.items():
                    assert place == pytest.approx(other.found[name], rel=1e-5)
        # Everybody's words count for those who may read everything, whichever way they are let in.
        everyone, staff = (
            [(hit.chunk_id, hit.score) for hit in beside_hidden[1].search(replace(request, readers=readers))]
            for readers in (None, frozenset({"*", "staff", *(f"g{one}" for one in range(20))}))
        )
        assert [chunk for chunk, _ in everyone] == [chunk for chunk, _ in staff]
        np.testing.assert_allclose([score for _, score in everyone], [score for _, score in staff], rtol=1e-5)
    for searcher in (without, *beside_hidden):
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


def test_searches_together_find_what_each_finds_alone(engine: ReleaseEngine) -> None:
    build(engine, 1, numbers(100))
    searcher = engine.open(1)
    nothing = SparseVector(np.array([], dtype=np.uint32), np.array([], dtype=np.float32))
    requests = [
        dense_request(3),
        SearchRequest(limit=5, sparse=SparseVector(*terms(3)), readers=frozenset({"staff", "x"})),
        SearchRequest(limit=8, dense=unit(4, 99), sparse=SparseVector(*terms(4)), dense_weight=0.4),
        SearchRequest(limit=8, dense=unit(4, 99), sparse=nothing, readers=None),
        SearchRequest(limit=8, dense=unit(4, 99), readers=frozenset()),
        SearchRequest(limit=8, dense=unit(5, 99), filters={"page": 1}, readers=frozenset(f"g{n}" for n in range(20))),
        dense_request(7, filters={"doc_id": "doc3"}),
    ]
    alone = [searcher.search(request) for request in requests]
    assert searcher.search_many(requests) == alone
    assert [bool(hits) for hits in alone] == [True, True, True, True, False, False, True]
    assert searcher.search_many([]) == []
    with pytest.raises(ReleaseError, match="shape"):
        searcher.search_many([*requests, SearchRequest(limit=3, dense=np.ones(8, dtype=np.float32))])
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


DESCRIBED = {
    1: {"language": "en", "date": "2024-05-31", "authors": ["North Crew", "Desk"], "meta": '{"version": 3}'},
    2: {"language": "de", "date": "2024-05-31T23:30:00-01:00", "keywords": ["weir"], "meta": '{"version": 3.5}'},
    3: {"language": "en", "modified": "2023-12", "meta": '{"team": "hydrology", "draft": true}'},
    4: {"language": "fr", "date": "1969-07", "keywords": ["boom", "weir"], "meta": '{"draft": false, "a-b_1": "x"}'},
    6: {},
}


@pytest.mark.parametrize("mode", ["dense", "sparse", "hybrid"])
def test_what_documents_say_of_themselves_filters_inside_the_search(engine: ReleaseEngine, mode: str) -> None:
    engine.stage(1, None, SPEC)
    for number, stated in DESCRIBED.items():
        days = {f"{name}_seconds": period(str(stated[name]))[0] for name in ("date", "modified") if name in stated}
        engine.apply(1, [batch([(number, 0)], **stated, **days)], [])
    engine.seal(1)
    searcher = engine.open(1)
    dense = unit(2, 99) if mode != "sparse" else None
    sparse = SparseVector(np.arange(40, dtype=np.uint32), np.ones(40, dtype=np.float32)) if mode != "dense" else None

    def found(**filters: object) -> list[int]:
        fields = {name.replace("__", "."): value for name, value in filters.items()}
        hits = searcher.search(SearchRequest(limit=20, dense=dense, sparse=sparse, filters=fields))
        return sorted(number for number in DESCRIBED if any(hit.chunk_id == chunk_id(number) for hit in hits))

    assert found() == [1, 2, 3, 4, 6]
    assert found(language="en") == [1, 3] and found(language=["en", "fr"]) == [1, 3, 4]
    assert found(authors="Desk") == [1] and found(keywords=["weir", "none"]) == [2, 4]
    # A day of UTC: half past eleven at one hour west of it is the day after.
    assert found(date="2024-05-31") == [1] and found(date="2024-06-01") == [2] and found(date="2024") == [1, 2]
    assert found(date=["1969", "2024-06"]) == [2, 4]
    assert found(date={"gt": "2024-05-31"}) == [2] and found(date={"gte": "2024-05-31"}) == [1, 2]
    assert found(date={"lte": "2024-05-31"}) == [1, 4] and found(date={"lt": "2024-05-31"}) == [4]
    assert found(date={"gte": "1969-07", "lt": "1970"}) == [4] and found(modified={"lt": "2024"}) == [3]
    assert found(meta__version=3) == [1] and found(meta__version=[3, 3.5]) == [1, 2]
    assert found(meta__version={"gt": 3, "lte": 4}) == [2] and found(meta__version="3") == []
    assert found(meta__team="hydrology") == [3] and found(meta__draft=True) == [3] and found(meta__draft=False) == [4]
    assert found(meta__draft=["true", True]) == [3] and found(**{"meta.a-b_1": "x"}) == [4]
    assert found(meta__nothing="x") == [] and found(language="en", meta__draft=True) == [3]
    (hit,) = searcher.retrieve([chunk_id(3)])
    assert hit.payload["meta"] == {"team": "hydrology", "draft": True} and hit.payload["authors"] is None
    searcher.close()


def test_a_release_without_metadata_opens_and_matches_no_filter_on_it(engine: ReleaseEngine) -> None:
    build(engine, 1, numbers(20))
    searcher = engine.open(1)
    for filters in ({"language": "en"}, {"date": {"gte": "1900"}}, {"authors": "x"}, {"meta.version": {"gt": 0}}):
        assert searcher.search(dense_request(filters=filters)) == []
    assert len(searcher.search(dense_request())) == 10
    searcher.close()


@pytest.mark.parametrize(
    "filters",
    [
        {"readers": "staff"},
        {"text": "x"},
        {"page": "1"},
        {"doc_id": []},
        {"key": {"a": 1}},
        {"key": {"gte": "a"}},
        {"page": {}},
        {"page": {"gte": "2"}},
        {"page": True},
        {"date": "yesterday"},
        {"date": {"since": "2024"}},
        {"modified": {"gte": 2024}},
        {"meta.": 1},
        {"meta.A B": 1},
        {"meta.x": None},
        {"meta.x": float("nan")},
        {"meta.x": {"gte": True}},
        {"date_seconds": 1},
    ],
)
def test_a_filter_that_can_not_be_used_is_an_error(engine: ReleaseEngine, filters: dict[str, object]) -> None:
    build(engine, 1, numbers(3))
    searcher = engine.open(1)
    with pytest.raises(ReleaseError, match=r"filter|range"):
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


def _read_repeatedly(make: Callable[[Path], ReleaseEngine], path: Path) -> list[list[str]]:
    engine = make(path)
    results = []
    for _ in range(5):
        searcher = engine.open(1)
        results.append([hit.chunk_id for hit in searcher.search(dense_request())])
        searcher.close()
    return results


@pytest.mark.parametrize("name", SHARED)
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


def test_reading_goes_on_while_the_next_releases_are_written(engine: ReleaseEngine) -> None:
    build(engine, 1, numbers(100))
    searcher = engine.open(1)
    expected = [searcher.search(dense_request(query)) for query in range(5)]
    done = threading.Event()
    wrong: list[object] = []

    def read() -> None:
        while not done.wait(0.02):  # leaves the writer room to get on
            try:
                wrong.extend(query for query in range(5) if searcher.search(dense_request(query)) != expected[query])
                wrong.extend([] if searcher.count() == 100 else ["count"])
            except ReleaseError as error:
                wrong.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for release in range(2, 5):
        changes = [(number, release) for number in range(release, 100, 3)]
        build(engine, release, changes, parent=release - 1, deletes=[release * 2])
    engine.drop(3)
    engine.redact(2, readers={"doc3": ["staff"]})
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    searcher.close()


def test_publishing_may_be_repeated(engine: ReleaseEngine) -> None:
    build(engine, 1, numbers(3))
    engine.publish(1)
    engine.publish(1)
    assert engine.open(1).count() == 3


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
