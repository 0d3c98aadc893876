"""Sending requests, and sending them again."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from headwater.client.errors import ConnectionFailed, error_of

PAUSE_SECONDS = 0.5
"""Before the first retry; doubled with each further one, and a random half of it left out (full jitter would retry at
once now and then)."""

LONGEST_PAUSE = 30.0

_AGAIN = frozenset({409, 429, 502, 503, 504})
"""What another attempt may cure: still at work, too many requests, away for a moment."""


class Connection:
    """The connections to one service; see :class:`headwater.client.Client` for the arguments."""

    def __init__(
        self,
        base_url: str,
        token: str | None,
        *,
        timeout: float,
        retries: int,
        transport: httpx.BaseTransport | None,
        sleep: Callable[[float], None],
    ) -> None:
        self._http = httpx.Client(
            base_url=base_url.rstrip("/"),
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=httpx.Timeout(timeout, connect=min(timeout, 10.0)),
            transport=transport,
        )
        self._retries = retries
        self._sleep = sleep

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def stream(self, path: str, body: Mapping[str, Any]) -> httpx.Response:
        """Return the response to a POST, not read yet, for the caller to close."""
        request = self._http.build_request("POST", path, json=body)
        return self._attempts(lambda: self._http.send(request, stream=True))

    def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Return the JSON object that the service answers with. The request must have one effect however often it is
        sent."""
        response = self._attempts(
            lambda: self._http.request(method, path, json=body, params=params, headers=headers), whole=True
        )
        try:
            found = response.json()
        except ValueError as error:
            raise ConnectionFailed("What answered is not a Headwater service: the response is not JSON.") from error
        return dict(found)

    def _attempts(self, send: Callable[[], httpx.Response], *, whole: bool = False) -> httpx.Response:
        """Return the first good response. A request is sent again where it had no effect, or, when ``whole``, can have
        no second one."""
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            wait: float | None = None
            try:
                response = send()
                if response.is_success:
                    return response
                response.read()
                error = error_of(response)
                response.close()
                if last or error.status not in _AGAIN:
                    raise error
                wait = error.retry_after
            except httpx.HTTPError as failed:
                unsent = isinstance(failed, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
                if last or not (whole or unsent):
                    raise ConnectionFailed(
                        f"The service at {self._http.base_url} can't be reached: {type(failed).__name__}"
                    ) from failed
            pause = min(LONGEST_PAUSE, PAUSE_SECONDS * 2**attempt) * random.uniform(0.5, 1)
            self._sleep(max(pause, min(wait or 0.0, LONGEST_PAUSE)))
        raise AssertionError("the last attempt returns or raises")
