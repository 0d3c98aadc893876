"""The chat interface, as OpenAI's own client sees it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from fastapi.testclient import TestClient
from markdown_it import MarkdownIt

from headwater.answering.events import AnswerEvent, Finished, SentenceReady
from headwater.corpus import Corpus
from serving.access import Access
from serving.app import create_app
from serving.chat.models import ChatMessage
from serving.chat.writing import AGAIN, Writing, question_of
from tests.live_corpus import NOTICE, live_corpus
from tests.scripted_corpus import STARTED, Scripted, answer, cited, restarted_answer
from tests.served import served

__all__ = ["live_corpus"]

MODEL = "headwater/works"
QUESTION = "How long is the notice period?"


def client_at(url: str, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{url}/v1", api_key=key, max_retries=0, http_client=openai.DefaultHttpxClient(trust_env=False)
    )


def user(text: Any) -> Any:
    return {"role": "user", "content": text}


@pytest.fixture(scope="module")
def url(live_corpus: Corpus) -> Iterator[str]:
    with served({"works": live_corpus}) as url:
        yield url


@pytest.fixture
def chat(url: str) -> Iterator[openai.OpenAI]:
    with client_at(url) as client:
        yield client


def test_an_answer_is_a_message_whose_citations_can_be_opened(chat: openai.OpenAI) -> None:
    found = chat.chat.completions.create(model=MODEL, messages=[user(QUESTION)])
    (choice,) = found.choices
    content, annotations = choice.message.content or "", choice.message.annotations or []
    assert choice.finish_reason == "stop" and choice.message.refusal is None
    assert NOTICE in content and f"{NOTICE} [1]" in content
    assert "Sources:\n[1] " in content and "(leave.md)" in content
    assert annotations
    for annotation in annotations:
        span = annotation.url_citation
        document = httpx.get(span.url, trust_env=False).json()
        assert content[span.start_index : span.end_index] == document["text"]
    structure = (choice.message.model_extra or {})["headwater"]
    assert structure["sentences"][0]["citations"][0]["quote"] == structure["sentences"][0]["text"]
    assert found.system_fingerprint == f"release-{structure['release']}"
    assert found.usage is not None and found.usage.total_tokens == 0  # nothing but quotations


def test_a_stream_adds_up_to_the_same_message(chat: openai.OpenAI) -> None:
    whole = chat.chat.completions.create(model=MODEL, messages=[user(QUESTION)]).choices[0].message
    options: Any = {"include_usage": True}
    chunks = list(
        chat.chat.completions.create(model=MODEL, messages=[user(QUESTION)], stream=True, stream_options=options)
    )
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == whole.content
    told = [mark for delta in deltas for mark in (delta.model_extra or {}).get("annotations", [])]
    assert told == [mark.model_dump() for mark in whole.annotations or []]
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert (deltas[-1].model_extra or {})["headwater"]["sentences"]
    assert chunks[-1].choices == [] and chunks[-1].usage is not None
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_question_that_the_documents_do_not_answer_is_a_refusal(chat: openai.OpenAI) -> None:
    asked: Any = [user("Who won the football cup in 1954?")]
    message = chat.chat.completions.create(model=MODEL, messages=asked).choices[0].message
    assert message.refusal and message.content == message.refusal and not message.annotations
    deltas = [
        chunk.choices[0].delta
        for chunk in chat.chat.completions.create(model=MODEL, messages=asked, stream=True)
        if chunk.choices
    ]
    assert "".join(delta.content or "" for delta in deltas) == message.content
    assert deltas[-1].refusal == message.refusal


def test_corpora_are_listed_as_models(chat: openai.OpenAI) -> None:
    (model,) = chat.models.list().data
    assert model.id == MODEL and model.owned_by == "headwater" and model.created > 1_500_000_000
    assert chat.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError):
        chat.models.retrieve("headwater/nowhere")


def test_groups_of_the_end_user_come_in_the_body_or_a_header(chat: openai.OpenAI) -> None:
    asked: Any = [user("Where does the pay band of field engineers start?")]

    def keys(**more: Any) -> set[str]:
        message = chat.chat.completions.create(model=MODEL, messages=asked, **more).choices[0].message
        found = (message.model_extra or {})["headwater"]
        return {citation["key"] for sentence in found["sentences"] for citation in sentence["citations"]}

    assert "hr/pay.md" not in keys()
    assert "hr/pay.md" in keys(extra_body={"groups": ["hr"]})
    assert "hr/pay.md" in keys(extra_headers={"X-Headwater-Groups": "staff, hr"})
    assert "hr/pay.md" not in keys(extra_body={"groups": []}, extra_headers={"X-Headwater-Groups": "hr"})


def test_what_was_said_before_is_the_conversation_without_markers_and_instructions() -> None:
    corpus = Scripted(restarted_answer)
    messages = [
        {"role": "system", "content": "You are a pirate."},
        user("What is a weir?"),
        {"role": "assistant", "content": "A low dam [1]. It holds water [1] [2].\n\nSources:\n[1] Weirs (weir.md)"},
        user("Unanswered"),
        user([{"type": "text", "text": "And a"}, {"type": "text", "text": "lock?"}]),
    ]
    with served({"works": corpus}) as url, client_at(url) as chat:
        extra = {"filters": {"key": "a.md"}, "conversation": "c-1"}
        chat.chat.completions.create(model="works", messages=messages, extra_body=extra)  # type: ignore[arg-type]
    (given,) = corpus.asked
    assert given["question"] == "And a\nlock?"
    assert [(turn.question, turn.answer) for turn in given["history"]] == [
        ("What is a weir?", "A low dam. It holds water."),
        ("Unanswered", ""),
    ]
    assert (given["filters"], given["conversation"]) == ({"key": "a.md"}, "c-1")


def test_of_a_long_conversation_the_last_turns_are_kept() -> None:
    messages = [ChatMessage(role=role, content=f"{n}") for n in range(50) for role in ("user", "assistant")]
    _, turns = question_of([*messages, ChatMessage(role="user", content="?")])
    assert len(turns) == 20 and turns[-1].question == "49"


def test_a_restart_is_said_in_the_stream_and_the_structure_holds_what_counts() -> None:
    with served({"works": Scripted(restarted_answer)}) as url, client_at(url) as chat:
        chunks = list(
            chat.chat.completions.create(
                model=MODEL, messages=[user("How many?")], stream=True, stream_options={"include_usage": True}
            )
        )
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    content = "".join(delta.content or "" for delta in deltas)
    before, again, after = content.partition(AGAIN)
    assert "Forty herons" in before and again and "Thirty-one herons" in after
    structure = (deltas[-1].model_extra or {})["headwater"]
    assert [sentence["text"] for sentence in structure["sentences"]] == ["Thirty-one herons\u2028nest at the weir."]
    for delta in deltas:
        for mark in (delta.model_extra or {}).get("annotations", []):
            span = mark["url_citation"]
            assert content[span["start_index"] : span["end_index"]] in ("Forty herons nest.", structure["text"])
    assert chunks[-1].usage is not None and chunks[-1].usage.total_tokens == 137


def test_one_source_has_one_number_however_often_it_is_cited() -> None:
    second = cited("It is two metres high.", start=90, last_page=3)

    def twice() -> Iterator[AnswerEvent]:
        yield STARTED
        for sentence in (cited(), second, cited()):
            yield SentenceReady(sentence)
        yield Finished(answer(cited(), second, cited()))

    with served({"works": Scripted(twice)}) as url, client_at(url) as chat:
        content = chat.chat.completions.create(model=MODEL, messages=[user("?")]).choices[0].message.content or ""
    text, _, sources = content.partition("\n\nSources:\n")
    assert re.findall(r"\[(\d)\]", text) == ["1", "2", "1"]
    assert sources.splitlines() == ["[1] Birds, Weir, page 2 (birds.md)", "[2] Birds, Weir, pages 2–3 (birds.md)"]


def test_nothing_in_a_document_becomes_an_image_or_markup_of_the_message() -> None:
    bait = 'See ![x](https://evil.example/?q=1) <img src="https://evil.example"> and a < b.'
    sentence = cited(bait, title="![t](https://evil.example)", key="<b>.md")

    def baits() -> Iterator[AnswerEvent]:
        yield STARTED
        yield SentenceReady(sentence)
        yield Finished(answer(sentence))

    with served({"works": Scripted(baits)}) as url, client_at(url) as chat:
        message = chat.chat.completions.create(model=MODEL, messages=[user("?")]).choices[0].message
    content = message.content or ""
    assert "![" not in content and not re.search(r"<[a-z]", content)
    assert "a < b." in content
    assert (message.model_extra or {})["headwater"]["sentences"][0]["text"] == bait


@pytest.mark.parametrize("before", ["", "\\", "\\\\", "\\\\\\", "a ", "a\n", "`", "!", "!\\", "&", "[", "x](y) "])
@pytest.mark.parametrize(
    "bait",
    [
        "<img src=https://evil.example/p>",
        "<https://evil.example>",
        "<!-- x -->",
        "</p><script>x</script>",
        "<?x?>",
        "![x](https://evil.example)",
        "![x]\\[y]",
        "!\\[x](https://evil.example)",
    ],
)
def test_no_backslash_brings_markup_to_life(before: str, bait: str) -> None:
    writing = Writing(lambda _: "https://headwater.example/")
    text, _ = writing.sentence(cited(f"{before}{bait}"))
    more, _ = writing.sentence(cited(bait))
    tokens = MarkdownIt("commonmark").parse(text + more + writing.sources())
    kinds = {inner.type for token in tokens for inner in (token, *(token.children or ()))}
    assert not kinds & {"image", "html_inline", "html_block"}


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"messages": []},
        {"messages": [{"role": "assistant", "content": "Hello"}]},
        {"messages": [user("  ")]},
        {"messages": [user("x" * 2001)]},
        {"messages": [user("a\x00b")]},
        {"messages": [user([{"type": "image_url", "image_url": {"url": "data:,"}}])]},
        {"messages": [{"role": "king", "content": "?"}]},
        {"messages": [user("?")], "n": 2},
        {"messages": [user("?")], "response_format": {"type": "json_object"}},
        {"messages": [user("?")], "extra_body": {"groups": [""]}},
    ],
)
def test_requests_that_can_not_be_met_are_bad_requests(chat: openai.OpenAI, body: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        chat.chat.completions.create(**{"model": MODEL, **body})
    error: Any = refused.value.body
    assert error["type"] == "invalid_request_error" and error["message"]


def test_an_unknown_model_is_not_found(chat: openai.OpenAI) -> None:
    for model in ("gpt-4o", "headwater/nowhere", "headwater/../works"):
        for stream in (False, True):
            with pytest.raises(openai.NotFoundError) as refused:
                chat.chat.completions.create(model=model, messages=[user("?")], stream=stream)
            assert refused.value.code == "model_not_found"


def test_a_wrong_key_is_an_authentication_error(live_corpus: Corpus) -> None:
    with served({"works": live_corpus}, access=Access(token="s3cret")) as url:
        with client_at(url, "wrong") as chat, pytest.raises(openai.AuthenticationError) as refused:
            chat.chat.completions.create(model=MODEL, messages=[user("?")])
        assert refused.value.code == "invalid_api_key"
        with client_at(url, "s3cret") as chat:
            assert chat.chat.completions.create(model=MODEL, messages=[user(QUESTION)]).choices


def test_a_failure_midway_is_raised_by_the_client() -> None:
    def fails() -> Iterator[AnswerEvent]:
        yield STARTED
        yield SentenceReady(cited())
        raise RuntimeError("herons")

    with served({"works": Scripted(fails)}) as url, client_at(url) as chat:
        with pytest.raises(openai.APIError) as refused:
            list(chat.chat.completions.create(model=MODEL, messages=[user("?")], stream=True))
        assert "herons" not in str(refused.value)
        with pytest.raises(openai.InternalServerError):
            chat.chat.completions.create(model=MODEL, messages=[user("?")])


def test_bytes_that_are_no_request_are_bad_requests_in_the_same_shape() -> None:
    app = create_app(corpora={"works": Scripted(restarted_answer)}, access=Access())
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        for content in (b"", b"{", b"\xff\xfe", b"[" * 20000, b'{"\\ud800": 1}', b"NaN"):
            headers = {"Content-Type": "application/json"}
            response = client.post("/v1/chat/completions", content=content, headers=headers)
            assert response.status_code == 400, content
            assert response.json()["error"]["message"]
        assert client.get("/v1/chat/completions").status_code == 405
        large = client.post("/v1/chat/completions", content=b"x" * (512 * 1024 + 1))
        assert (large.status_code, large.json()["error"]["type"]) == (413, "request_too_large")
