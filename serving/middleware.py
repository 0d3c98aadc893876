"""What surrounds every request: an id, a log line, security headers, limits, and who calls."""

from __future__ import annotations

import logging
import re
import time
import uuid
from typing import TypeAlias
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.access import Access, Caller, Unauthenticated, Unavailable
from serving.access.dependency import LIMITS, STATE
from serving.chat.errors import refused
from serving.logs import METRICS
from serving.observability import Metrics, Traces
from serving.problems import unexpected

LOG = logging.getLogger("headwater.serving")

MAX_BODY = 64 * 1024
"""Bytes of a request body; the longest valid request is a tenth of it, in any script."""

MAX_CONVERSATION = 512 * 1024
"""Bytes of a request body at :data:`WITH_HISTORY`, whose requests carry what was said before."""

WITH_HISTORY = frozenset({"/v1/answer", "/v1/answer/stream", "/v1/chat/completions"})

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

GUARDED = ("/v1", "/mcp", "/metrics")
"""What only known callers reach: these paths and all below them. Everything else shows no corpus' contents."""

_OWN_SITES = frozenset({"same-origin", "none"})
"""What ``Sec-Fetch-Site`` says of requests of our own pages, and of what the user typed or has as a bookmark."""

_DEFAULT_PORTS = {"http": 80, "https": 443}

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

_UNTRACED = frozenset({"/healthz", "/readyz", "/metrics"})
"""What machines ask for every few seconds; their spans would be most of all."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

_Refusal: TypeAlias = tuple[int, str, dict[str, str]]
"""Status, detail and headers."""


def is_guarded(path: str) -> bool:
    """Say whether only known callers reach ``path``."""
    return any(path == prefix or path.startswith(f"{prefix}/") for prefix in GUARDED)


class Surround:
    """The outermost middleware. ``access`` guards what is under :data:`GUARDED`, and the caller is left in the request's
    state. What a browser sends there from a page of another site is refused, unless it has credentials, which a browser adds
    to none by itself: a service that needs none would answer any page that its user looks at. ``loopback_only`` refuses
    requests addressed to another host, which is how a web page elsewhere would reach a service on this machine by rebinding
    its name (DNS rebinding).
    """

    def __init__(
        self, app: ASGIApp, *, access: Access, loopback_only: bool, metrics: Metrics, traces: Traces | None = None
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._traces = traces
        self._access = access
        self._loopback_only = loopback_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        state = scope.setdefault("state", {})
        state["request_id"], state[METRICS] = request_id, self._metrics
        if self._traces is None or scope["path"] in _UNTRACED:
            await self._handle(scope, receive, send, headers, request_id)
            return
        method = scope["method"]
        with self._traces.request(method, headers, request_id) as span:
            status = await self._handle(scope, receive, send, headers, request_id)
            self._traces.ended(span, method, _route_of(scope), status, state.get("log", {}))

    async def _handle(self, scope: Scope, receive: Receive, send: Send, headers: Headers, request_id: str) -> int:
        """Answer, write the log line, and return the status."""
        self._metrics.request_began()
        started = time.perf_counter()
        status = 500
        started_to_answer = False
        guarded = is_guarded(scope["path"])
        most = MAX_CONVERSATION if scope["path"] in WITH_HISTORY else MAX_BODY

        async def send_surrounded(message: Message) -> None:
            nonlocal status, started_to_answer
            if message["type"] == "http.response.start":
                started_to_answer = True
                status = message["status"]
                out = MutableHeaders(scope=message)
                out["X-Request-ID"] = request_id
                for name, value in SECURITY_HEADERS.items():
                    out[name] = value
                for name, value in scope["state"].get(LIMITS, {}).items():
                    out[name] = value
                if guarded:
                    out["Cache-Control"] = "no-store"
            await send(message)

        try:
            refusal = self._refusal(headers, most)
            if refusal is None and guarded and "authorization" not in headers and _is_of_another_site(headers):
                refusal = 403, "A page of another site may send this with credentials only.", {}
            if refusal is None and guarded:
                refusal = await self._know_caller(scope, headers, request_id)
            if refusal is not None:
                code, detail, extra = refusal
                await refused(scope["path"], code, detail, request_id, extra)(scope, receive, send_surrounded)
                return status
            body = await _read(receive, most)
            if body is None:
                code, detail, extra = _too_large(most)
                await refused(scope["path"], code, detail, request_id, extra)(scope, receive, send_surrounded)
                return status
            try:
                await self._app(scope, _replay(body, receive), send_surrounded)
            except Exception as error:
                # Answered here rather than by Starlette, whose last resort lies outside of this middleware.
                answer = unexpected(error, request_id)
                if not started_to_answer:
                    await answer(scope, receive, send_surrounded)
            return status
        finally:
            seconds, route = time.perf_counter() - started, _route_of(scope)
            self._metrics.request_ended(route, scope["method"], status, seconds)
            fields = {
                "request_id": request_id,
                "method": scope["method"],
                "route": route,
                "status": status,
                "milliseconds": round(1000 * seconds, 1),
                **scope["state"].get("log", {}),
            }
            LOG.info("request", extra={"fields": fields})

    async def _know_caller(self, scope: Scope, headers: Headers, request_id: str) -> _Refusal | None:
        try:
            identity = await self._access.authenticate(headers.get("authorization", ""))
        except Unauthenticated as error:
            # An error code only where credentials were sent (RFC 6750, section 3.1).
            challenge = 'Bearer realm="headwater"' + (', error="invalid_token"' if error.given else "")
            return 401, str(error), {"WWW-Authenticate": challenge}
        except Unavailable as error:
            return 503, f"{error} Nobody can be let in until then; try again.", {"Retry-After": "5"}
        scope["state"][STATE] = Caller(identity, self._access, request_id)
        scope["state"].setdefault("log", {})["caller"] = identity.log_name
        return None

    def _refusal(self, headers: Headers, most: int) -> _Refusal | None:
        if self._loopback_only and _host_name(headers.get("host", "")) not in LOOPBACK_NAMES:
            return 421, "This service answers on this machine only.", {}
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > most:
            return _too_large(most)
        return None


def _route_of(scope: Scope) -> str | None:
    """Return the pattern that the request's path matched."""
    found: str | None = getattr(scope.get("route"), "path", None)
    return found


def _too_large(most: int) -> _Refusal:
    return 413, f"The request body is larger than {most} bytes.", {"Connection": "close"}


def _is_of_another_site(headers: Headers) -> bool:
    """Say whether a browser sent the request for a page of another origin; what isn't a browser says nothing of that.

    Of browsers that don't say where from (``Sec-Fetch-Site``, W3C Fetch Metadata) ``Origin`` does, which they send with
    every POST; ``null``, of pages without an origin, is another one.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site.lower() not in _OWN_SITES
    if origin is None:
        return False
    try:
        asking = urlsplit(origin)
        default = _DEFAULT_PORTS.get(asking.scheme)
        addressed = urlsplit(f"//{headers.get('host', '')}")
        return asking.hostname is None or (asking.hostname, asking.port or default) != (
            addressed.hostname,
            addressed.port or default,
        )
    except ValueError:  # no port
        return True


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


async def _read(receive: Receive, most: int) -> bytes | None:
    """Return the whole body, None when it is too large or the client left."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > most:
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
