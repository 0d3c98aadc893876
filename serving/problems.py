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

from headwater.apart import ELSEWHERE
from headwater.errors import FilterError, HeadwaterError, NotFoundError
from serving.models import FieldProblem, Problem
from serving.places import TooManyAnswers
from serving.shelf import NotSearchable, UnknownCorpus

LOG = logging.getLogger("headwater.serving")

MEDIA_TYPE = "application/problem+json"

RESPONSES: dict[int | str, dict[str, Any]] = {
    code: {
        "model": Problem,
        "description": text,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for code, text in {
        400: "The body can't be read.",
        401: "The credentials are missing, wrong or expired.",
        403: "The credentials lack a scope, or may not claim these groups.",
        404: "There is no such corpus, release, document or object, or the end user may not see it.",
        413: "The request body is too large.",
        421: "The service answers requests addressed to this machine only.",
        422: "The request is not valid; `errors` names the fields.",
        429: "A rate limit or quota is used up; `Retry-After` says when to come back.",
        500: "Something went wrong in the service; its log has the details under the request's id.",
        503: "The corpus can't be searched at the moment, or too much of this kind is at work already; `Retry-After`, "
        "where it is known, says when to come back.",
    }.items()
}
"""What every /v1 endpoint may answer instead of its result."""

CONFLICT: dict[int | str, dict[str, Any]] = {
    409: {**RESPONSES[404], "description": "The first request with this `Idempotency-Key` is still at work."}
}
"""What an endpoint that takes an ``Idempotency-Key`` may answer besides."""


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
    for expected in (
        RequestValidationError,
        HTTPException,
        HeadwaterError,
        UnknownCorpus,
        NotSearchable,
        TooManyAnswers,
    ):
        app.add_exception_handler(expected, _handled)


def request_id_of(request: Request) -> str:
    """Return the id of the request, set by the outermost middleware."""
    return str(request.scope.get("state", {}).get("request_id", ""))


async def _handled(request: Request, error: Exception) -> JSONResponse:
    return answer_to(error, request_id_of(request))


def answer_to(error: Exception, request_id: str) -> JSONResponse:
    """Return the response for any exception; those that nobody expects are logged."""
    if isinstance(error, RequestValidationError):
        return problem(422, "The request is not valid; see errors.", request_id, errors=_fields(error))
    if isinstance(error, HTTPException):
        return problem(error.status_code, str(error.detail), request_id, headers=error.headers)
    if isinstance(error, UnknownCorpus):
        return problem(404, "There is no corpus of that name; GET /v1/corpora lists them.", request_id)
    if isinstance(error, NotFoundError):
        detail = "There is no such release, document or object in this corpus, or you may not see it."
        return problem(404, detail, request_id)
    if isinstance(error, NotSearchable):
        return problem(503, str(error), request_id, headers={"Retry-After": "5"})
    if isinstance(error, TooManyAnswers):
        return problem(503, str(error), request_id, headers={"Retry-After": "1"})
    if isinstance(error, FilterError):
        return problem(422, f"The filter can't be used: {error}", request_id)
    if isinstance(error, HeadwaterError):
        _log(error, request_id)
        detail = "The corpus can't be searched at the moment; its operator finds the reason in the log."
        return problem(503, detail, request_id)
    return unexpected(error, request_id)


def _fields(error: RequestValidationError) -> list[FieldProblem]:
    errors = []
    for item in error.errors():
        if item["type"] == "json_invalid":
            errors.append(FieldProblem(field="body", message="is not valid JSON"))
            continue
        field = ".".join(str(part) for part in item["loc"][1:])[:200] or str(item["loc"][0])
        # Encoding and back drops lone surrogates that the name of an unknown field may carry.
        errors.append(FieldProblem(field=field.encode("utf-8", "replace").decode(), message=item["msg"]))
    return errors[:20]


def unexpected(error: Exception, request_id: str) -> JSONResponse:
    """Log an exception that nothing else answered, and return the response for it."""
    _log(error, request_id)
    return problem(500, "Something went wrong in the service; its log has the details.", request_id)


def _log(error: Exception, request_id: str) -> None:
    # Where it happened, not the message: a message may quote what was being processed.
    frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    # Other notes may quote what was being processed, too.
    frames += [note for note in getattr(error, "__notes__", []) if note.startswith(ELSEWHERE)]
    fields = {"request_id": request_id, "error": type(error).__name__, "frames": frames[-12:]}
    LOG.error("request failed", extra={"fields": fields})
