"""Errors in the shape that OpenAI's clients read."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel

from serving.problems import RESPONSES, answer_to, problem, request_id_of

PATHS = ("/v1/chat", "/v1/models")
"""What is answered in this shape, and all below it."""

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
}


class OpenAiErrorBody(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class OpenAiError(BaseModel):
    """An error as OpenAI's clients read it."""

    error: OpenAiErrorBody


OPENAI_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": OpenAiError, "description": response["description"]}
    for status, response in RESPONSES.items()
    if status != 422  # OpenAI answers 400 to what is not valid
}


def is_openai(path: str) -> bool:
    """Say whether errors of ``path`` are answered in this shape."""
    return any(path == prefix or path.startswith(f"{prefix}/") for prefix in PATHS)


def in_openai_shape(response: JSONResponse) -> JSONResponse:
    """Return a problem as an OpenAI error, with its headers; what is not valid becomes 400."""
    found = json.loads(bytes(response.body))
    status = 400 if response.status_code == 422 else response.status_code
    fields = found.get("errors") or []
    said = "; ".join(f"{field['field']}: {field['message']}" for field in fields)
    body = OpenAiErrorBody(
        message=f"The request is not valid: {said}" if said else found["detail"],
        type=_TYPES.get(status, "invalid_request_error" if status < 500 else "server_error"),
        param=fields[0]["field"] if fields else None,
        code={401: "invalid_api_key", 404: "model_not_found"}.get(status),
    )
    kept = {k: v for k, v in response.headers.items() if k not in ("content-length", "content-type")}
    return JSONResponse(OpenAiError(error=body).model_dump(), status, kept)


def refused(path: str, status: int, detail: str, request_id: str, headers: Mapping[str, str]) -> JSONResponse:
    """Return the response for a request to ``path`` that is turned away before it reaches an endpoint."""
    response = problem(status, detail, request_id, headers=headers)
    return in_openai_shape(response) if is_openai(path) else response


async def unrouted(request: Request, error: Exception) -> JSONResponse:
    """Answer what was raised outside of every route: an unknown path or method."""
    response = answer_to(error, request_id_of(request))
    return in_openai_shape(response) if is_openai(request.url.path) else response


class OpenAiRoute(APIRoute):
    """A route whose errors have OpenAI's shape."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, which answers every exception itself."""
        handle = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                return await handle(request)
            except Exception as error:
                return in_openai_shape(answer_to(error, request_id_of(request)))

        return answered
