"""The contract of a release engine, run against every engine: how releases follow, leave and change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from headwater.errors import NotFoundError
from headwater.index.contract import REDACTED, IndexSpec, ReleaseEngine, SearchRequest, SparseVector
from tests.release_engines import (
    ENGINES,
    QUIET,
    SPEC,
    batch,
    build,
    chunk_id,
    clean_up,
    dense_request,
    held,
    numbers,
    terms,
    unit,
    wanted,
)

pytestmark = QUIET


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ReleaseEngine]:
    engine = ENGINES[request.param](tmp_path / "index")
    yield engine
    clean_up(engine)


def test_after_a_rollback_the_next_release_starts_from_the_older_one(engine: ReleaseEngine) -> None:
    build(engine, 1, numbers(12))
    build(engine, 2, [(0, 1), (20, 0)], parent=1, deletes=[5])
    build(engine, 3, [(1, 1), (5, 1), (21, 0)], parent=2, deletes=[20])
    build(engine, 4, [(2, 1)], parent=1, deletes=[6])
    assert held(engine, 4) == wanted([(0, 0), (1, 0), (2, 1), *numbers(12)[3:6], *numbers(12)[7:]])
    build(engine, 5, [(5, 2)], parent=3)
    assert held(engine, 1) == wanted(numbers(12))
    second = wanted([*numbers(12), (20, 0)]) | wanted([(0, 1)])
    del second[chunk_id(5)]
    assert held(engine, 2) == second
    third = second | wanted([(1, 1), (5, 1), (21, 0)])
    del third[chunk_id(20)]
    assert held(engine, 3) == third
    assert held(engine, 5) == third | wanted([(5, 2)])


def test_a_rejected_candidate_leaves_nothing_in_the_next_release(engine: ReleaseEngine) -> None:
    build(engine, 1, numbers(8))
    build(engine, 2, [(0, 1), (30, 0)], parent=1, deletes=[3])
    build(engine, 3, [(4, 1)], parent=1)
    assert held(engine, 3) == wanted(numbers(8)) | wanted([(4, 1)])
    engine.drop(2)
    build(engine, 4, [], parent=3)
    assert held(engine, 4) == held(engine, 3)


def test_a_number_that_was_half_built_is_built_from_its_new_parent_alone(engine: ReleaseEngine) -> None:
    build(engine, 1, numbers(8))
    build(engine, 2, [(0, 1)], parent=1)
    engine.stage(3, 2, SPEC)
    engine.apply(3, [batch([(1, 9), (40, 9)])], [[chunk_id(2)]])
    build(engine, 3, [(6, 1)], parent=1)
    assert held(engine, 3) == wanted(numbers(8)) | wanted([(6, 1)])
    assert held(engine, 2) == wanted(numbers(8)) | wanted([(0, 1)])
    engine.stage(4, 3, SPEC)
    engine.apply(4, [batch([(1, 9)])], [[chunk_id(2)]])
    engine.drop(4)
    build(engine, 5, [], parent=3)
    assert held(engine, 5) == held(engine, 3)


def test_staging_without_a_parent_starts_empty_beside_the_others(engine: ReleaseEngine) -> None:
    build(engine, 1, numbers(8))
    build(engine, 2, [(0, 5), (50, 0)])
    assert held(engine, 2) == wanted([(0, 5), (50, 0)])
    assert held(engine, 1) == wanted(numbers(8))
    build(engine, 3, [], parent=1)
    assert held(engine, 3) == wanted(numbers(8))


@pytest.mark.parametrize("order", [[2], [4], [1], [2, 3], [3, 4], [1, 4], [4, 3, 2], [1, 2, 3], [3, 1]])
def test_dropping_releases_leaves_the_others_and_what_is_staged_from_them(
    engine: ReleaseEngine, order: list[int]
) -> None:
    build(engine, 1, numbers(8))
    build(engine, 2, [(0, 1), (30, 0)], parent=1, deletes=[3])
    build(engine, 3, [(3, 2), (31, 0)], parent=2, deletes=[4, 30])
    build(engine, 4, [(0, 3), (30, 3)], parent=3, deletes=[31])
    before = {release: held(engine, release) for release in (1, 2, 3, 4)}
    for release in order:
        engine.drop(release)
    kept = [release for release in before if release not in order]
    assert engine.releases() == kept
    for number, release in enumerate(kept, 5):
        build(engine, number, [(7, number)], parent=release)
        assert held(engine, number) == before[release] | wanted([(7, number)])
    assert {release: held(engine, release) for release in kept} == {release: before[release] for release in kept}


def test_dropping_every_release_makes_room_for_a_new_beginning(engine: ReleaseEngine) -> None:
    build(engine, 1, numbers(4))
    build(engine, 2, [(1, 1)], parent=1)
    engine.drop(1)
    engine.drop(2)
    assert engine.releases() == []
    build(engine, 3, numbers(2))
    assert held(engine, 3) == wanted(numbers(2))


def test_two_models_live_side_by_side(engine: ReleaseEngine) -> None:
    other = IndexSpec(8, "model-b")
    build(engine, 1, numbers(20))
    build(engine, 2, numbers(20), spec=other)
    build(engine, 3, [(1, 1)], parent=1)
    build(engine, 4, [(2, 1)], parent=2, spec=other)
    assert engine.releases() == [1, 2, 3, 4]
    assert held(engine, 3) == wanted(numbers(20)) | wanted([(1, 1)])
    assert held(engine, 4) == wanted(numbers(20)) | wanted([(2, 1)])
    searcher = engine.open(4)
    nearest = searcher.search(SearchRequest(limit=3, dense=unit(3, 0, 8), readers=None))
    assert nearest[0].chunk_id == chunk_id(3)
    searcher.close()
    for release in (1, 3):
        engine.drop(release)
    assert engine.releases() == [2, 4]
    build(engine, 5, [], parent=4, spec=other)
    assert held(engine, 5) == held(engine, 4)


def test_narrowing_changes_readers_and_fingerprint_of_one_release(engine: ReleaseEngine) -> None:
    build(engine, 1, numbers(12))
    build(engine, 2, [(0, 1)], parent=1)
    before = held(engine, 2)
    assert engine.redact(1, readers={"doc1": ["law", "board"], "doc2": [], "nobody": ["x"]}) == 8
    narrowed = {chunk_id(number): REDACTED for number in range(4, 12)}
    assert held(engine, 1) == wanted(numbers(12)) | narrowed
    assert held(engine, 2) == before
    searcher = engine.open(1)
    hit = searcher.retrieve([chunk_id(4)], with_vectors=True)[0]
    assert hit.payload["readers"] == ["board", "law"]
    assert hit.payload["text"] == "text 4 0"
    np.testing.assert_allclose(hit.payload["vector"], unit(4), atol=1e-6)

    def found(*groups: str) -> set[str]:
        request = dense_request(limit=50, readers=frozenset(groups))
        return {hit.chunk_id for hit in searcher.search(request)}

    assert found("law") == {chunk_id(number) for number in range(4, 8)}
    assert found("*", "staff") == {chunk_id(number) for number in range(4)}
    searcher.close()
    assert engine.redact(1, readers={"doc1": ["board", "law"], "doc2": []}) == 0


def test_forgetting_takes_a_document_out_of_one_release(engine: ReleaseEngine) -> None:
    build(engine, 1, numbers(12))
    build(engine, 2, [(0, 1), (4, 1)], parent=1)
    before = held(engine, 2)
    assert engine.redact(1, forget=["doc1", "nobody"]) == 4
    rest = wanted([*numbers(4), *numbers(12)[8:]])
    assert held(engine, 1) == rest
    assert held(engine, 2) == before
    assert engine.redact(1, forget=["doc1"]) == 0
    assert engine.redact(2, forget=["doc1"]) == 4
    assert held(engine, 2) == rest | wanted([(0, 1)])


def test_a_child_of_a_redacted_release_is_what_it_holds_now(engine: ReleaseEngine) -> None:
    build(engine, 1, numbers(12))
    build(engine, 2, [(9, 1)], parent=1)
    assert engine.redact(2, forget=["doc0"], readers={"doc1": ["law"], "doc0": ["law"]}) == 8
    build(engine, 3, [(4, 7), (0, 7)], parent=2, deletes=[5])
    expected = wanted([(8, 0), (9, 1), (10, 0), (11, 0), (4, 7), (0, 7)])
    assert held(engine, 3) == expected | {chunk_id(6): REDACTED, chunk_id(7): REDACTED}
    assert held(engine, 1) == wanted(numbers(12))
    engine.drop(1)
    engine.drop(2)
    assert len(held(engine, 3)) == 8


def test_redacting_every_release_in_any_order_changes_each_alone(engine: ReleaseEngine) -> None:
    build(engine, 1, numbers(8))
    build(engine, 2, [(0, 1)], parent=1)
    build(engine, 3, [(4, 1)], parent=2, deletes=[7])
    for release in (3, 1, 2):
        assert engine.redact(release, readers={"doc0": ["law"]}) == 4
    narrowed = {chunk_id(number): REDACTED for number in range(4)}
    assert held(engine, 1) == wanted(numbers(8)) | narrowed
    assert held(engine, 2) == wanted(numbers(8)) | narrowed
    assert held(engine, 3) == wanted([(4, 1), (5, 0), (6, 0)]) | narrowed
    build(engine, 4, [(0, 4)], parent=3)
    assert held(engine, 4) == held(engine, 3) | wanted([(0, 4)])


def test_a_release_that_is_not_sealed_can_not_be_redacted(engine: ReleaseEngine) -> None:
    engine.stage(1, None, SPEC)
    with pytest.raises(NotFoundError):
        engine.redact(1, forget=["doc0"])
    with pytest.raises(NotFoundError):
        engine.redact(7, forget=["doc0"])


def test_all_engines_find_the_same_with_the_same_scores(tmp_path: Path) -> None:
    engines = {name: make(tmp_path / name) for name, make in ENGINES.items()}
    results: dict[str, list[list[tuple[str, float, object]]]] = {}
    for name, engine in engines.items():
        build(engine, 1, numbers(150))
        build(engine, 2, [(number, 1) for number in range(0, 150, 4)], parent=1, deletes=list(range(50, 90)))
        build(engine, 3, [(number, 2) for number in range(0, 150, 9)], parent=1)
        engine.redact(2, forget=["doc3"], readers={"doc7": ["law"]})
        found = results.setdefault(name, [])
        for release in (1, 2, 3):
            searcher = engine.open(release)
            for query in range(8):
                dense, sparse = unit(query, 99), SparseVector(*terms(query, 5))
                for groups in (None, frozenset({"*"}), frozenset({"staff", "law"})):
                    for vectors in ({"dense": dense}, {"sparse": sparse}, {"dense": dense, "sparse": sparse}):
                        request = SearchRequest(limit=12, readers=groups, candidates=20, **vectors)
                        found.append([(hit.chunk_id, hit.score, hit.payload) for hit in searcher.search(request)])
            searcher.close()
        clean_up(engine)
    expected = results.pop("edge")
    for found in results.values():
        for one, other in zip(expected, found, strict=True):
            assert [(chunk, payload) for chunk, _, payload in one] == [(chunk, payload) for chunk, _, payload in other]
            np.testing.assert_allclose([score for _, score, _ in one], [score for _, score, _ in other], rtol=1e-5)
