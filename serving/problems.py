"""Errors as problem details (RFC 9457), none of which repeats what the caller sent or what a document says."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from headwater.errors import HeadwaterError, NotFoundError
from serving.models import FieldProblem, Problem

LOG = logging.getLogger("headwater.serving")

MEDIA_TYPE = "application/problem+json"

RESPONSES: dict[int | str, dict[str, Any]] = {
    code: {
        "model": Problem,
        "description": text,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for code, text in {
        401: "The bearer token is missing or wrong.",
        404: "There is no such corpus, release, document or object, or the end user may not see it.",
        413: "The request body is too large.",
        422: "The request is not valid; `errors` names the fields.",
        503: "The corpus can't be searched at the moment.",
    }.items()
}
"""What every /v1 endpoint may answer instead of its result."""


def problem(
    status: int,
    detail: str,
    request_id: str,
    *,
    errors: list[FieldProblem] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return the response for one error."""
    body = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, request_id=request_id, errors=errors)
    return JSONResponse(body.model_dump(exclude_none=True), status, dict(headers or {}), media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answer the exceptions that are expected with a problem; the outermost middleware answers the others."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(HeadwaterError, _headwater)


def request_id_of(request: Request) -> str:
    """Return the id of the request, set by the outermost middleware."""
    return str(request.scope.get("state", {}).get("request_id", ""))


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = []
    for item in error.errors():
        if item["type"] == "json_invalid":
            errors.append(FieldProblem(field="body", message="is not valid JSON"))
            continue
        field = ".".join(str(part) for part in item["loc"][1:])[:200] or str(item["loc"][0])
        # Encoding and back drops lone surrogates that the name of an unknown field may carry.
        errors.append(FieldProblem(field=field.encode("utf-8", "replace").decode(), message=item["msg"]))
    return problem(422, "The request is not valid; see errors.", request_id_of(request), errors=errors[:20])


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, str(error.detail), request_id_of(request), headers=error.headers)


async def _headwater(request: Request, error: Exception) -> JSONResponse:
    request_id = request_id_of(request)
    if isinstance(error, NotFoundError):
        return problem(
            404, "There is no such release, document or object in this corpus, or you may not see it.", request_id
        )
    _log(error, request_id)
    return problem(
        503, "The corpus can't be searched at the moment; its operator finds the reason in the log.", request_id
    )


def unexpected(error: Exception, request_id: str) -> JSONResponse:
    """Log an exception that nothing else answered, and return the response for it."""
    _log(error, request_id)
    return problem(500, "Something went wrong in the service; its log has the details.", request_id)


def _log(error: Exception, request_id: str) -> None:
    # Where it happened, not the message: a message may quote what was being processed.
    frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    fields = {"request_id": request_id, "error": type(error).__name__, "frames": frames[-12:]}
    LOG.error("request failed", extra={"fields": fields})
