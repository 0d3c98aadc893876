"""Searching in another process: what happens when that ends, and what it goes on reading."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from headwater.apart import ELSEWHERE
from headwater.corpus import open_corpus
from headwater.errors import NotFoundError, ReleaseError, StaleReleaseError
from headwater.index import apart
from headwater.index.apart import PROCESS, SearcherApart
from headwater.index.edge import EdgeEngine
from headwater.pipeline import Pipeline
from headwater.pool import WorkerPool
from serving.problems import unexpected
from tests.live_corpus import make_project
from tests.release_engines import build, chunk_id, dense_request, numbers


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EdgeEngine]:
    monkeypatch.setattr("headwater.index.edge.works_apart", lambda: True)
    engine = EdgeEngine(tmp_path)
    build(engine, 1, numbers(40))
    yield engine
    PROCESS.close()


def kill() -> int:
    (worker,) = PROCESS._pool._idle
    os.kill(worker._process.pid, signal.SIGKILL)
    worker._process.wait()
    return int(worker._process.pid)


def die(asked: object) -> None:
    os._exit(7)


def test_a_service_searches_in_one_other_process(engine: EdgeEngine) -> None:
    build(engine, 2, [(50, 0)], parent=1)
    first, second, here = engine.open(1), engine.open(2), engine.open_here(1)
    assert isinstance(first, SearcherApart) and isinstance(second, SearcherApart)
    assert (first.release, first.count(), second.count()) == (1, 40, 41)
    requests = [dense_request(number, limit=5) for number in range(8)]
    assert first.search_many(requests) == here.search_many(requests)
    assert len(PROCESS._pool._idle) == 1 and not apart._searchers  # nothing is open in this process
    for searcher in (first, second, here):
        searcher.close()


def test_a_process_that_was_killed_is_started_anew_and_reads_the_same(engine: EdgeEngine) -> None:
    searcher = engine.open(1)
    before = searcher.search(dense_request(3))
    killed = kill()
    assert searcher.search(dense_request(3)) == before and not psutil.pid_exists(killed)


def test_what_was_redacted_is_read_on_as_it_was_but_never_by_a_new_process(engine: EdgeEngine) -> None:
    searcher = engine.open(1)
    (hit,) = searcher.retrieve([chunk_id(3)])
    engine.redact(1, forget=[hit.payload["doc_id"]])
    assert searcher.count() == 40 and searcher.retrieve([chunk_id(3)]) == [hit]
    kill()
    with pytest.raises(StaleReleaseError, match="release 1 was redacted or built anew; open it again"):
        searcher.count()
    anew = engine.open(1)
    assert anew.count() == 36 and not anew.retrieve([chunk_id(3)])
    searcher.close()
    assert anew.count() == 36


def test_a_release_that_was_built_anew_is_never_taken_for_the_old_one(engine: EdgeEngine) -> None:
    searcher = engine.open(1)
    engine.drop(1)
    build(engine, 1, numbers(10))
    assert searcher.count() == 40
    kill()
    with pytest.raises(StaleReleaseError):
        searcher.count()
    assert engine.open(1).count() == 10


def test_a_search_that_was_on_its_way_when_its_searcher_was_closed_opens_nothing(engine: EdgeEngine) -> None:
    searcher = engine.open(1)
    assert isinstance(searcher, SearcherApart)
    late = searcher._opened
    searcher.close()
    with pytest.raises(ReleaseError, match="was closed"):
        PROCESS.call("count", late, (), {})


def test_closing_starts_no_process(engine: EdgeEngine) -> None:
    searcher = engine.open(1)
    kill()
    searcher.close()
    assert not PROCESS.running


def test_closing_is_no_error_when_the_process_ends_at_it(engine: EdgeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    searcher = engine.open(1)
    with WorkerPool(f"{__name__}:die", workers=1) as pool, monkeypatch.context() as patched:
        patched.setattr(PROCESS, "_pool", pool)
        searcher.close()


def test_an_error_says_where_it_was(engine: EdgeEngine) -> None:
    searcher = engine.open(1)
    with pytest.raises(AttributeError) as raised:
        searcher.search("no request")  # type: ignore[arg-type]
    (note,) = raised.value.__notes__
    assert note.startswith(f"{ELSEWHERE}AttributeError at ") and ".py:" in note


def test_the_log_has_the_place_and_no_other_note(caplog: pytest.LogCaptureFixture) -> None:
    error = ValueError("of a document")
    error.add_note("a secret line of a document")
    error.add_note(f"{ELSEWHERE}ValueError at edge.py:7 (open)")
    unexpected(error, "request-1")
    (record,) = caplog.records
    said = json.dumps(record.__dict__, default=str)
    assert "edge.py:7" in said and "of a document" not in said


def test_a_search_finds_its_way_when_the_process_dies_after_a_redaction_that_nobody_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HEADWATER_PROJECT", "HEADWATER_HOME", "HEADWATER_LEDGER_URL"):
        monkeypatch.delenv(name, raising=False)
    file = make_project(tmp_path)
    with open_corpus(file) as corpus:
        Pipeline(corpus, workers=1).run()
    monkeypatch.setattr("headwater.index.edge.works_apart", lambda: True)
    with open_corpus(file) as corpus:
        (first, *_) = corpus.search("How long is the notice period?", 1)
        corpus.engine.redact(first.release, forget=[first.doc_id])
        kill()
        found = corpus.search("How long is the notice period?", 3)
    assert found and first.doc_id not in {passage.doc_id for passage in found}


def test_a_dropped_release_is_read_to_the_end_and_no_longer(engine: EdgeEngine) -> None:
    searcher = engine.open(1)
    engine.drop(1)
    assert searcher.count() == 40
    kill()
    with pytest.raises(NotFoundError, match="no sealed release 1"):
        searcher.count()
    searcher.close()


def test_a_closed_searcher_says_so_and_can_be_closed_again(engine: EdgeEngine) -> None:
    searcher = engine.open(1)
    kill()
    searcher.close()  # the process that it was opened in is gone
    searcher.close()
    with pytest.raises(ReleaseError, match="was closed"):
        searcher.search(dense_request(3))


def test_what_ends_every_process_is_an_error(engine: EdgeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    searcher = engine.open(1)
    with WorkerPool(f"{__name__}:die", workers=1) as pool, monkeypatch.context() as patched:
        patched.setattr(PROCESS, "_pool", pool)
        with pytest.raises(ReleaseError, match=r"release 1 could not be read: .*exit code 7"):
            searcher.count()
    assert searcher.count() == 40
