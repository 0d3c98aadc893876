"""The protocol around the tools: listing them, checking what they are given, and saying what went wrong."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

import headwater
from serving.mcp.tools import TOOLS, Call, Tool
from serving.places import in_place
from serving.problems import answer_to

if TYPE_CHECKING:
    from mcp.server import Server

INSTRUCTIONS = (
    "Documents of an organisation, searched and answered from with citations. Use `answer` for a verified, cited "
    "answer, `search` to look around, `open_document` to read on. Name the sources (key, page) in what you write."
)


def mcp_server(call_of: Callable[[Request | None, Tool[Any]], Call]) -> Server[Any]:
    """Return the server. ``call_of`` says for whom a tool is called; what it raises is told to the client.

    Needs the extra ``mcp``.
    """
    import anyio.to_thread
    from mcp.server import Server
    from mcp.server.context import ServerRequestContext
    from mcp.shared.exceptions import MCPError
    from mcp_types import (
        INVALID_PARAMS,
        CallToolRequestParams,
        CallToolResult,
        ListToolsResult,
        PaginatedRequestParams,
        TextContent,
    )

    async def list_tools(
        _context: ServerRequestContext[Any, Any], _params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        return ListToolsResult(tools=[_described(tool) for tool in TOOLS.values()])

    async def call_tool(context: ServerRequestContext[Any, Any], params: CallToolRequestParams) -> CallToolResult:
        tool = TOOLS.get(params.name)
        if tool is None:
            raise MCPError(INVALID_PARAMS, f"There is no such tool; there are: {', '.join(TOOLS)}.")
        request: Request | None = context.request

        try:
            call = call_of(request, tool)
            taken = tool.takes.model_validate(params.arguments or {})

            def run() -> BaseModel:
                return tool.run(call, taken)

            answers = tool.scope == "answer"
            found = await (in_place(call.who.id, run) if answers else anyio.to_thread.run_sync(run))
        except Exception as error:
            return CallToolResult(content=[TextContent(type="text", text=_said(error, request))], is_error=True)
        structure = found.model_dump(mode="json")
        text = TextContent(type="text", text=json.dumps(structure, ensure_ascii=False))
        return CallToolResult(content=[text], structured_content=structure)

    return Server(
        "headwater",
        title="Headwater",
        version=headwater.__version__,
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def _described(tool: Tool[Any]) -> Any:
    from mcp_types import Tool as McpTool
    from mcp_types import ToolAnnotations

    return McpTool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=tool.takes.model_json_schema(),
        output_schema=tool.gives.model_json_schema(mode="serialization"),
        annotations=ToolAnnotations(
            read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
        ),
    )


def _said(error: Exception, request: Request | None) -> str:
    """Return what a client is told of an error: never what was sent, nor what a document says."""
    if isinstance(error, ValidationError):
        fields = [f"{'.'.join(map(str, item['loc'])) or 'arguments'}: {item['msg']}" for item in error.errors()[:20]]
        return f"The arguments are not valid. {'; '.join(fields)}"
    state = request.scope.get("state", {}) if request is not None else {}
    problem = json.loads(bytes(answer_to(error, str(state.get("request_id") or uuid.uuid4().hex)).body))
    return f"{problem['detail']} (request {problem['request_id']})"
