"""The Python client against the real service."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from headwater.answering.events import AnswerEvent, Finished, SentenceReady, Started
from headwater.client import ApiError, Client, ClientError, ConnectionFailed
from headwater.client.connection import Connection
from headwater.client.events import events
from headwater.corpus import Corpus
from headwater.types import Principal, Turn
from serving.access import Access
from tests.live_corpus import NOTICE, live_corpus
from tests.scripted_corpus import STARTED, Scripted, answer, cited, restarted_answer
from tests.served import served

__all__ = ["live_corpus"]

QUESTION = "How long is the notice period?"
PATIENCE = 30.0


@pytest.fixture(scope="module")
def url(live_corpus: Corpus) -> Iterator[str]:
    with served({"works": live_corpus}) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as client:
        yield client


# --- the same values as the library -----------------------------------------------------------------------------------


def test_passages_are_those_of_the_library(client: Client, live_corpus: Corpus) -> None:
    for filters in (None, {"key": ["travel.md", "leave.md"]}, 'key ^= "tra"'):
        found = client.retrieve("works", "trains and hotels", 5, filters=filters)
        assert list(found.passages) == live_corpus.search("trains and hotels", 5, filters=filters)
        assert found.release == live_corpus.live() and found.explanation is None
    groups = Principal(groups=frozenset({"hr"}))
    mine = client.retrieve("works", "pay band", 5, groups=["hr"])
    assert list(mine.passages) == live_corpus.search("pay band", 5, principal=groups)


def test_an_explanation_says_where_the_retrievers_had_a_passage(client: Client) -> None:
    found = client.retrieve("works", QUESTION, 3, explain=True)
    assert found.explanation is not None
    lead = next(hit for hit in found.explanation["hits"] if hit["chunk_id"] == found.passages[0].chunk_id)
    assert lead["outcome"] == "passage" and lead["sparse"]["rank"] >= 1
    assert found.explanation["timings"]


def test_an_answer_is_that_of_the_library(client: Client, live_corpus: Corpus) -> None:
    here = live_corpus.answer(QUESTION)
    there = client.answer("works", QUESTION)
    same = {"id": "", "timings": {}, "cached": False, "conversation": None}
    assert replace(there, **same) == replace(here, **same)  # type: ignore[arg-type]
    assert NOTICE in there.text
    record = client.answer_record(there.id)
    assert record["release"] == there.release


def test_a_stream_gives_the_events_of_the_library() -> None:
    with served({"works": Scripted(restarted_answer)}) as url, Client(url) as client:
        assert list(client.stream("works", "How many herons?")) == list(restarted_answer())


def test_a_stream_of_a_real_answer_ends_with_it(client: Client) -> None:
    told = list(client.stream("works", QUESTION, history=[Turn("Who rows?", "The crew.")], conversation="c-1"))
    assert isinstance(told[0], Started) and isinstance(told[-1], Finished)
    said = tuple(event.sentence for event in told if isinstance(event, SentenceReady))
    assert told[-1].answer.sentences == said and told[-1].answer.question == QUESTION


def test_a_document_is_read_where_a_citation_points(client: Client) -> None:
    citation = client.answer("works", QUESTION).sentences[0].citations[0]
    part = client.document("works", citation.doc, start=citation.start, end=citation.end)
    assert part.text == citation.quote and part.key == "leave.md"
    assert part.sections and part.length > len(part.text)


def test_lists_are_read_to_their_end(client: Client, live_corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    send = Connection.send

    def small_pages(self: Connection, method: str, path: str, *args: Any, **more: Any) -> Any:
        if "params" in more:
            more["params"] = {**more["params"], "limit": 2}
            asked.append(more["params"])
        return send(self, method, path, *args, **more)

    monkeypatch.setattr(Connection, "send", small_pages)
    everyone = ["gauge.txt", "leave.md", "logbook.md", "travel.md"]
    assert [document.key for document in client.documents("works")] == everyone
    assert [receipt.key for receipt in client.receipts("works")] == everyone
    assert len(asked) == 4
    assert [document.key for document in client.documents("works", groups=["hr"])] == sorted([*everyone, "hr/pay.md"])
    assert [document.key for document in client.documents("works", prefix="l")] == ["leave.md", "logbook.md"]
    assert [release.number for release in client.releases("works")] == [live_corpus.live()]
    assert [(corpus.name, corpus.live) for corpus in client.corpora()] == [("works", live_corpus.live())]


def test_no_groups_at_all_read_what_everyone_may(live_corpus: Corpus) -> None:
    scopes = ("search", "documents", "receipts", "questions")
    _, key = live_corpus.ledger.create_api_key("narrowing", scopes=scopes, groups=["hr"], who="test")
    access = Access(ledger=live_corpus.ledger)
    with served({"works": live_corpus}, access=access) as url, Client(url, key) as client:
        (pay,) = (document for document in client.documents("works") if document.key == "hr/pay.md")
        assert "hr/pay.md" in {receipt.key for receipt in client.receipts("works")}
        for nobody in ([], ()):
            found = client.retrieve("works", "pay band of field engineers", 50, groups=nobody)
            assert "hr/pay.md" not in {passage.key for passage in found.passages}
            assert "hr/pay.md" not in {document.key for document in client.documents("works", groups=nobody)}
            assert "hr/pay.md" not in {receipt.key for receipt in client.receipts("works", groups=nobody)}
            assert "hr/pay.md" not in {one.nearest for one in client.unanswered_questions("works", groups=nobody)}
            with pytest.raises(ApiError) as refused:
                client.document("works", pay.doc_id, groups=nobody)
            assert refused.value.status == 404


def test_feedback_is_given_on_an_answer(client: Client, live_corpus: Corpus) -> None:
    given = client.answer("works", QUESTION)
    name = client.feedback(given.id, "wrong_citation", sentence=0, citation=0, text="That is another notice.")
    (record,) = live_corpus.ledger.feedback("works", answer_id=given.id)
    assert (record.id, record.kind, record.sentence, record.citation) == (name, "wrong_citation", 0, 0)


# --- errors and retries -----------------------------------------------------------------------------------------------


def test_what_the_service_refuses_is_raised_with_its_reason(client: Client) -> None:
    with pytest.raises(ApiError) as unknown:
        client.retrieve("nowhere", "x")
    assert unknown.value.status == 404 and "no corpus of that name" in unknown.value.detail
    assert unknown.value.request_id
    with pytest.raises(ApiError) as invalid:
        client.retrieve("works", "x", 0)
    assert invalid.value.status == 422 and [error.field for error in invalid.value.errors] == ["k"]
    with pytest.raises(ApiError, match="filter"):
        client.retrieve("works", "x", filters="key =")
    with pytest.raises(ApiError) as streamed:
        list(client.stream("nowhere", "x"))
    assert streamed.value.status == 404


def test_a_token_is_sent_and_a_wrong_one_is_refused(live_corpus: Corpus) -> None:
    with served({"works": live_corpus}, access=Access(token="s3cret")) as url:
        with Client(url, "s3cret") as client:
            assert client.corpora()
        with Client(url, "wrong") as client, pytest.raises(ApiError) as refused:
            client.corpora()
    assert refused.value.status == 401


def test_a_failure_midway_through_a_stream_is_raised() -> None:
    def fails() -> Iterator[AnswerEvent]:
        yield STARTED
        yield SentenceReady(cited())
        raise RuntimeError("herons")

    with served({"works": Scripted(fails)}) as url, Client(url) as client:
        told = client.stream("works", "x")
        assert isinstance(next(told), Started) and isinstance(next(told), SentenceReady)
        with pytest.raises(ApiError) as failed:
            next(told)
    assert failed.value.status == 500 and failed.value.request_id


def test_closing_a_stream_ends_the_work() -> None:
    def endless() -> Iterator[AnswerEvent]:
        yield STARTED
        while True:
            yield SentenceReady(cited())

    corpus = Scripted(endless)
    with served({"works": corpus}) as url, Client(url) as client:
        told = client.stream("works", "x")
        next(told)
        told.close()  # type: ignore[attr-defined]
        assert corpus.closed.wait(PATIENCE)


class Flaky(httpx.BaseTransport):
    """Does ``instead`` of sending the first requests, then sends them; notes the keys and the pauses."""

    def __init__(self, *instead: Callable[[], httpx.Response]) -> None:
        self.instead = list(instead)
        self.inner = httpx.HTTPTransport()
        self.keys: list[str | None] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.keys.append(request.headers.get("idempotency-key"))
        return self.instead.pop(0)() if self.instead else self.inner.handle_request(request)


def lost() -> httpx.Response:
    raise httpx.ReadError("the connection broke")


def refused() -> httpx.Response:
    raise httpx.ConnectError("nobody is there")


def busy() -> httpx.Response:
    return httpx.Response(503, headers={"Retry-After": "7"}, json={"title": "Busy", "detail": "Busy.", "status": 503})


def test_a_request_that_got_no_answer_is_sent_again_with_the_same_key(url: str, live_corpus: Corpus) -> None:
    pauses: list[float] = []
    flaky = Flaky(lost, refused, busy)
    with Client(url, transport=flaky, sleep=pauses.append) as client:
        assert not client.answer("works", QUESTION).refused
    assert len(flaky.keys) == 4 and len(set(flaky.keys)) == 1 and flaky.keys[0]
    assert 0 < pauses[0] <= 0.5 < pauses[1] <= 1.0 and pauses[2] == 7.0


def test_an_answer_whose_response_was_lost_is_not_made_twice(url: str) -> None:
    kept: list[httpx.Response] = []

    class LosesTheFirst(Flaky):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            response = self.inner.handle_request(request)
            response.read()
            kept.append(response)
            if len(kept) == 1:
                raise httpx.ReadError("lost on the way back")
            return response

    with Client(url, transport=LosesTheFirst(), sleep=lambda _: None) as client:
        given = client.answer("works", QUESTION)
    assert [response.json()["id"] for response in kept] == [given.id, given.id]


@pytest.mark.parametrize("instead", [lost, busy])
def test_after_the_last_attempt_the_error_is_raised(url: str, instead: Callable[[], httpx.Response]) -> None:
    flaky = Flaky(*[instead] * 3)
    expected = ConnectionFailed if instead is lost else ApiError
    with Client(url, transport=flaky, retries=2, sleep=lambda _: None) as client, pytest.raises(expected):
        client.corpora()
    assert len(flaky.keys) == 3


def test_a_stream_is_not_begun_again_once_it_was_sent(url: str) -> None:
    with Client(url, transport=(flaky := Flaky(lost)), sleep=lambda _: None) as client, pytest.raises(ConnectionFailed):
        list(client.stream("works", QUESTION))
    assert len(flaky.keys) == 1
    with Client(url, transport=(flaky := Flaky(refused, busy)), sleep=lambda _: None) as client:
        assert isinstance(list(client.stream("works", QUESTION))[-1], Finished)
    assert len(flaky.keys) == 3


def test_a_stream_that_breaks_off_is_an_error() -> None:
    class Cut(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, content=b'event: restart\ndata: {"reason": "x"}\n\nevent: sent')

    with Client("http://service", transport=Cut()) as client:
        told = client.stream("works", "x")
        next(told)
        with pytest.raises(ConnectionFailed, match="before the answer was whole"):
            next(told)


def test_something_else_at_the_address_is_said_so() -> None:
    class Page(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, html="<html>") if "corpora" in str(request.url) else httpx.Response(200, json={})

    with Client("http://service", transport=Page()) as client:
        with pytest.raises(ConnectionFailed, match="not a Headwater service"):
            client.corpora()
        with pytest.raises(ClientError, match="can't read"):
            client.retrieve("works", "x")
        for status, body in ((502, "<html>Bad gateway</html>"), (418, '["teapot"]')):
            with Client("http://proxy", retries=0, transport=Answering(status, body)) as proxied:
                with pytest.raises(ApiError) as refused:
                    proxied.corpora()
                assert refused.value.status == status


class Answering(httpx.BaseTransport):
    def __init__(self, status: int, body: str) -> None:
        self.status, self.body = status, body

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(self.status, text=self.body)


def test_an_address_where_nobody_listens_can_not_be_reached() -> None:
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}", retries=0) as client, pytest.raises(ConnectionFailed):
        client.corpora()


def test_events_are_told_apart_however_the_bytes_are_cut() -> None:
    raw = 'event: a\ndata: {"x": "1\u2028\x85"}\n\n: comment\n\nevent: b\r\ndata: 2\r\n\r\ndata: 3\n\n'.encode()
    whole = [("a", '{"x": "1\u2028\x85"}'), ("b", "2"), ("", "3")]
    for size in range(1, 12):
        assert list(events(raw[at : at + size] for at in range(0, len(raw), size))) == whole


def test_many_threads_share_one_client(client: Client) -> None:
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(len(client.retrieve("works", "notice", 2).passages)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and all(found)


def test_the_answer_of_a_script_is_complete() -> None:
    def one() -> Iterator[AnswerEvent]:
        yield STARTED
        yield Finished(answer(cited()))

    with served({"works": Scripted(one)}) as url, Client(url) as client:
        assert client.answer("works", "How many herons?") == answer(cited())
