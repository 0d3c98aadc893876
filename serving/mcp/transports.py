"""How the server is reached: over HTTP beside the other endpoints, or over standard input and output."""

from __future__ import annotations

import getpass
import json
import logging
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from headwater.api_keys import Scope as ApiScope
from headwater.project import Project
from headwater.types import Principal, Usage
from serving.access import Caller, caller_of
from serving.access.dependency import STATE
from serving.groups import named_groups
from serving.mcp.server import mcp_server
from serving.mcp.tools import TOOLS, Call, Tool
from serving.shelf import Shelf, UnknownCorpus

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

COUNTED = "mcp_caller"
"""Where the caller that a message was counted for lies in a connection's state, or why it was refused."""


_QUOTING = ("Parse error", "Validation error")
"""What the protocol's library says first where it repeats, behind a colon, what was sent."""


class McpEndpoint:
    """The server as an ASGI application (streamable HTTP, without sessions, so that any replica answers any request).

    Who calls was found out by the outermost middleware. Every message takes a scope and counts against its limits, before
    anything else is looked at: a call of a tool that tool's, any other message one of those that the tools take.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._manager: StreamableHTTPSessionManager | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Answer requests until the block ends."""
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

        self._manager = StreamableHTTPSessionManager(mcp_server(self._call), json_response=True, stateless=True)
        async with self._manager.run():
            yield
        self._manager = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if self._manager is None:
            raise RuntimeError("the MCP endpoint is not running: the application's lifespan has to be entered")
        if scope["method"] != "POST":
            # A GET would open a stream on which nothing is ever sent, and there are no sessions to DELETE.
            raise HTTPException(405, "Messages are sent here with POST.", {"Allow": "POST"})
        message = await receive()
        wanted, is_call = _asked(message.get("body", b""))
        state = scope["state"]
        try:
            state[COUNTED] = caller_of(scope, wanted.scope if wanted else _scope_of(scope))
        except HTTPException as refused:
            if not is_call:
                raise
            state[COUNTED] = refused  # which the tool's result tells
        await self._manager.handle_request(scope, _again(message, receive), _without_input(send))

    def _call(self, request: Request | None, tool: Tool[Any]) -> Call:
        if request is None:
            raise RuntimeError("a call over HTTP comes with its request")
        who: Caller | HTTPException = request.scope["state"][COUNTED]
        if isinstance(who, HTTPException):
            raise who
        who.require(tool.scope)  # whatever else made a call of the message
        return Call(self._shelf, who, named_groups(request), request)


def _asked(body: bytes) -> tuple[Tool[Any] | None, bool]:
    """Return the tool that a message names, if any, and whether it is a call, which a result answers."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return None, False
    if not isinstance(message, dict) or message.get("method") != "tools/call":
        return None, False
    params = message.get("params")
    name = params.get("name") if isinstance(params, dict) else None
    tool = TOOLS.get(name) if isinstance(name, str) else None
    whole = isinstance(params, dict) and isinstance(params.get("arguments", {}), dict | None)
    return tool, tool is not None and whole and type(message.get("id")) in (int, str)


def _scope_of(connection: Scope) -> ApiScope:
    """Return the first of the tools' scopes that the caller has; that of the first tool if there is none."""
    who: Caller = connection["state"][STATE]
    wanted = [tool.scope for tool in TOOLS.values()]
    return next((scope for scope in wanted if who.has(scope)), wanted[0])


def _again(message: Message, receive: Receive) -> Receive:
    """Return the function that gives ``message``, and then what ``receive`` gives."""
    waiting = [message]

    async def received() -> Message:
        return waiting.pop() if waiting else await receive()

    return received


def _without_input(send: Send) -> Send:
    """Return the function that sends what ``send`` would, error messages of status 400 cut before what they quote.

    The protocol's library says what is wrong with a message in the words of its validator, which repeat the message.
    """
    held: list[Message] = []

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 400:
            held.append(message)
            return
        if not held:
            await send(message)
            return
        held.append(message)
        if message.get("more_body"):
            return
        start, *parts = held
        held.clear()
        body = _cut(b"".join(part.get("body", b"") for part in parts))
        headers = [(name, value) for name, value in start.get("headers", ()) if name.lower() != b"content-length"]
        await send({**start, "headers": [*headers, (b"content-length", str(len(body)).encode())]})
        await send({"type": "http.response.body", "body": body})

    return sent


def _cut(body: bytes) -> bytes:
    try:
        found = json.loads(body)
        said = found["error"]["message"]
    except (ValueError, TypeError, KeyError):
        return body
    what = str(said).partition(":")[0]
    if what not in _QUOTING:
        return body
    found["error"]["message"] = f"{what}: the body is not one message of the Model Context Protocol (JSON-RPC 2.0)."
    return json.dumps(found).encode()


class Here:
    """Whoever started the server on this machine, reading as ``groups``, and only ``corpora`` (empty: all)."""

    def __init__(self, groups: Iterable[str], corpora: Collection[str]) -> None:
        self._principal = Principal(groups=frozenset(groups), name=f"os:{_user()}")
        self._corpora = frozenset(corpora)

    @property
    def id(self) -> str:
        """What the ledger names the user by."""
        return self._principal.name

    def principal(self, groups: Iterable[str] | None = None) -> Principal:
        """Return whom to search as: always the same."""
        return self._principal

    def corpus(self, name: str) -> str:
        """Return ``name``; UnknownCorpus when it is not to be used."""
        if self._corpora and name not in self._corpora:
            raise UnknownCorpus
        return name

    def visible(self, names: Collection[str]) -> list[str]:
        """Return those of the corpora that are to be used."""
        return [name for name in sorted(names) if not self._corpora or name in self._corpora]

    def charge(self, usage: Usage | None) -> None:
        """Count nothing: there is no quota on one's own machine."""

    def record(
        self,
        action: str,
        *,
        corpus: str | None = None,
        release: int | None = None,
        target: str | None = None,
        counts: Mapping[str, int] | None = None,
    ) -> None:
        """Enter nothing: the audit log is of the service; answers are in the ledger in any case."""


def run_stdio(project: Project, *, groups: Iterable[str] = (), corpora: Collection[str] = ()) -> None:
    """Serve the corpora of ``project`` over standard input and output until the client closes them.

    Log lines go to standard error.
    """
    import anyio
    from mcp.server.stdio import stdio_server

    from serving.json_lines import log_json_lines

    log_json_lines(logging.WARNING)
    shelf = Shelf(project, None)
    who = Here(groups, corpora)
    server = mcp_server(lambda _request, _tool: Call(shelf, who))

    async def serve() -> None:
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())

    shelf.start()
    try:
        anyio.run(serve)
    finally:
        shelf.close()


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return "unknown"
