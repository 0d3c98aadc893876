"""What holds for the engine on a Qdrant server alone: its collections, its alias, and how it fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from headwater.errors import LeaseError, ReleaseError
from headwater.index import connection, open_engine
from headwater.index.contract import IndexSpec
from headwater.index.registry import Names
from headwater.index.server import ServerEngine
from headwater.lease import Lease
from headwater.ledger import Ledger
from headwater.policies import IndexPolicy
from tests.release_engines import (
    QUIET,
    SPEC,
    batch,
    build,
    chunk_id,
    dense_request,
    held,
    memory_client,
    memory_engine,
    numbers,
    wanted,
)

pytestmark = QUIET

ALIAS = "headwater-notes"
WRITES = {"upsert", "set_payload", "delete", "create_collection", "delete_collection", "update_collection_aliases"}


def collections(path: Path) -> list[str]:
    names = [entry.name for entry in memory_client(path).get_collections().collections]
    return sorted(name for name in names if not name.endswith(".registry"))


def stored(path: Path) -> int:
    """Return the number of points, less the markers of releases."""
    count = 0
    for name in collections(path):
        records, _ = memory_client(path).scroll(name, limit=10_000)
        count += sum("state" not in record.payload for record in records)
    return count


def live_points(path: Path) -> set[str]:
    """Return what somebody sees who knows nothing but the alias."""
    from qdrant_client.models import FieldCondition, Filter, Range

    client = memory_client(path)
    state = client.get_collection(ALIAS).config.metadata["state"]
    seen = Filter(
        must=[FieldCondition(key="born", range=Range(lte=state)), FieldCondition(key="died", range=Range(gt=state))]
    )
    return {record.payload["chunk_id"] for record in client.scroll(ALIAS, scroll_filter=seen, limit=1000)[0]}


class Watched:
    """Counts the writes that pass to the client, and ends the process in the middle of one."""

    def __init__(self, client: Any, survives: int = 10**9, *, after: bool = False) -> None:
        self._client = client
        self._survives = survives
        self._after = after
        self.writes: list[str] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*arguments: Any, **named: Any) -> Any:
            if name not in WRITES:
                return method(*arguments, **named)
            self.writes.append(name)
            fatal = len(self.writes) > self._survives
            if fatal and not self._after:
                raise Killed
            result = method(*arguments, **named)
            if fatal:
                raise Killed
            return result

        return call


class Killed(BaseException):
    """Stands for the end of the process."""


def test_a_release_costs_its_difference(tmp_path: Path) -> None:
    engine = memory_engine(tmp_path)
    build(engine, 1, numbers(100))
    watched = Watched(memory_client(tmp_path))
    engine = ServerEngine(lambda: watched, "notes")
    engine.stage(2, 1, SPEC)
    assert watched.writes == ["upsert"]  # the registry
    engine.apply(2, [batch([(1, 1), (200, 0)])], [[chunk_id(5)]])
    engine.seal(2)
    assert stored(tmp_path) == 102
    engine.stage(3, 2, SPEC)
    assert stored(tmp_path) == 102
    engine.drop(1)
    assert stored(tmp_path) == 102 - 2


def test_staging_again_from_live_after_a_candidate_was_dropped_copies_nothing(tmp_path: Path) -> None:
    engine = memory_engine(tmp_path)
    build(engine, 1, numbers(100))
    build(engine, 2, [(number, 1) for number in range(50)], parent=1)
    engine.drop(2)
    assert stored(tmp_path) == 100
    build(engine, 3, [], parent=1)
    assert stored(tmp_path) == 100
    assert held(engine, 3) == wanted(numbers(100))


def test_the_alias_follows_the_live_release_from_collection_to_collection(tmp_path: Path) -> None:
    engine = memory_engine(tmp_path)
    build(engine, 1, numbers(10))
    engine.publish(1)
    assert live_points(tmp_path) == {chunk_id(number) for number in range(10)}
    build(engine, 2, numbers(3), spec=IndexSpec(8, "model-b"))
    assert len(live_points(tmp_path)) == 10
    engine.publish(2)
    assert live_points(tmp_path) == {chunk_id(number) for number in range(3)}
    engine.publish(1)
    engine.redact(1, forget=["doc0"])
    assert live_points(tmp_path) == {chunk_id(number) for number in range(4, 10)}
    engine.drop(2)
    assert len(collections(tmp_path)) == 1


def test_a_forgotten_document_leaves_with_the_collection_that_held_it(tmp_path: Path) -> None:
    engine = memory_engine(tmp_path)
    build(engine, 1, numbers(12))
    build(engine, 2, [(4, 1)], parent=1)
    build(engine, 3, [], parent=2, deletes=[4, 5, 6, 7])
    engine.publish(3)
    (before,) = collections(tmp_path)
    searcher = engine.open(3)
    engine.redact(1, forget=["doc1"])
    assert collections(tmp_path) == [before]  # release 2 still holds it
    engine.redact(2, forget=["doc1"])
    (after,) = collections(tmp_path)
    assert after != before
    records, _ = memory_client(tmp_path).scroll(after, limit=1000)
    assert not [record for record in records if record.payload.get("doc_id") == "doc1"]
    assert engine.redact(3, forget=["doc1"]) == 0
    assert collections(tmp_path) == [after]  # nothing of it is left: no further copy
    assert [held(engine, release) for release in (1, 2, 3)] == [wanted([*numbers(4), *numbers(12)[8:]])] * 3
    assert len(live_points(tmp_path)) == 8
    with pytest.raises(ReleaseError, match="open it again"):
        searcher.search(dense_request())


def test_what_a_dropped_release_left_in_the_files_goes_when_it_is_forgotten(tmp_path: Path) -> None:
    engine = memory_engine(tmp_path)
    build(engine, 1, numbers(12))
    build(engine, 2, [], parent=1, deletes=[4, 5, 6, 7])
    engine.drop(1)
    before = collections(tmp_path)
    assert engine.redact(2, forget=["doc1"]) == 0
    assert collections(tmp_path) != before
    assert held(engine, 2) == wanted([*numbers(4), *numbers(12)[8:]])


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_any_write_every_release_is_old_or_new_and_the_next_run_mends_it(tmp_path: Path, after: bool) -> None:
    first, second, rest = numbers(12), [(0, 1), (4, 1)], wanted([*numbers(4), *numbers(12)[8:]])
    survives = finished = 0
    while not finished:
        path = tmp_path / str(survives)
        engine = memory_engine(path)
        build(engine, 1, first)
        build(engine, 2, second, parent=1)
        engine.publish(2)
        dying = Watched(memory_client(path), survives, after=after)
        victim = ServerEngine(lambda dying=dying: dying, "notes")
        try:
            build(victim, 3, [(8, 1)], parent=1, deletes=[0])
            victim.redact(1, forget=["doc1"], readers={"doc0": ["law"]})
            victim.redact(3, forget=["doc1"])
            victim.redact(2, forget=["doc1"])
            victim.drop(1)
            victim.publish(3)
            finished = 1
        except Killed:
            pass
        before = wanted(first) | wanted(second)
        third = wanted(first) | wanted([(8, 1)])
        del third[chunk_id(0)]
        for release in engine.releases():
            found = held(engine, release)
            without = {chunk: value for chunk, value in found.items() if chunk in rest}
            if release == 2:
                assert found in (before, {chunk: before[chunk] for chunk in rest})
            elif release == 3:
                assert found in (third, {chunk: third[chunk] for chunk in rest if chunk in third})
            else:
                assert found == wanted(first) or found == without
        build(engine, 4, [(9, 4)], parent=2)
        for release in engine.releases():
            engine.redact(release, forget=["doc1"])
        assert held(engine, 4) == {chunk: before[chunk] for chunk in rest} | wanted([(9, 4)])
        assert len(collections(path)) == 1
        records, _ = memory_client(path).scroll(collections(path)[0], limit=1000)
        assert not [record for record in records if record.payload.get("doc_id") == "doc1"]
        for release in engine.releases():
            engine.drop(release)
        assert collections(path) == []
        survives += 1
    assert survives > 20


class Writers:
    """Two machines' engines on one server; the ``first`` writes, until the ``second`` takes over.

    As far as the first one's clock goes, its lease lasts. ``then`` is called with each of its requests to the server.
    """

    def __init__(self, path: Path, ledger: Ledger, stack: ExitStack) -> None:
        self.then: Callable[[str], None] = lambda _: None
        self.first = ServerEngine(lambda: Interrupted(memory_client(path), self), "notes")  # type: ignore[arg-type, return-value]
        self.second = memory_engine(path)
        self._ledger, self._stack = ledger, stack
        self._begin(self.first, "first")

    def take_over(self) -> None:
        self._begin(self.second, "second", dead="first")

    def _begin(self, engine: ServerEngine, holder: str, dead: str | None = None) -> None:
        lease = Lease(self._ledger, "notes", holder, self._ledger.acquire_lease("notes", holder, 3600, dead=dead), 3600)
        self._stack.callback(lease.give_back)
        self._stack.enter_context(engine.written_under(lease))


class Interrupted:
    """A client after each of whose requests something happens."""

    def __init__(self, client: Any, writers: Writers) -> None:
        self._client = client
        self._writers = writers

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            result = getattr(self._client, name)(*arguments, **named)
            self._writers.then(name)
            return result

        return call


@pytest.fixture
def writers(tmp_path: Path) -> Iterator[Writers]:
    with closing(Ledger(f"sqlite:///{tmp_path}/ledger.db")) as ledger, ExitStack() as stack:
        yield Writers(tmp_path, ledger, stack)


def test_a_writer_that_was_taken_over_gets_no_point_into_what_its_successor_builds(
    writers: Writers,
) -> None:
    first, second = writers.first, writers.second
    build(first, 1, numbers(10))

    def upserts() -> Iterator[pa.RecordBatch]:
        yield batch([(5, 1)])
        writers.take_over()  # in whose listing document 0 is gone
        build(second, 3, [], parent=1, deletes=[0, 1, 2, 3])
        yield batch([(0, 1), (6, 1)])  # the first one goes on: it does not know

    first.stage(2, 1, SPEC)
    with pytest.raises(LeaseError, match="took over"):
        first.apply(2, upserts(), [])
    expected = wanted([(number, 0) for number in range(4, 10)])
    assert held(second, 3) == expected
    refused: tuple[Callable[[], object], ...] = (
        lambda: first.seal(2),
        lambda: first.stage(4, 1, SPEC),
        lambda: first.drop(3),
        lambda: first.redact(3, forget=["doc1"]),
        lambda: first.publish(1),
        lambda: first.delete_snapshots(),
    )
    for call in refused:
        with pytest.raises(LeaseError):
            call()
    assert held(second, 3) == expected and second.releases() == [1, 3]
    build(second, 4, [(0, 2)], parent=3)
    assert held(second, 4) == expected | wanted([(0, 2)])


@pytest.mark.parametrize("at", ["upsert", "set_payload", "delete"])
def test_a_writer_that_was_taken_over_while_it_redacts_changes_nothing_more(writers: Writers, at: str) -> None:
    first, second = writers.first, writers.second
    build(first, 1, numbers(10))
    build(first, 2, [(0, 1)], parent=1)
    taken = []

    def then(method: str) -> None:
        if method == at and not taken:
            taken.append(method)
            writers.take_over()
            build(second, 3, [(1, 1)], parent=2)

    writers.then = then
    with pytest.raises(LeaseError):
        first.redact(2, forget=["doc0"])
    assert taken
    assert held(second, 3) == wanted([(number, int(number < 2)) for number in range(10)])
    assert held(second, 1) == wanted(numbers(10))


def test_names_on_the_server_can_not_meet() -> None:
    assert Names("notes").alias == ALIAS
    assert Names("a b").alias != Names("a-b").alias
    everything = [Names("a"), Names("a.registry"), Names("a-registry")]
    assert len({name for names in everything for name in (names.alias, names.registry)}) == 6


def test_an_engine_is_opened_without_a_connection(tmp_path: Path) -> None:
    engine = open_engine("notes", tmp_path, IndexPolicy(url="http://127.0.0.1:9"))
    assert isinstance(engine, ServerEngine)


def test_a_server_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "FIRST_PAUSE_SECONDS", 0.001)
    with pytest.raises(ReleaseError, match=r"127\.0\.0\.1:9: .*ConnectError.*runs"):
        ServerEngine("http://127.0.0.1:9", "notes").releases()


class Server(BaseHTTPRequestHandler):
    """Answers like a Qdrant server without collections, after a number of failures."""

    version = "1.20.0"
    status = 503
    failures = 0
    requests: list[str] = []

    def do_GET(self) -> None:
        self._answer(200, f'{{"title": "qdrant", "version": "{self.version}"}}')

    def do_POST(self) -> None:
        self.requests.append(self.path)
        self.rfile.read(int(self.headers["Content-Length"]))
        if len(self.requests) <= self.failures:
            self._answer(self.status, '{"status": {"error": "the text of a document"}}')
        else:
            self._answer(404, '{"status": {"error": "Not found"}}')

    def _answer(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def qdrant(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[type[Server], str]]:
    monkeypatch.setattr(connection, "FIRST_PAUSE_SECONDS", 0.001)
    handler = type("Handler", (Server,), {"requests": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield handler, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_what_passes_is_tried_again(qdrant: tuple[type[Server], str]) -> None:
    handler, url = qdrant
    handler.failures = 3
    assert ServerEngine(url, "notes").releases() == []
    assert len(handler.requests) == 4


def test_a_closed_engine_connects_again(qdrant: tuple[type[Server], str]) -> None:
    engine = ServerEngine(qdrant[1], "notes")
    assert engine.releases() == []
    engine.close()
    engine.close()
    assert engine.releases() == []


def test_what_does_not_pass_is_an_error_without_what_the_server_quotes(qdrant: tuple[type[Server], str]) -> None:
    handler, url = qdrant
    handler.failures, handler.status = 9, 403
    with pytest.raises(ReleaseError, match=r"HTTP 403.*QDRANT_API_KEY") as caught:
        ServerEngine(url, "notes").releases()
    assert "document" not in str(caught.value)
    assert len(handler.requests) == 1


def test_a_server_that_never_recovers_is_given_up(qdrant: tuple[type[Server], str]) -> None:
    handler, url = qdrant
    handler.failures = 99
    with pytest.raises(ReleaseError, match="HTTP 503"):
        ServerEngine(url, "notes").releases()
    assert len(handler.requests) == connection.ATTEMPTS


def test_a_server_that_would_weigh_terms_wrongly_is_refused(qdrant: tuple[type[Server], str]) -> None:
    handler, url = qdrant
    handler.version = "1.17.3"
    with pytest.raises(ReleaseError, match=r"version 1\.17\.3; Headwater needs 1\.19"):
        ServerEngine(url, "notes").releases()
