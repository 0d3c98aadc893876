"""A server of OpenAI's chat protocol that answers as a test tells it to: a real one, on a port of its own, in a thread.

Each request takes the next :class:`Reply` of the script, the last one again and again.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

MODEL = "scripted"


@dataclass(frozen=True)
class Reply:
    """What a request gets: ``text`` in pieces of ``piece`` characters, after ``wait`` seconds; then its end.

    ``end`` is the reason of the finish, ``cut`` (the connection is closed), ``silence`` (nothing more comes) or
    ``endless`` (pieces of white space, without end).
    """

    text: str = ""
    status: int = 200
    piece: int = 7
    wait: float = 0.0
    end: str = "stop"
    usage: tuple[int, int] | None = (11, 7)
    raw: Sequence[str] | None = None
    headers: dict[str, str] = field(default_factory=dict)


def sentences(*written: tuple[str, list[int]], refused: bool = False) -> str:
    """Return a well-formed reply."""
    return json.dumps({"refused": refused, "sentences": [{"text": text, "cites": cites} for text, cites in written]})


class ScriptedServer:
    """What was asked of the server, and what it will say."""

    def __init__(self) -> None:
        self.script: list[Reply] = []
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.traceparents: list[str | None] = []
        self.ports: set[int] = set()
        """Of the connections that requests came on."""
        self.others: list[str] = []
        self.gone = threading.Event()
        """Set when a reader closed the connection before the end."""
        self.max_model_len: int | None = None
        self.characters_per_token: float | None = None
        self.url = ""
        self._next = 0

    def say(self, *replies: Reply) -> None:
        self.script, self._next = list(replies), 0
        self.requests.clear()
        self.ports.clear()
        self.gone.clear()

    async def chat(self, request: Request) -> Response:
        self.requests.append(await request.json())
        self.keys.append(request.headers.get("authorization"))
        self.traceparents.append(request.headers.get("traceparent"))
        self.ports.add(request.client.port if request.client else 0)
        reply = self.script[min(self._next, len(self.script) - 1)]
        self._next += 1
        if reply.status != 200:
            return JSONResponse({"error": {"message": "no"}}, reply.status, reply.headers)
        return StreamingResponse(self._stream(reply), media_type="text/event-stream")

    async def _stream(self, reply: Reply) -> AsyncIterator[bytes]:
        ended = False
        try:
            yield _event(delta={"role": "assistant", "content": ""})
            await asyncio.sleep(reply.wait)
            for line in reply.raw or ():
                yield line.encode()
            for start in range(0, len(reply.text), reply.piece):
                yield _event(delta={"content": reply.text[start : start + reply.piece]})
            while reply.end == "endless":
                yield _event(delta={"content": " "})
                await asyncio.sleep(0.001)
            if reply.end == "silence":
                await asyncio.sleep(3600)
            if reply.end == "cut":
                ended = True
                raise ConnectionAbortedError
            if reply.raw is None:
                yield _event(delta={}, finish=reply.end)
                if reply.usage is not None:
                    yield _data({"choices": [], "usage": dict(zip(_USAGE, reply.usage, strict=True))})
            yield b"data: [DONE]\n\n"
            ended = True
        finally:
            if not ended:
                self.gone.set()

    async def models(self, request: Request) -> Response:
        self.others.append("models")
        card = {"id": MODEL, "object": "model"}
        return JSONResponse({"data": [card | ({"max_model_len": self.max_model_len} if self.max_model_len else {})]})

    async def tokenize(self, request: Request) -> Response:
        self.others.append("tokenize")
        if self.characters_per_token is None:
            return JSONResponse({"error": "no such path"}, 404)
        body = await request.json()
        characters = sum(len(message["content"]) for message in body["messages"])
        return JSONResponse({"count": round(characters / self.characters_per_token), "tokens": []})


_USAGE = ("prompt_tokens", "completion_tokens")


def _event(delta: dict[str, str], finish: str | None = None) -> bytes:
    return _data({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


def _data(value: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()


@contextmanager
def serving() -> Iterator[ScriptedServer]:
    """Serve until the block ends."""
    scripted = ScriptedServer()
    app = Starlette(
        routes=[
            Route("/v1/chat/completions", scripted.chat, methods=["POST"]),
            Route("/v1/models", scripted.models),
            Route("/tokenize", scripted.tokenize, methods=["POST"]),
        ]
    )
    config = uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    scripted.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield scripted
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
