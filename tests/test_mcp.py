"""The Model Context Protocol, as its own client sees it: in process, over HTTP, and over standard input and output."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult

from headwater.api_keys import KeyLimits
from headwater.corpus import Corpus, open_corpus
from headwater.pipeline import Pipeline
from serving.access import Access
from serving.mcp.server import mcp_server
from serving.mcp.tools import TOOLS, Call
from serving.mcp.transports import Here
from serving.shelf import Shelf
from tests.live_corpus import NOTICE, live_corpus, make_project
from tests.scripted_corpus import Scripted, restarted_answer
from tests.served import served

__all__ = ["live_corpus"]

QUESTION = "How long is the notice period?"


def in_process(corpora: dict[str, Any], *groups: str) -> Client:
    shelf = Shelf(None, corpora)
    return Client(mcp_server(lambda _request, _tool: Call(shelf, Here(groups, ()))))


@asynccontextmanager
async def over_http(url: str, **headers: str) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers=headers, trust_env=False) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http)) as client,
    ):
        yield client


def with_client(client: Client, use: Callable[[Client], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with client as connected:
            return await use(connected)

    return asyncio.run(run())


def call(client: Client, tool: str, **arguments: Any) -> CallToolResult:
    async def use(connected: Client) -> CallToolResult:
        return await connected.call_tool(tool, arguments)

    found = with_client(client, use)
    assert isinstance(found, CallToolResult)
    return found


def structure(result: CallToolResult) -> Any:
    assert not result.is_error, result.content
    (text,) = result.content
    assert json.loads(text.text) == result.structured_content  # type: ignore[union-attr]
    return result.structured_content


def said(result: CallToolResult) -> str:
    assert result.is_error
    (text,) = result.content
    return str(text.text)  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def url(live_corpus: Corpus) -> Iterator[str]:
    with served({"works": live_corpus}) as url:
        yield url


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ('{"jsonrpc": "2.0", "method": ["herons"], "id": {"herons": 1}}', "Validation error: "),
        ('{"herons": "herons"}', "Validation error: "),
        ('["herons"]', "Validation error: "),
        ('{"herons', "Parse error: "),
    ],
)
def test_what_is_no_message_is_refused_without_repeating_it(url: str, body: str, what: str) -> None:
    headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    refused = httpx.post(f"{url}/mcp", content=body, headers=headers)
    assert refused.status_code == 400 and refused.json()["error"]["message"].startswith(what)
    assert "herons" not in refused.text and "input_value" not in refused.text


def test_every_tool_is_described_with_its_schemas_and_reads_only(live_corpus: Corpus) -> None:
    async def tools(client: Client) -> Any:
        return (await client.list_tools()).tools

    found = {tool.name: tool for tool in with_client(in_process({"works": live_corpus}), tools)}
    assert set(found) == {"corpora", "search", "answer", "open_document"} == set(TOOLS)
    for tool in found.values():
        assert tool.title and tool.description and tool.input_schema["type"] == "object"
        assert tool.output_schema is not None and tool.output_schema["properties"]
        assert tool.annotations is not None and tool.annotations.read_only_hint
        assert not tool.annotations.destructive_hint and not tool.annotations.open_world_hint
        assert "groups" not in tool.input_schema.get("properties", {})


def test_an_answer_can_be_followed_to_the_words_it_cites(live_corpus: Corpus) -> None:
    client = {"works": live_corpus}
    answer = structure(call(in_process(client), "answer", question=QUESTION))
    assert NOTICE in answer["text"]
    citation = answer["sentences"][0]["citations"][0]
    span = {"doc_id": citation["doc"], "start": citation["start"], "end": citation["end"]}
    document = structure(call(in_process(client), "open_document", **span))
    assert document["text"] == citation["quote"]
    assert live_corpus.ledger.answer(answer["id"]) is not None


def test_a_search_takes_filters_in_words(live_corpus: Corpus) -> None:
    found = structure(call(in_process({"works": live_corpus}), "search", query="trains", filters='key = "travel.md"'))
    assert {passage["key"] for passage in found["passages"]} == {"travel.md"}


def test_a_document_is_read_in_pieces_that_fit_into_a_conversation(live_corpus: Corpus) -> None:
    client = {"works": live_corpus}
    passage = structure(call(in_process(client), "search", query="grey heron nested", k=1))["passages"][0]
    first = structure(call(in_process(client), "open_document", doc_id=passage["doc_id"]))
    assert first["end"] < first["length"]
    second = structure(call(in_process(client), "open_document", doc_id=passage["doc_id"], start=first["end"]))
    assert second["start"] == first["end"] and second["text"]


def test_only_the_groups_of_the_connection_open_restricted_documents(live_corpus: Corpus) -> None:
    query = {"query": "pay band of field engineers", "k": 50}
    for groups, seen in (((), False), (("staff",), False), (("hr",), True)):
        found = structure(call(in_process({"works": live_corpus}, *groups), "search", **query))
        assert ("hr/pay.md" in {passage["key"] for passage in found["passages"]}) is seen
    refused = call(in_process({"works": live_corpus}), "search", **query, groups=["hr"])
    assert "groups" in said(refused)


def test_a_corpus_need_not_be_named_when_there_is_one() -> None:
    two = {"works": Scripted(restarted_answer), "rivers": Scripted(restarted_answer)}
    assert "rivers, works" in said(call(in_process(two), "search", query="herons"))
    assert structure(call(in_process(two), "answer", question="?", corpus="rivers"))["text"]
    listed = structure(call(in_process(two), "corpora"))["corpora"]
    assert [corpus["name"] for corpus in listed] == ["rivers", "works"]


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("search", {"query": "x", "corpus": "nowhere"}, "no corpus of that name"),
        ("search", {"query": "x", "k": 0}, "k: "),
        ("search", {"query": " "}, "query: "),
        ("search", {"query": "x", "filters": "key ="}, "filter"),
        ("search", {"query": "x", "filters": "page = 99999999999999999999999"}, "must be a whole number"),
        ("answer", {"question": "x", "filters": "page = 99999999999999999999999"}, "must be a whole number"),
        ("search", {"query": "x", "release": 999}, "no such release"),
        ("answer", {}, "question: "),
        ("open_document", {"doc_id": "0" * 32}, "no such release, document"),
        ("open_document", {"doc_id": "d", "start": -1}, "start: "),
    ],
)
def test_mistakes_are_told_to_the_model(live_corpus: Corpus, tool: str, arguments: Any, words: str) -> None:
    assert words in said(call(in_process({"works": live_corpus}), tool, **arguments))


def test_a_failure_inside_says_nothing_about_documents(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Scripted):
        def explain(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("Thirty-one herons")

    words = said(call(in_process({"works": Failing(restarted_answer)}), "search", query="x"))
    assert "herons" not in words + caplog.text and "request " in words


# --- over HTTP --------------------------------------------------------------------------------------------------------


def test_over_http_the_tools_are_the_same(url: str) -> None:
    async def use() -> Any:
        async with over_http(url) as client:
            return await client.call_tool("answer", {"question": QUESTION})

    assert NOTICE in structure(asyncio.run(use()))["text"]


def test_over_http_an_application_vouches_for_groups_in_a_header(url: str) -> None:
    async def keys(**headers: str) -> set[str]:
        async with over_http(url, **headers) as client:
            found = await client.call_tool("search", {"query": "pay band of field engineers", "k": 50})
            return {passage["key"] for passage in structure(found)["passages"]}

    assert "hr/pay.md" not in asyncio.run(keys())
    assert "hr/pay.md" in asyncio.run(keys(**{"X-Headwater-Groups": "hr"}))


def test_over_http_credentials_and_scopes_are_asked_for(live_corpus: Corpus) -> None:
    _, key = live_corpus.ledger.create_api_key("assistant", scopes=["search"], who="test")
    with served({"works": live_corpus}, access=Access(ledger=live_corpus.ledger)) as url:
        refused = httpx.post(f"{url}/mcp", json={}, trust_env=False)
        assert refused.status_code == 401 and refused.headers["www-authenticate"]

        async def use() -> tuple[CallToolResult, CallToolResult]:
            async with over_http(url, Authorization=f"Bearer {key}") as client:
                found = await client.call_tool("search", {"query": QUESTION})
                answered = await client.call_tool("answer", {"question": QUESTION})
            assert isinstance(found, CallToolResult) and isinstance(answered, CallToolResult)
            return found, answered

        found, answered = asyncio.run(use())
    assert structure(found)["passages"]
    assert "scope answer" in said(answered)


def send(url: str, key: str, method: str, **params: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}", "Accept": "application/json, text/event-stream"}
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return httpx.post(f"{url}/mcp", json=message, headers=headers, trust_env=False)


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
def test_over_http_no_stream_is_opened_that_would_never_end(url: str, method: str) -> None:
    for more in ({}, {"MCP-Protocol-Version": "2025-06-18"}, {"MCP-Protocol-Version": "2026-07-28"}):
        headers = {"Accept": "text/event-stream"} | more
        response = httpx.request(method, f"{url}/mcp", headers=headers, trust_env=False, timeout=10)
        assert (response.status_code, response.headers["allow"]) == (405, "POST")
        assert response.headers["content-type"] == "application/problem+json"


def test_over_http_every_message_counts_once(live_corpus: Corpus) -> None:
    limits = KeyLimits(per_minute={"search": 3, "answer": 3})
    create = live_corpus.ledger.create_api_key
    _, key = create("counted", scopes=["search", "answer"], limits=limits, who="test")
    _, other = create("counted too", scopes=["answer"], limits=limits, who="test")
    _, none = create("uncounted", scopes=["feedback"], who="test")
    with served({"works": live_corpus}, access=Access(ledger=live_corpus.ledger)) as url:
        assert [send(url, key, "tools/list").status_code for _ in range(4)] == [200, 200, 200, 429]
        asked = {"name": "answer", "arguments": {"question": QUESTION}}
        left = [send(url, key, "tools/call", **asked).headers["ratelimit-remaining"] for _ in range(2)]
        assert left == ["2", "1"]
        assert [send(url, other, "tools/list").status_code for _ in range(4)] == [200, 200, 200, 429]
        assert send(url, none, "tools/list").status_code == 403
        assert send(url, key, "tools/call", name="nothing").status_code == 429


@pytest.mark.parametrize(
    "message",
    [
        {"id": 1, "params": {"name": "answer", "arguments": {}}},
        {"id": 1, "params": {"name": "answer", "arguments": {"question": " ", "groups": ["hr"]}}},
        {"id": 1, "params": {"name": "answer", "arguments": "How long?"}},
        {"id": None, "params": {"name": "answer", "arguments": {"question": QUESTION}}},
        {"params": {"name": "answer", "arguments": {"question": QUESTION}}},
    ],
    ids=["missing", "invalid", "no object", "no id", "notification"],
)
def test_over_http_a_call_that_is_wrong_takes_its_scope_and_counts(
    live_corpus: Corpus, request: pytest.FixtureRequest, message: dict[str, Any]
) -> None:
    limits = KeyLimits(per_minute={"search": 1, "answer": 2})
    name = f"wrong {request.node.callspec.id}"
    _, key = live_corpus.ledger.create_api_key(name, scopes=["search", "answer"], limits=limits, who="test")
    _, other = live_corpus.ledger.create_api_key(f"{name} too", scopes=["search"], who="test")
    body = {"jsonrpc": "2.0", "method": "tools/call"} | message

    def post(url: str, key: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}", "Accept": "application/json, text/event-stream"}
        return httpx.post(f"{url}/mcp", json=body, headers=headers, trust_env=False)

    with served({"works": live_corpus}, access=Access(ledger=live_corpus.ledger)) as url:
        assert [post(url, key).headers["ratelimit-remaining"] for _ in range(2)] == ["1", "0"]
        over, refused = post(url, key), post(url, other)
        assert "More than 2 requests a minute for answer" in over.text
        assert "scope answer" in refused.text
        # As they had to be counted, they left the other scope's limit alone.
        assert send(url, key, "tools/call", name="search", arguments={"query": QUESTION}).status_code == 200


# --- over standard input and output -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_speaks_the_protocol_and_nothing_else_on_standard_output(tmp_path: Path) -> None:
    with open_corpus(make_project(tmp_path)) as corpus:
        Pipeline(corpus, workers=1).run()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEADWATER_")}
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "headwater.cli", "mcp", "works", "--group", "hr"],
        env=environment | {"HEADWATER_PROJECT": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[1])},
    )

    async def use(client: Client) -> Any:
        tools = (await client.list_tools()).tools
        answer = await client.call_tool("answer", {"question": QUESTION})
        found = await client.call_tool("search", {"query": "pay band of field engineers", "k": 50})
        return [tool.name for tool in tools], answer, found

    names, answer, found = with_client(Client(server, read_timeout_seconds=240), use)
    assert set(names) == set(TOOLS)
    assert NOTICE in structure(answer)["text"]
    assert "hr/pay.md" in {passage["key"] for passage in structure(found)["passages"]}
