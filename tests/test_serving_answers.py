"""Answers over HTTP: streams, conversations, records, feedback, and one effect for one request."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from headwater.answering.events import AnswerEvent, Finished, SentenceReady
from headwater.corpus import Corpus
from headwater.erase import erase
from headwater.errors import NotFoundError, ReleaseError
from headwater.types import Principal, Turn
from serving import streaming
from serving.access import Access
from serving.access.access import TOKEN
from serving.app import create_app
from serving.asking import Asked, answer_events
from serving.idempotency import Request, Responses
from serving.models import FeedbackResponse, Problem
from serving.models.answers import MAX_TURN, MAX_TURNS
from serving.places import PLACES, Places, TooManyAnswers
from serving.routes.answers import of_documents
from serving.shelf import Shelf
from tests.live_corpus import NOTICE, live_corpus
from tests.llm_server import MODEL, Reply, sentences, serving
from tests.scripted_corpus import STARTED, WORDS, Scripted, answer, cited, restarted_answer
from tests.served import served

__all__ = ["live_corpus"]

QUESTION = "How long is the notice period?"
ASK = {"corpus": "works", "question": QUESTION}
PATIENCE = 30.0


@contextmanager
def client_of(corpus: Any, **options: Any) -> Iterator[TestClient]:
    options.setdefault("access", Access())
    app = create_app(corpora={"works": corpus}, **options)
    with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def real(live_corpus: Corpus) -> Iterator[TestClient]:
    with client_of(live_corpus) as client:
        yield client


def wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "it never happened"
        threading.Event().wait(0.01)


def events_of(body: str) -> list[tuple[str, Any]]:
    """The events of a stream as a browser reads them; comments are left out."""
    found = []
    for block in body.split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if lines:
            fields = dict(line.split(": ", 1) for line in lines)
            found.append((fields["event"], json.loads(fields["data"])))
    return found


def check_problem(response: httpx.Response, status: int) -> Problem:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    return Problem.model_validate(response.json())


# --- streams ----------------------------------------------------------------------------------------------------------


def test_a_stream_tells_the_same_answer_as_one_response(real: TestClient) -> None:
    response = real.post("/v1/answer/stream", json=ASK)
    assert response.headers["content-type"].startswith("text/event-stream")
    names = [name for name, _ in events_of(response.text)]
    assert names[0] == "start" and names[-1] == "done" and "sentence" in names
    events = events_of(response.text)
    (done,) = [data for name, data in events if name == "done"]
    assert [data for name, data in events if name == "sentence"] == done["sentences"]
    assert NOTICE in done["text"] and done["id"] == events[0][1]["id"]
    assert {passage["release"] for passage in events[0][1]["passages"]} == {done["release"]}
    whole = real.post("/v1/answer", json=ASK).json()
    assert done["sentences"] == whole["sentences"] and set(done) == set(whole)


def test_every_event_of_an_answer_is_sent_in_order() -> None:
    with client_of(Scripted(restarted_answer)) as client:
        events = events_of(client.post("/v1/answer/stream", json=ASK).text)
    assert [name for name, _ in events] == ["start", "sentence", "dropped", "restart", "sentence", "done"]
    assert events[2][1] == {"reason": "number"}
    assert events[4][1]["text"] == WORDS == events[5][1]["text"]
    assert events[5][1]["usage"] == {"prompt_tokens": 120, "completion_tokens": 17, "cost": 0.002}


def test_events_are_one_line_of_ascii_whatever_documents_hold() -> None:
    with client_of(Scripted(restarted_answer)) as client:
        body = client.post("/v1/answer/stream", json=ASK).content
    assert b"\\u2028" in body and body.isascii()


def test_what_is_wrong_with_a_request_is_answered_before_a_stream_begins(real: TestClient) -> None:
    check_problem(real.post("/v1/answer/stream", json=ASK | {"corpus": "nowhere"}), 404)
    check_problem(real.post("/v1/answer/stream", json=ASK | {"release": 999}), 404)
    check_problem(real.post("/v1/answer/stream", json=ASK | {"history": [{"question": "Who?"}]}), 422)


def test_a_failure_midway_ends_the_stream_with_a_problem_and_no_text(caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> Iterator[AnswerEvent]:
        yield STARTED
        yield SentenceReady(cited())
        raise RuntimeError("herons")

    with caplog.at_level(logging.INFO), client_of(Scripted(fails)) as client:
        events = events_of(client.post("/v1/answer/stream", json=ASK).text)
    assert [name for name, _ in events] == ["start", "sentence", "error"]
    problem = Problem.model_validate(events[-1][1])
    assert problem.status == 500 and problem.request_id
    assert "herons" not in problem.detail + caplog.text


def test_a_quiet_stream_is_kept_open_by_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def waits() -> Iterator[AnswerEvent]:
        yield STARTED
        assert go_on.wait(PATIENCE)
        yield Finished(answer(cited()))

    init = streaming.Followed.__init__
    monkeypatch.setattr(streaming.Followed, "__init__", lambda self, who, start: init(self, who, start, heartbeat=0.05))
    with (
        served({"works": Scripted(waits)}) as url,
        httpx.stream("POST", f"{url}/v1/answer/stream", json=ASK) as response,
    ):
        seen = b""
        for chunk in response.iter_bytes():
            seen += chunk
            if seen.count(b": still here\n\n") >= 2:
                go_on.set()
    assert [name for name, _ in events_of(seen.decode())] == ["start", "done"]


class Slow:
    """Events that begin when the test says so, as those of a question that a model takes its time to understand."""

    def __init__(self, *events: AnswerEvent | Exception) -> None:
        self._events = events
        self.begin = threading.Event()

    def __call__(self) -> Iterator[AnswerEvent]:
        assert self.begin.wait(PATIENCE)
        for event in self._events:
            if isinstance(event, Exception):
                raise event
            yield event


CHAT = {"model": "works", "messages": [{"role": "user", "content": QUESTION}], "stream": True}
STREAMS = pytest.mark.parametrize(("path", "asking"), [("/v1/answer/stream", ASK), ("/v1/chat/completions", CHAT)])


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming.Followed, "__init__", _quick(streaming.Followed.__init__))


@STREAMS
@pytest.mark.usefixtures("impatient")
def test_a_stream_shows_signs_of_life_before_its_first_event(path: str, asking: dict[str, Any]) -> None:
    slow = Slow(STARTED, SentenceReady(cited()), Finished(answer(cited())))
    with (
        served({"works": Scripted(slow)}) as url,
        httpx.stream("POST", f"{url}{path}", json=asking, timeout=PATIENCE) as response,
    ):
        assert response.status_code == 200 and response.headers["content-type"].startswith("text/event-stream")
        seen = b""
        for chunk in response.iter_bytes():
            seen += chunk
            if not slow.begin.is_set() and seen.count(b": still here\n\n") >= 2:
                assert b"data:" not in seen
                slow.begin.set()
    told = seen.decode().replace(": still here\n\n", "")
    if path.endswith("stream"):
        assert [name for name, _ in events_of(told)] == ["start", "sentence", "done"]
    else:
        first, *_, last = told.strip().split("\n\n")
        piece = json.loads(first.removeprefix("data: "))
        assert (piece["id"], piece["choices"][0]["delta"]["role"]) == ("chatcmpl-a1", "assistant")
        assert last == "data: [DONE]" and "/v1/documents/d?corpus=works&release=1" in told


@STREAMS
@pytest.mark.usefixtures("impatient")
def test_what_fails_after_the_stream_began_is_an_event_though_nothing_was_told(
    path: str, asking: dict[str, Any]
) -> None:
    slow = Slow(NotFoundError("gone"))
    with (
        served({"works": Scripted(slow)}) as url,
        httpx.stream("POST", f"{url}{path}", json=asking, timeout=PATIENCE) as response,
    ):
        slow.begin.set()
        told = response.read().decode().replace(": still here\n\n", "")
    assert response.status_code == 200
    if path.endswith("stream"):
        ((name, problem),) = events_of(told)
        assert name == "error" and Problem.model_validate(problem).status == 404
    else:
        assert json.loads(told.strip().removeprefix("data: "))["error"]["type"] == "not_found_error"


@STREAMS
@pytest.mark.parametrize("error", [NotFoundError("gone"), ReleaseError("broken")])
def test_what_fails_at_once_has_a_status_of_its_own(path: str, asking: dict[str, Any], error: Exception) -> None:
    slow = Slow(error)
    slow.begin.set()
    with client_of(Scripted(slow)) as client:
        assert client.post(path, json=asking).status_code == (404 if isinstance(error, NotFoundError) else 503)


@STREAMS
@pytest.mark.usefixtures("impatient")
def test_what_is_wrong_with_a_request_has_a_status_however_long_it_takes_to_find_out(
    path: str, asking: dict[str, Any]
) -> None:
    class Opening(Scripted):
        @contextmanager
        def searcher(self, release: int) -> Iterator[None]:
            threading.Event().wait(0.3)  # many times the grace
            raise NotFoundError("no such release")
            yield

    corpus = Opening(restarted_answer)
    with client_of(corpus) as client:
        assert client.post(path, json=asking).status_code == 404
    assert not corpus.asked


@STREAMS
@pytest.mark.usefixtures("impatient")
def test_a_client_that_leaves_before_the_first_event_ends_the_work(path: str, asking: dict[str, Any]) -> None:
    stopped = threading.Event()

    class Noticed(streaming.Followed[Any]):
        def stop(self) -> None:
            super().stop()
            stopped.set()

    slow = Slow(STARTED, SentenceReady(cited()), Finished(answer(cited())))
    corpus = Scripted(slow)
    with pytest.MonkeyPatch.context() as patch, served({"works": corpus}) as url:
        for module in ("serving.routes.answers", "serving.chat.routes"):
            patch.setattr(f"{module}.Followed", Noticed)
        with httpx.stream("POST", f"{url}{path}", json=asking, timeout=PATIENCE) as response:
            chunks = response.iter_bytes()  # kept: once it is collected, the connection is closed
            assert next(chunks).startswith(b": still here") and not stopped.is_set()
        assert stopped.wait(PATIENCE) and not slow.begin.is_set()
        slow.begin.set()
        assert corpus.closed.wait(PATIENCE)


def test_a_follow_up_that_a_model_takes_long_to_understand_keeps_its_stream_open(
    live_corpus: Corpus,
) -> None:
    before = live_corpus.policy
    with serving() as model, pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming.Followed, "__init__", _quick(streaming.Followed.__init__))
        llm = {"url": model.url, "model": MODEL, "attempts": 1, "breaker_failures": 777}
        changed = before.answer.model_validate({**before.answer.model_dump(), "llm": llm})
        live_corpus.policy = before.model_copy(update={"answer": changed})
        try:
            slow = Reply("How long is the notice period in the first half year?", wait=1.0)
            model.say(slow, Reply(sentences(refused=True)))
            said = [{"question": QUESTION, "answer": NOTICE}]
            follow_up = ASK | {"question": "And in the first half year?", "history": said}
            with client_of(live_corpus) as client:
                body = client.post("/v1/answer/stream", json=follow_up).text
                wrong = client.post("/v1/answer/stream", json=follow_up | {"release": 999})
        finally:
            live_corpus.policy = before
    assert body.startswith(": still here") and body.index(": still here") < body.index("event: start")
    assert events_of(body)[0][1]["searched"] == "How long is the notice period in the first half year?"
    check_problem(wrong, 404)


def _quick(init: Any) -> Any:
    return lambda self, who, start: init(self, who, start, heartbeat=0.05, grace=0.05)


def test_a_client_that_leaves_ends_the_work() -> None:
    reached = threading.Event()

    def endless() -> Iterator[AnswerEvent]:
        yield STARTED
        while True:
            yield SentenceReady(cited())
            reached.set()

    corpus = Scripted(endless)
    with served({"works": corpus}) as url:
        with httpx.stream("POST", f"{url}/v1/answer/stream", json=ASK) as response:
            chunks = response.iter_bytes()  # kept: once it is collected, the connection is closed
            next(chunks)
            assert reached.wait(PATIENCE) and not corpus.closed.is_set()
        assert corpus.closed.wait(PATIENCE)


def test_more_streams_than_there_are_threads_for_are_asked_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PLACES, "_most", 1)
    go_on = threading.Event()

    def waits() -> Iterator[AnswerEvent]:
        yield STARTED
        assert go_on.wait(PATIENCE)
        yield Finished(answer(cited()))

    with served({"works": Scripted(waits)}) as url:
        with httpx.stream("POST", f"{url}/v1/answer/stream", json=ASK):
            chat = {"model": "works", "messages": [{"role": "user", "content": "How many?"}]}
            for path in ("/v1/answer/stream", "/v1/answer"):
                refused = httpx.post(f"{url}{path}", json=ASK)
                assert check_problem(refused, 503) and refused.headers["retry-after"]
            for body in (chat, chat | {"stream": True}):
                refused = httpx.post(f"{url}/v1/chat/completions", json=body)
                assert refused.status_code == 503 and refused.headers["retry-after"] and refused.json()["error"]
            go_on.set()
        wait_for(lambda: httpx.post(f"{url}/v1/answer/stream", json=ASK).status_code == 200)


@pytest.mark.parametrize("path", ["/v1/answer", "/v1/chat/completions"])
def test_answers_that_wait_for_a_model_hold_nothing_else_up(path: str) -> None:
    go_on = threading.Event()

    def waits() -> Iterator[AnswerEvent]:
        yield STARTED
        assert go_on.wait(PATIENCE)
        yield Finished(answer(cited()))

    corpus = Scripted(waits)
    chat = {"model": "works", "messages": [{"role": "user", "content": "How many?"}]}
    with served({"works": corpus}) as url, ThreadPoolExecutor(45) as pool:
        body = chat if path.endswith("completions") else ASK
        answers = [pool.submit(httpx.post, f"{url}{path}", json=body, timeout=PATIENCE) for _ in range(45)]
        try:
            wait_for(lambda: len(corpus.asked) >= 40)  # all threads that requests have by default
            for other in ("/healthz", "/readyz", "/v1/corpora"):
                assert httpx.get(f"{url}{other}", timeout=PATIENCE / 3).status_code == 200
            wait_for(lambda: len(corpus.asked) == 45)
        finally:
            go_on.set()
        assert {found.result().status_code for found in answers} == {200}


def test_one_caller_leaves_places_for_others() -> None:
    places = Places(3, 2)
    with places.taken("one"), places.taken("one"):
        with pytest.raises(TooManyAnswers, match="your questions"), places.taken("one"):
            pass
        with places.taken("other"), pytest.raises(TooManyAnswers), places.taken("third"):
            pass
        places.take("other")
    places.take("one")


def test_a_stream_follows_the_live_release_when_it_moves_before_the_first_event() -> None:
    class Moving(Scripted):
        number = 1

        def live(self) -> int:
            return self.number

        def refresh(self) -> None:
            self.number = 2

        def answer_events(self, question: str, **given: Any) -> Iterator[AnswerEvent]:
            if given["release"] == 1:
                raise ReleaseError("collected")
            return super().answer_events(question, **given)

    with client_of(Moving(restarted_answer)) as client:
        assert events_of(client.post("/v1/answer/stream", json=ASK).text)[-1][0] == "done"


class Noting:
    """A caller of whom everything is noted."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, dict[str, Any]]] = []
        self.charged: list[Any] = []

    def principal(self, groups: Any = None) -> Principal:
        return Principal()

    def corpus(self, name: str) -> str:
        return name

    def charge(self, usage: Any) -> None:
        self.charged.append(usage)

    def record(self, action: str, **more: Any) -> None:
        self.noted.append((action, more))


@pytest.mark.parametrize("events", [2, 6])
def test_the_audit_log_has_every_answer_once_also_one_that_was_left_early(events: int) -> None:
    who, shelf = Noting(), Shelf(None, {"works": Scripted(restarted_answer)})  # type: ignore[dict-item]
    asked = Asked("works", QUESTION, history=(Turn("What is a weir?", "A low dam. " * 400),))
    told = answer_events(shelf, who, asked, None)()
    for _ in range(events):
        next(told)
    told.close()  # type: ignore[attr-defined]
    ((action, entry),) = who.noted
    assert (action, entry["target"], entry["release"]) == ("answer", "a1", 1)
    assert entry["counts"] == ({"sentences": 1, "cancelled": 1} if events == 2 else {"sentences": 1, "refused": 0})
    (charged,) = who.charged  # about what the model read and wrote, where it was not counted
    if events == 6:
        assert (charged.prompt_tokens, charged.completion_tokens) == (120, 17)
    else:
        assert charged.prompt_tokens > 1000 and len(QUESTION) > charged.completion_tokens >= 6


def test_a_quoted_answer_that_was_left_early_is_free() -> None:
    def quotes() -> Iterator[AnswerEvent]:
        yield replace(STARTED, model=None, prompt=None)
        yield SentenceReady(cited())
        yield Finished(answer(cited()))

    who, shelf = Noting(), Shelf(None, {"works": Scripted(quotes)})  # type: ignore[dict-item]
    told = answer_events(shelf, who, Asked("works", QUESTION), None)()
    next(told), next(told)
    told.close()  # type: ignore[attr-defined]
    assert who.noted and not who.charged


# --- conversations ----------------------------------------------------------------------------------------------------


def test_what_was_said_before_reaches_the_answerer() -> None:
    corpus = Scripted(restarted_answer)
    said = [{"question": "What is a weir?", "answer": "A low dam."}, {"question": "And a lock?", "answer": ""}]
    more = {"history": said, "conversation": "c-1", "filters": {"key": "birds.md"}, "groups": ["hr"], "release": 1}
    with client_of(corpus) as client:
        assert client.post("/v1/answer", json=ASK | more).status_code == 200
        assert client.post("/v1/answer/stream", json=ASK | more).status_code == 200
    for given in corpus.asked:
        assert [(turn.question, turn.answer) for turn in given["history"]] == [tuple(turn.values()) for turn in said]
        assert (given["conversation"], given["filters"], given["release"]) == ("c-1", {"key": "birds.md"}, 1)
        assert given["principal"].groups == frozenset({"hr"})


def test_a_follow_up_question_is_understood_from_what_was_asked_before(real: TestClient) -> None:
    said = [{"question": QUESTION, "answer": NOTICE}]
    found = real.post(
        "/v1/answer", json={"corpus": "works", "question": "And in the first half year?", "history": said}
    )
    assert "notice" in found.json()["searched"].lower()
    assert found.json()["turn"] == 1


@pytest.mark.parametrize(
    "more",
    [
        {"history": [{"question": "?", "answer": "x"}] * (MAX_TURNS + 1)},
        {"history": [{"question": "?", "answer": "x" * (MAX_TURN + 1)}]},
        {"history": [{"question": "", "answer": "x"}]},
        {"history": [{"question": "?", "answer": "a\x00b"}]},
        {"history": [{"question": "?", "answer": "x", "role": "system"}]},
        {"conversation": "with blanks"},
        {"conversation": "x" * 65},
        {"release": 0},
        {"filters": {"readers": "*"}},
    ],
)
def test_conversations_that_can_not_be_are_refused(more: dict[str, Any]) -> None:
    corpus = Scripted(restarted_answer)
    with client_of(corpus) as client:
        for path in ("/v1/answer", "/v1/answer/stream"):
            assert check_problem(client.post(path, json=ASK | more), 422).errors
    assert not corpus.asked


def test_a_long_conversation_fits_into_a_request() -> None:
    said = [{"question": "?" * 2000, "answer": "x" * MAX_TURN}] * MAX_TURNS
    with client_of(Scripted(restarted_answer)) as client:
        assert client.post("/v1/answer", json=ASK | {"history": said}).status_code == 200
        check_problem(client.post("/v1/answer", content=b"x" * (512 * 1024 + 1)), 413)


def test_log_lines_tell_how_long_each_step_took_and_nothing_that_was_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "headwater"), client_of(Scripted(restarted_answer)) as client:
        client.post("/v1/answer", json=ASK)
    (line,) = [record.fields for record in caplog.records if getattr(record, "fields", {}).get("route") == "/v1/answer"]
    assert line["steps_milliseconds"] == {"search": 10.0, "write": 400.0}
    assert "heron" not in str(line) and "notice" not in str(line)


# --- one request, one effect ------------------------------------------------------------------------------------------


def test_the_same_request_with_the_same_key_is_answered_once(real: TestClient, live_corpus: Corpus) -> None:
    headers = {"Idempotency-Key": "first-1"}
    first = real.post("/v1/answer", json=ASK, headers=headers)
    again = real.post("/v1/answer", json=ASK, headers=headers)
    assert first.content == again.content
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (None, "true")
    other = real.post("/v1/answer", json=ASK, headers={"Idempotency-Key": "first-2"})
    assert other.json()["id"] != first.json()["id"]


def test_a_key_belongs_to_one_body(real: TestClient) -> None:
    headers = {"Idempotency-Key": "body-1"}
    assert real.post("/v1/answer", json=ASK, headers=headers).status_code == 200
    for change in ({"question": "Who keeps the keys?"}, {"groups": ["hr"]}):
        check_problem(real.post("/v1/answer", json=ASK | change, headers=headers), 422)


@pytest.mark.parametrize("key", ["", "a b", "x" * 201, "über"])
def test_a_key_that_can_not_be_is_refused(key: str) -> None:
    with client_of(Scripted(restarted_answer)) as client:
        response = client.post("/v1/answer", json=ASK, headers={"Idempotency-Key": key.encode("latin-1")})
        check_problem(response, 422)


def test_a_response_is_forgotten_when_a_document_was_erased(tmp_path_factory: pytest.TempPathFactory) -> None:
    from headwater.corpus import open_corpus
    from headwater.pipeline import Pipeline
    from tests.live_corpus import make_project

    with open_corpus(make_project(tmp_path_factory.mktemp("erased"))) as corpus:
        Pipeline(corpus, workers=1).run()
        with client_of(corpus) as client:
            headers = {"Idempotency-Key": "erased-1"}
            assert NOTICE in client.post("/v1/answer", json=ASK, headers=headers).text
            erase(corpus, "leave.md", reason="by request")
            after = client.post("/v1/answer", json=ASK, headers=headers)
            assert "idempotency-replayed" not in after.headers
            assert NOTICE not in after.text


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def keyed(key: str, body: str = "b", caller: str = "me") -> Request:
    return Request(caller, "answer", key, body.encode())


def reply(text: str) -> FeedbackResponse:
    return FeedbackResponse(id=text, answer="a", kind="thumbs_up")


def test_two_requests_at_once_with_one_key_have_one_effect() -> None:
    responses, started, go_on = Responses(), threading.Event(), threading.Event()

    def slow() -> FeedbackResponse:
        started.set()
        assert go_on.wait(PATIENCE)
        return reply("slow")

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(responses.once, keyed("k"), ("works", 0), slow)
        assert started.wait(PATIENCE)
        with pytest.raises(Exception) as conflict:
            responses.once(keyed("k"), ("works", 0), lambda: reply("second"))
        assert conflict.value.status_code == 409  # type: ignore[attr-defined]
        go_on.set()
        body = first.result().body
    assert responses.once(keyed("k"), ("works", 0), lambda: reply("third")).body == body


def test_a_failed_request_can_be_sent_again_with_its_key() -> None:
    responses = Responses()
    with pytest.raises(NotFoundError):
        responses.once(keyed("k"), ("works", 0), lambda: (_ for _ in ()).throw(NotFoundError("gone")))
    assert b"second" in responses.once(keyed("k"), ("works", 0), lambda: reply("second")).body


def test_keys_are_the_callers_own_and_end_after_a_day() -> None:
    clock = Clock()
    responses = Responses(clock=clock, keep_seconds=100)
    assert b"mine" in responses.once(keyed("k"), ("works", 0), lambda: reply("mine")).body
    assert b"yours" in responses.once(keyed("k", caller="you"), ("works", 0), lambda: reply("yours")).body
    clock.now = 99
    assert b"mine" in responses.once(keyed("k"), ("works", 0), lambda: reply("late")).body
    clock.now = 101
    assert b"late" in responses.once(keyed("k"), ("works", 0), lambda: reply("late")).body


def test_what_is_kept_is_bounded_and_the_oldest_go_first() -> None:
    responses = Responses(max_bytes=3000)
    for number in range(10):
        responses.once(keyed(str(number)), ("works", 0), lambda: reply("x" * 500))
    assert b"new" in responses.once(keyed("0"), ("works", 0), lambda: reply("new")).body
    assert b"xxx" in responses.once(keyed("9"), ("works", 0), lambda: reply("new")).body


def test_a_change_in_place_forgets_the_responses_of_its_corpus_alone() -> None:
    responses = Responses()
    for corpus in ("works", "other"):
        responses.once(keyed(corpus), (corpus, 0), lambda: reply("old"))
    assert b"new" in responses.once(keyed("works"), ("works", 1), lambda: reply("new")).body
    assert b"old" in responses.once(keyed("other"), ("other", 0), lambda: reply("new")).body


# --- records and feedback ---------------------------------------------------------------------------------------------


def test_the_record_of_an_answer_names_spans_and_holds_no_text(real: TestClient) -> None:
    given = real.post("/v1/answer", json=ASK | {"conversation": "c-7"}).json()
    record = real.get(f"/v1/answers/{given['id']}")
    found = record.json()
    assert (found["release"], found["refused"], found["conversation"]) == (given["release"], False, "c-7")
    (cited_first, *_) = given["sentences"][0]["citations"]
    kept = found["sentences"][0]["citations"][0]
    assert (kept["doc"], kept["start"], kept["end"]) == (cited_first["doc"], cited_first["start"], cited_first["end"])
    assert NOTICE not in record.text and found["passages"]


def test_what_is_left_of_a_sentence_is_numbered_anew() -> None:
    citations = [{"doc": doc} for doc in "abc"]
    alignments = [{"citation": number, "start": number} for number in (0, 1, 2, 1)]
    found = of_documents({"digest": "d", "citations": citations, "alignments": alignments}, {"b", "c"})
    assert found["citations"] == citations[1:] and found["digest"] == "d"
    assert [(part["citation"], part["start"]) for part in found["alignments"]] == [(0, 1), (1, 2), (0, 1)]
    assert len(alignments) == 4 and alignments[0]["citation"] == 0


def test_answers_are_told_and_judged_by_those_who_asked_for_them_alone(live_corpus: Corpus) -> None:
    with client_of(live_corpus, access=Access(token="s3cret")) as other, client_of(live_corpus) as real:
        mine = real.post("/v1/answer", json=ASK).json()["id"]
        headers = {"Authorization": "Bearer s3cret"}
        theirs = check_problem(other.get(f"/v1/answers/{mine}", headers=headers), 404)
        nobodys = check_problem(other.get(f"/v1/answers/{'0' * 32}", headers=headers), 404)
        assert theirs.detail == nobodys.detail
        vote = {"answer": mine, "kind": "thumbs_up"}
        check_problem(other.post("/v1/feedback", json=vote, headers=headers), 404)
        assert real.post("/v1/feedback", json=vote).status_code == 200


def test_feedback_is_stored_without_personal_data(real: TestClient, live_corpus: Corpus) -> None:
    given = real.post("/v1/answer", json=ASK).json()
    text = "Write to anna.berg@rivers.example, she knows: it is eight weeks."
    body = {"answer": given["id"], "kind": "correction", "sentence": 0, "text": text}
    found = real.post("/v1/feedback", json=body).json()
    (record,) = live_corpus.ledger.feedback("works", answer_id=given["id"])
    assert (record.id, record.kind, record.sentence) == (found["id"], "correction", 0)
    assert record.text and "anna.berg" not in record.text and "eight weeks" in record.text


def test_a_vote_replaces_the_vote_before(real: TestClient, live_corpus: Corpus) -> None:
    given = real.post("/v1/answer", json=ASK).json()
    votes = [
        real.post("/v1/feedback", json={"answer": given["id"], "kind": kind}) for kind in ("thumbs_up", "thumbs_down")
    ]
    assert votes[0].json()["id"] == votes[1].json()["id"]
    (record,) = live_corpus.ledger.feedback("works", answer_id=given["id"])
    assert record.kind == "thumbs_down"


def test_feedback_sent_twice_with_one_key_is_stored_once(real: TestClient, live_corpus: Corpus) -> None:
    given = real.post("/v1/answer", json=ASK).json()
    body = {"answer": given["id"], "kind": "wrong_citation", "sentence": 0, "citation": 0}
    first, again = (real.post("/v1/feedback", json=body, headers={"Idempotency-Key": "vote-1"}) for _ in range(2))
    assert first.content == again.content and again.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "thumbs_up", "sentence": 99},
        {"kind": "wrong_citation", "sentence": 0, "citation": 99},
        {"kind": "wrong_citation"},
        {"kind": "correction"},
        {"kind": "thumbs_up", "citation": 0},
        {"kind": "applause"},
        {"kind": "thumbs_up", "text": "x" * 2001},
        {"kind": "thumbs_up", "sentence": -1},
    ],
)
def test_feedback_that_can_not_be_is_refused(real: TestClient, body: dict[str, Any]) -> None:
    given = real.post("/v1/answer", json=ASK).json()
    check_problem(real.post("/v1/feedback", json={"answer": given["id"], **body}), 422)


def test_feedback_and_prompts_are_listed_to_administrators_in_pages(
    real: TestClient, live_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in ("/v1/feedback", "/v1/prompts"):
        check_problem(real.get(path, params={"corpus": "works"}), 403)
    monkeypatch.setattr("serving.access.access.LOCAL", TOKEN.__class__("boss", TOKEN.scopes | {"admin"}))
    with client_of(live_corpus) as boss:
        for _ in range(3):
            given = boss.post("/v1/answer", json=ASK).json()["id"]
            boss.post("/v1/feedback", json={"answer": given, "kind": "thumbs_up"})
        seen, after = [], None
        while True:
            query = {"corpus": "works", "limit": 2} | ({"after": after} if after else {})
            page = boss.get("/v1/feedback", params=query).json()
            seen += [item["id"] for item in page["feedback"]]
            after = page["after"]
            if after is None:
                break
        whole = boss.get("/v1/feedback", params={"corpus": "works"}).json()["feedback"]
        assert seen == [item["id"] for item in whole] and len(set(seen)) == len(seen) >= 3
        for place in ("nonsense", "0001-01-01T00:00:00+14:00~a", "9999-12-31T23:59:59-14:00~a"):
            check_problem(boss.get("/v1/feedback", params={"corpus": "works", "after": place}), 422)
        prompts = boss.get("/v1/prompts", params={"corpus": "works"}).json()["prompts"]
        (of_answers,) = [prompt for prompt in prompts if prompt["name"] == "answer"]
        assert of_answers["versions"][0]["text"]
        assert "live" in [label["label"] for label in of_answers["labels"]]
