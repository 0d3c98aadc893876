"""What holds for the embedded engine alone: its files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headwater.errors import ReleaseError
from headwater.index import edge, open_engine
from headwater.index.contract import SearchRequest, SparseVector
from headwater.index.edge import EdgeEngine
from headwater.policies import IndexPolicy
from tests.release_engines import SPEC, batch, build, chunk_id, dense_request, held, numbers, terms, unit, wanted


def test_deleted_points_weigh_nothing_in_a_release_with_a_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("edge_shard", "edge_search"):
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


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_reading_a_sealed_release_changes_no_byte_of_it(tmp_path: Path) -> None:
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


def test_a_small_release_is_small_on_disk(tmp_path: Path) -> None:
    engine = EdgeEngine(tmp_path)
    build(engine, 1, numbers(50))
    build(engine, 2, [], parent=1)
    for release in ("1", "2"):
        blocks = sum(path.stat().st_blocks for path in (tmp_path / release).rglob("*"))
        assert blocks * 512 < 4 * 2**20


def test_a_damaged_release_says_how_to_go_on(tmp_path: Path) -> None:
    engine = EdgeEngine(tmp_path)
    build(engine, 1, numbers(5))
    for path in (tmp_path / "1" / "shard" / "segments").rglob("segment.json"):
        path.write_text("{")
    with pytest.raises(ReleaseError, match="roll back"):
        engine.open(1)


def trace(folder: Path, needle: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and needle.encode() in path.read_bytes()]


SECRET = {"text": "zinc f1c27ab55", "key": "c0ffee/77d1.md", "doc_id": "5eb1d0e2aa"}


def with_secret(tmp_path: Path) -> EdgeEngine:
    """Two releases that hold a document which no other one resembles, and a third from which it was deleted."""
    engine = EdgeEngine(tmp_path)
    engine.stage(1, None, SPEC)
    engine.apply(1, [batch(numbers(20)), batch([(99, 0)], **SECRET)], [])
    engine.seal(1)
    build(engine, 2, [(1, 1)], parent=1)
    build(engine, 3, [(2, 1)], parent=2, deletes=[99])
    return engine


def test_no_byte_of_a_forgotten_document_is_left(tmp_path: Path) -> None:
    engine = with_secret(tmp_path)
    assert all(trace(tmp_path / "1", needle) for needle in SECRET.values())
    assert trace(tmp_path / "3", SECRET["doc_id"])  # deleted, and still in the files
    assert [engine.redact(release, forget=[SECRET["doc_id"]]) for release in (1, 2, 3)] == [1, 1, 0]
    for needle in SECRET.values():
        assert trace(tmp_path, needle) == []
    assert held(engine, 1) == wanted(numbers(20))
    assert held(engine, 3) == wanted([(0, 0), (1, 1), (2, 1), *numbers(20)[3:]])


def test_redacting_what_is_not_there_rewrites_nothing(tmp_path: Path) -> None:
    engine = EdgeEngine(tmp_path)
    build(engine, 1, numbers(20))
    before = contents(tmp_path)
    assert engine.redact(1, forget=["nobody"], readers={"nobody": ["staff"]}) == 0
    assert engine.redact(1) == 0
    assert contents(tmp_path) == before
    assert engine.redact(1, readers={"doc0": ["*"]}) == 1  # the other three points of it have these readers
    before = contents(tmp_path)
    assert engine.redact(1, forget=["nobody"], readers={"doc0": ["*"]}) == 0
    assert contents(tmp_path) == before


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("step", ["create_shard", "copy_without", "narrow", "sync_tree", "replace_file", "remove_tree"])
@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_a_killed_redaction_leaves_the_old_release_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, late: bool
) -> None:
    engine = with_secret(tmp_path)
    done = getattr(edge, step)

    def killed(*arguments: object) -> None:
        if late:
            done(*arguments)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(edge, step, killed)
        with pytest.raises(Killed):
            engine.redact(2, forget=[SECRET["doc_id"]])
    engine = EdgeEngine(tmp_path)
    rest = wanted([(0, 0), (1, 1), *numbers(20)[2:]])
    switched = step == "remove_tree" or (step == "replace_file" and late)
    assert held(engine, 2) == (rest if switched else rest | {chunk_id(99): "99/0"})
    assert engine.redact(2, forget=[SECRET["doc_id"]]) == (0 if switched else 1)
    assert held(engine, 2) == rest
    assert [path.name for path in (tmp_path / "2").iterdir() if path.is_dir()] == ["shard-2"]
    assert trace(tmp_path / "2", SECRET["doc_id"]) == []


def test_a_searcher_that_is_open_goes_on_while_its_release_is_redacted(tmp_path: Path) -> None:
    engine = with_secret(tmp_path)
    searcher = engine.open(1)
    before = searcher.search(dense_request(limit=30))
    engine.redact(1, forget=[SECRET["doc_id"]])
    assert searcher.search(dense_request(limit=30)) == before
    searcher.close()
    assert held(engine, 1) == wanted(numbers(20))
    assert trace(tmp_path / "1", SECRET["doc_id"]) == []


def test_payloads_are_read_once_and_forgotten_with_the_searcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headwater.index.edge_search._REMEMBERED", 8)
    engine = EdgeEngine(tmp_path)
    build(engine, 1, numbers(40))
    searcher = engine.open_here(1)
    asked: list[list[str]] = []
    call = searcher._call

    def counted(method: str, *arguments: Any) -> Any:
        if method == "retrieve":
            asked.append(arguments[0])
        return call(method, *arguments)

    monkeypatch.setattr(searcher, "_call", counted)
    first = searcher.search(dense_request(3, limit=5))
    assert searcher.search(dense_request(3, limit=5)) == first and len(asked) == 1
    names = [hit.chunk_id for hit in first]
    others = [chunk_id(number) for number in range(40) if chunk_id(number) not in names]
    assert [hit.chunk_id for hit in searcher.retrieve([*names[:2], others[0]])] == [*names[:2], others[0]]
    assert asked[1:] == [[others[0]]]
    vectors = searcher.retrieve(names, with_vectors=True)
    assert all(len(hit.payload["vector"]) == SPEC.dimensions for hit in vectors)
    assert all("vector" not in hit.payload for hit in searcher.retrieve(names))
    searcher.retrieve(others)
    assert len(searcher._known) == 8
    searcher.close()
    assert not searcher._known
    with pytest.raises(ReleaseError, match="closed"):
        searcher.retrieve([])


def test_forgetting_removes_what_a_killed_run_left_half_built(tmp_path: Path) -> None:
    engine = with_secret(tmp_path)
    engine.stage(4, 2, SPEC)
    engine.redact(2, forget=[SECRET["doc_id"]])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "3"]


def test_a_release_without_a_named_shard_still_opens(tmp_path: Path) -> None:
    engine = with_secret(tmp_path)
    file = tmp_path / "3" / "release.json"
    manifest = json.loads(file.read_text())
    file.write_text(json.dumps({name: manifest[name] for name in ("dimensions", "fingerprint", "count", "engine")}))
    before = held(engine, 3)
    assert engine.redact(3, forget=[SECRET["doc_id"]]) == 0
    assert held(engine, 3) == before
    assert trace(tmp_path / "3", SECRET["doc_id"]) == []
    build(engine, 4, [(70, 0)], parent=3)
    assert held(engine, 4) == before | wanted([(70, 0)])


def test_the_embedded_engine_is_the_default(tmp_path: Path) -> None:
    assert isinstance(open_engine("notes", tmp_path, IndexPolicy()), EdgeEngine)
    assert not list(tmp_path.iterdir())
