"""What surrounds every request: an id, a log line, security headers, limits, and the bearer token."""

from __future__ import annotations

import hmac
import logging
import re
import time
import uuid
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.problems import problem, unexpected

LOG = logging.getLogger("headwater.serving")

MAX_BODY = 64 * 1024
"""Bytes of a request body; the longest valid request is a tenth of it, in any script."""

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Surround:
    """The outermost middleware. ``token`` guards /v1; ``loopback_only`` refuses requests addressed to another host,
    which is how a web page elsewhere would reach a service on this machine by rebinding its name (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, *, token: str | None, loopback_only: bool) -> None:
        self._app = app
        self._token = token.encode() if token else None
        self._loopback_only = loopback_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.perf_counter()
        status = 500
        started_to_answer = False

        async def send_surrounded(message: Message) -> None:
            nonlocal status, started_to_answer
            if message["type"] == "http.response.start":
                started_to_answer = True
                status = message["status"]
                out = MutableHeaders(scope=message)
                out["X-Request-ID"] = request_id
                for name, value in SECURITY_HEADERS.items():
                    out[name] = value
                if scope["path"].startswith("/v1"):
                    out["Cache-Control"] = "no-store"
            await send(message)

        try:
            refusal = self._refusal(scope, headers)
            if refusal is not None:
                code, detail, extra = refusal
                await problem(code, detail, request_id, headers=extra)(scope, receive, send_surrounded)
                return
            body = await _read(receive)
            if body is None:
                detail = f"The request body is larger than {MAX_BODY} bytes."
                await problem(413, detail, request_id, headers={"Connection": "close"})(scope, receive, send_surrounded)
                return
            try:
                await self._app(scope, _replay(body, receive), send_surrounded)
            except Exception as error:
                # Answered here rather than by Starlette, whose last resort lies outside of this middleware.
                answer = unexpected(error, request_id)
                if not started_to_answer:
                    await answer(scope, receive, send_surrounded)
        finally:
            route = scope.get("route")
            fields = {
                "request_id": request_id,
                "method": scope["method"],
                "route": getattr(route, "path", None),
                "status": status,
                "milliseconds": round(1000 * (time.perf_counter() - started), 1),
                **scope["state"].get("log", {}),
            }
            LOG.info("request", extra={"fields": fields})

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str, dict[str, str]] | None:
        if self._loopback_only and _host_name(headers.get("host", "")) not in LOOPBACK_NAMES:
            return 421, "This service answers on this machine only.", {}
        path = scope["path"]
        if self._token is not None and (path == "/v1" or path.startswith("/v1/")):
            scheme, _, sent = headers.get("authorization", "").partition(" ")
            # Bytes, because compare_digest refuses text beyond ASCII; headers arrive as Latin-1.
            right = hmac.compare_digest(sent.strip().encode("latin-1", "replace"), self._token)
            if scheme.lower() != "bearer" or not right:
                return 401, "Send the API token as: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"}
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > MAX_BODY:
            return 413, f"The request body is larger than {MAX_BODY} bytes.", {"Connection": "close"}
        return None


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


async def _read(receive: Receive) -> bytes | None:
    """Return the whole body, None when it is too large or the client left."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replayed() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
