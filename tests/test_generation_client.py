"""The client of a language model: what it asks, how long it waits, when it asks again, and when it leaves off."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import pytest

from headwater.answering.generation.breaker import Breaker
from headwater.answering.generation.client import ChatClient, ChatStream, open_client
from headwater.errors import GenerationError
from headwater.policies import LlmPolicy
from tests.llm_server import MODEL, Reply, ScriptedServer, serving

HELLO = [{"role": "user", "content": "Good morning."}]


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with serving() as scripted:
        yield scripted


def client(server: ScriptedServer, **changed: object) -> ChatClient:
    """A client with a breaker of its own, so that one test's failures are not another's."""
    settings = {"url": server.url, "model": MODEL, "breaker_failures": 1000 + next(_NUMBERS)} | changed
    return ChatClient(LlmPolicy.model_validate(settings))


_NUMBERS = iter(range(10**6))


def read(stream: ChatStream) -> str:
    return "".join(stream)


def failure(stream: ChatStream) -> GenerationError:
    with pytest.raises(GenerationError) as caught:
        read(stream)
    return caught.value


# --- what is asked and what comes -----------------------------------------------------------------------------------


def test_pieces_arrive_in_order_with_the_ending_and_its_tokens(server: ScriptedServer) -> None:
    server.say(Reply("Six weeks – sechs Wochen – 六週間 🚣.", piece=1))
    stream = client(server).stream(HELLO)
    assert read(stream) == "Six weeks – sechs Wochen – 六週間 🚣."
    assert stream.ending is not None
    assert (stream.ending.finish, stream.ending.prompt_tokens, stream.ending.completion_tokens) == ("stop", 11, 7)


def test_a_server_that_counts_no_tokens_has_none_in_its_ending(server: ScriptedServer) -> None:
    server.say(Reply("Yes.", usage=None))
    stream = client(server).stream(HELLO)
    read(stream)
    assert stream.ending is not None and stream.ending.prompt_tokens is None


def test_the_request_holds_the_policy_and_the_key_of_the_environment(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKS_KEY", "sesame")
    server.say(Reply("Yes."))
    asked = client(
        server,
        key_env="WORKS_KEY",
        temperature=0.25,
        seed=7,
        extra={"chat_template_kwargs": {"enable_thinking": False}},
    )
    read(asked.stream(HELLO, max_tokens=33, schema={"type": "object"}))
    (body,) = server.requests
    assert server.keys[-1] == "Bearer sesame"
    assert (body["model"], body["messages"], body["stream"]) == (MODEL, HELLO, True)
    assert (body["temperature"], body["seed"], body["max_tokens"]) == (0.25, 7, 33)
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert body["response_format"]["json_schema"]["strict"] is True
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}


def test_by_default_the_likeliest_words_are_asked_for_with_a_fixed_seed(server: ScriptedServer) -> None:
    server.say(Reply("Yes."))
    read(client(server, key_env="NO_SUCH_VARIABLE").stream(HELLO))
    assert (server.requests[0]["temperature"], server.requests[0]["seed"]) == (0.0, 0)
    assert server.keys[-1] is None


@pytest.mark.parametrize("name", ["model", "messages", "stream", "response_format", "stream_options", "n"])
def test_further_fields_cannot_replace_what_the_answerer_needs(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        LlmPolicy(url="http://llm/v1", model="m", extra={name: 1})


@pytest.mark.parametrize("url", ["llm:8000/v1", "http://user:secret@llm/v1", "http://llm/v1?key=secret", "file:///etc"])
def test_an_address_that_is_none_or_holds_a_secret_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        LlmPolicy(url=url, model="m")


def test_one_policy_has_one_client() -> None:
    one, same, other = (LlmPolicy(url="http://llm/v1", model=model) for model in ("a", "a", "b"))
    assert open_client(one) is open_client(same)
    assert open_client(one) is not open_client(other)


def test_one_request_after_another_uses_one_connection(server: ScriptedServer) -> None:
    asked = client(server)
    server.say(Reply("Yes."))
    for _ in range(5):
        read(asked.stream(HELLO))
    assert len(server.ports) == 1


# --- asking again ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_or_failing_server_is_asked_again(server: ScriptedServer, status: int) -> None:
    server.say(Reply(status=status), Reply("Yes."))
    assert read(client(server).stream(HELLO)) == "Yes."
    assert len(server.requests) == 2


def test_the_server_says_when_to_come_again(server: ScriptedServer) -> None:
    server.say(Reply(status=429, headers={"Retry-After": "1"}), Reply("Yes."))
    began = time.monotonic()
    assert read(client(server).stream(HELLO)) == "Yes."
    assert time.monotonic() - began >= 1.0


def test_after_the_last_attempt_it_is_an_error(server: ScriptedServer) -> None:
    server.say(Reply(status=503))
    error = failure(client(server, attempts=2).stream(HELLO))
    assert error.code == "busy"
    assert len(server.requests) == 2


@pytest.mark.parametrize(("status", "hint"), [(400, "HTTP 400"), (401, "KEY_OF"), (403, "KEY_OF"), (404, MODEL)])
def test_what_asking_again_cannot_change_is_asked_once(server: ScriptedServer, status: int, hint: str) -> None:
    server.say(Reply(status=status), Reply("Yes."))
    error = failure(client(server, key_env="KEY_OF_WORKS").stream(HELLO))
    assert error.code == "refused" and hint in str(error)
    assert len(server.requests) == 1


def test_a_connection_cut_before_the_first_word_is_tried_again(server: ScriptedServer) -> None:
    server.say(Reply(end="cut"), Reply("Yes."))
    assert read(client(server).stream(HELLO)) == "Yes."


def test_a_connection_cut_after_the_first_word_is_not_tried_again(server: ScriptedServer) -> None:
    server.say(Reply("Yes, and", end="cut"), Reply("No."))
    stream = client(server).stream(HELLO)
    pieces = []
    with pytest.raises(GenerationError) as caught:
        pieces.extend(stream)
    assert caught.value.code == "cut_off"
    assert len(server.requests) == 1


def test_a_server_that_is_not_there_is_unreachable() -> None:
    absent = ChatClient(LlmPolicy(url="http://127.0.0.1:9/v1", model="m", attempts=2))
    assert failure(absent.stream(HELLO)).code == "unreachable"
    assert absent.limit() is None and absent.count(HELLO) is None


# --- time -----------------------------------------------------------------------------------------------------------


def test_a_late_first_word_is_a_timeout(server: ScriptedServer) -> None:
    server.say(Reply("Yes.", wait=3600))
    began = time.monotonic()
    assert failure(client(server, first_token_seconds=0.3, total_seconds=300).stream(HELLO)).code == "timeout"
    assert time.monotonic() - began < 200
    assert server.gone.wait(30)


def test_the_first_word_ends_the_wait_for_it(server: ScriptedServer) -> None:
    server.say(Reply("Y" * 300, piece=1, end="endless"))
    stream = client(server, first_token_seconds=2.0, total_seconds=3.0).stream(HELLO)
    began = time.monotonic()
    assert failure(stream).code == "timeout"
    assert time.monotonic() - began > 2.9


def test_silence_after_the_first_word_ends_with_the_whole_time(server: ScriptedServer) -> None:
    server.say(Reply("Yes", end="silence"))
    assert failure(client(server, total_seconds=0.5).stream(HELLO)).code == "timeout"


def test_attempts_and_pauses_count_into_the_whole_time(server: ScriptedServer) -> None:
    server.say(Reply(status=503, headers={"Retry-After": "300"}))
    began = time.monotonic()
    assert failure(client(server, total_seconds=0.5).stream(HELLO)).code == "timeout"
    assert time.monotonic() - began < 200


# --- a stream that is no stream of tokens ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "data: {not json\n\n",
        "data: [1, 2]\n\n",
        'data: {"choices": 3}\n\n',
        'data: {"choices": [{"delta": {"content": 5}}]}\n\n',
        'data: {"usage": {"prompt_tokens": "many"}, "choices": []}\n\n',
    ],
)
def test_an_event_of_another_form_is_malformed(server: ScriptedServer, line: str) -> None:
    server.say(Reply(raw=[line]))
    assert failure(client(server).stream(HELLO)).code == "malformed"


def test_an_error_that_the_server_reports_midway_is_a_failure(server: ScriptedServer) -> None:
    server.say(Reply(raw=['data: {"error": {"message": "out of memory: Good morning."}}\n\n']))
    error = failure(client(server).stream(HELLO))
    assert error.code == "failed" and "morning" not in str(error)


def test_comments_and_other_fields_are_passed_over(server: ScriptedServer) -> None:
    event = json.dumps({"choices": [{"delta": {"content": "Yes."}, "finish_reason": "stop"}]})
    server.say(Reply(raw=[": ping\n\nevent: message\nid: 4\n", f"data:{event}\r\n\r\n"]))
    assert read(client(server).stream(HELLO)) == "Yes."


def test_more_bytes_than_any_answer_has_are_not_read(server: ScriptedServer) -> None:
    server.say(Reply(raw=["data: " + "x" * 2**20] * 4))
    assert failure(client(server, max_tokens=16).stream(HELLO)).code == "malformed"


# --- giving up ------------------------------------------------------------------------------------------------------


def test_closing_a_stream_closes_the_connection(server: ScriptedServer) -> None:
    server.say(Reply("Yes", end="endless"))
    stream = client(server).stream(HELLO)
    assert next(iter(stream)) == "Yes"
    stream.close()
    assert server.gone.wait(30)


def test_a_stream_can_be_closed_while_another_thread_waits_for_it(server: ScriptedServer) -> None:
    server.say(Reply(end="silence"))
    stream = client(server).stream(HELLO)
    caught: list[str] = []
    waiting = threading.Thread(target=lambda: caught.append(failure(stream).code))
    waiting.start()
    _until(lambda: len(server.requests) == 1)
    stream.close()
    waiting.join(30)
    assert caught == ["cancelled"]
    assert server.gone.wait(30)


def test_many_requests_run_beside_each_other(server: ScriptedServer) -> None:
    server.say(Reply("Yes.", wait=2))
    asked = client(server)
    streams = [asked.stream(HELLO) for _ in range(40)]
    _until(lambda: len(server.requests) == 40)  # one after the other, they would take eighty
    assert [read(stream) for stream in streams] == ["Yes."] * 40


# --- the breaker ----------------------------------------------------------------------------------------------------


def test_a_server_that_keeps_failing_is_left_alone_then_tried_again(server: ScriptedServer) -> None:
    server.say(Reply(status=500))
    asked = client(server, attempts=1, breaker_failures=3, breaker_seconds=1.0)
    assert [failure(asked.stream(HELLO)).code for _ in range(4)] == ["failed"] * 3 + ["unavailable"]
    assert len(server.requests) == 3
    server.others.clear()
    assert (asked.limit(), asked.count(HELLO), server.others) == (None, None, [])
    server.say(Reply("Yes."))
    _until(lambda: asked.breaker.state == "half-open")
    assert read(asked.stream(HELLO)) == "Yes."
    assert asked.breaker.state == "closed"


def test_refused_requests_and_given_up_ones_leave_the_breaker_closed(server: ScriptedServer) -> None:
    asked = client(server, breaker_failures=2, breaker_seconds=60.0)
    server.say(Reply(status=400))
    for _ in range(4):
        failure(asked.stream(HELLO))
    server.say(Reply("Yes", end="endless"))
    for _ in range(4):
        stream = asked.stream(HELLO)
        next(iter(stream))
        stream.close()
    assert asked.breaker.state == "closed"


def test_a_breaker_lets_one_trial_through_at_a_time() -> None:
    now = 0.0
    breaker = Breaker(2, 10.0, lambda: now)
    for _ in range(2):
        assert breaker.allow()
        breaker.failed()
    assert breaker.state == "open" and not breaker.allow()
    now = 10.0
    assert breaker.allow() and not breaker.allow()
    breaker.failed()
    assert breaker.state == "open"
    now = 20.0
    assert breaker.allow()
    breaker.given_up()
    assert breaker.allow()
    breaker.succeeded()
    assert breaker.state == "closed" and breaker.allow() and breaker.allow()


def test_a_success_in_between_starts_the_count_of_failures_anew() -> None:
    breaker = Breaker(2, 10.0)
    for _ in range(3):
        breaker.failed()
        breaker.succeeded()
    assert breaker.state == "closed"


# --- tokens ---------------------------------------------------------------------------------------------------------


def test_tokens_are_counted_where_the_server_counts_them(server: ScriptedServer) -> None:
    server.characters_per_token, server.max_model_len = 2.0, 777
    asked = client(server)
    assert asked.count([{"role": "user", "content": "x" * 100}]) == 50
    assert asked.limit() == 777


def test_a_server_without_a_tokenizer_is_asked_once(server: ScriptedServer) -> None:
    server.characters_per_token, server.max_model_len = None, None
    server.others.clear()
    asked = client(server)
    assert [asked.count(HELLO) for _ in range(3)] == [None] * 3
    assert [asked.limit() for _ in range(3)] == [None] * 3
    assert sorted(server.others) == ["models", "tokenize"]


def _until(happened, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
