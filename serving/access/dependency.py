"""The dependency that every route under /v1 has: ``who: Annotated[Caller, Depends(caller("search"))]``."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, MutableMapping
from functools import cache
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException

from headwater.api_keys import Scope
from serving.access.callers import Caller
from serving.access.limits import LimitReached, headers_of

STATE = "caller"
"""Where the outermost middleware leaves the :class:`Caller` in a connection's state."""

LIMITS = "limits"
"""Where the response headers that tell of the caller's limits lie in a connection's state."""

_bearer = HTTPBearer(
    auto_error=False,
    description="An API key (`headwater keys create`), a token of the configured identity provider, or the single "
    "API token. Without any authentication configured, the service answers on its own machine only and needs none.",
)


@cache
def caller(scope: Scope) -> Callable[..., Coroutine[Any, Any, Caller]]:
    """Return the dependency that gives the :class:`Caller` of a request, if it may do ``scope``.

    It answers 403 without the scope, and 429 over a rate limit or quota, as problem details. Who calls was found out
    by the outermost middleware, which answers 401.
    """

    async def check(
        request: Request, _credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
    ) -> Caller:
        return caller_of(request.scope, scope)

    return check


def caller_of(connection: MutableMapping[str, Any], scope: Scope) -> Caller:
    """Return the caller of an ASGI connection, if it may do ``scope``: what :func:`caller` does, outside of FastAPI.

    Counts one request against the caller's limits, also one that is refused. Raises HTTPException 403 or 429.
    """
    state = connection["state"]
    found: Caller = state[STATE]
    # First, so that what is refused counts, too: else nothing would slow down who tries one door after the other.
    try:
        state[LIMITS] = headers_of(found.take(scope))
    except LimitReached as reached:
        headers = {"Retry-After": str(reached.retry_after), **headers_of(reached.allowances)}
        raise HTTPException(429, f"{reached.detail} Try again in {reached.retry_after} s.", headers) from reached
    found.require(scope)
    return found
