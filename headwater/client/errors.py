"""What the client raises."""

from __future__ import annotations

from dataclasses import dataclass

import httpx

from headwater.errors import HeadwaterError


class ClientError(HeadwaterError):
    """Base of everything that :class:`headwater.client.Client` raises."""


class ConnectionFailed(ClientError):
    """The service can't be reached, or the connection broke before the response was whole."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field of the request."""

    field: str
    message: str


class ApiError(ClientError):
    """The service answered with an error (problem details, RFC 9457).

    ``status`` is HTTP's, ``title`` and ``detail`` are in plain words, ``errors`` name the fields that are wrong.
    ``request_id`` is what the service's operator finds the request by. ``retry_after`` is in seconds, None where the
    service didn't say.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        *,
        request_id: str = "",
        errors: tuple[FieldError, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        fields = "".join(f"; {error.field}: {error.message}" for error in errors)
        super().__init__(f"{status} {title}: {detail}{fields}" + (f" (request {request_id})" if request_id else ""))
        self.status = status
        self.title = title
        self.detail = detail
        self.request_id = request_id
        self.errors = errors
        self.retry_after = retry_after


def error_of(response: httpx.Response) -> ApiError:
    """Return what a response (read to its end) says; also of one that a proxy sent in the service's place."""
    try:
        body = response.json()
    except ValueError:
        body = None
    return problem_error(
        body if isinstance(body, dict) else {},
        status=response.status_code,
        reason=response.reason_phrase,
        request_id=response.headers.get("x-request-id", ""),
        retry_after=_seconds(response.headers.get("retry-after")),
    )


def problem_error(
    body: dict[str, object],
    *,
    status: int = 500,
    reason: str = "",
    request_id: str = "",
    retry_after: float | None = None,
) -> ApiError:
    """Return problem details as an error."""
    fields = body.get("errors")
    errors = [item for item in fields if isinstance(item, dict)] if isinstance(fields, list) else []
    said = body.get("status")
    return ApiError(
        said if isinstance(said, int) else status,
        str(body.get("title") or reason or "Error"),
        str(body.get("detail") or "the service gave no reason"),
        request_id=str(body.get("request_id") or request_id),
        errors=tuple(FieldError(str(item.get("field", "")), str(item.get("message", ""))) for item in errors),
        retry_after=retry_after,
    )


def _seconds(header: str | None) -> float | None:
    """Return Retry-After in seconds; its other form, a date, is not what the service sends."""
    return float(header) if header is not None and header.isdecimal() else None
