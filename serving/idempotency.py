"""One request, one effect: the ``Idempotency-Key`` header (IETF draft-ietf-httpapi-idempotency-key-header).

A caller that didn't get a response may send its request again with the same key: it gets the response of the first
one, word for word, and nothing is answered, charged or stored a second time. Responses are kept in this process alone,
for a day and within a number of bytes: another replica, or the same one after a restart, handles the request anew.

Failed requests are not kept, so that they can be tried again. Responses hold document text, so those of a corpus are
forgotten when its releases were changed in place (a permission was taken away, a document erased).
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Header, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

KEEP_SECONDS = 24 * 3600.0
MAX_BYTES = 64 * 1024 * 1024
MAX_ENTRIES = 10_000
"""Keys that are remembered at once; a key with no response yet weighs no bytes."""

REPLAYED = "Idempotency-Replayed"

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x21-\x7e]{1,200}$",
        description="A value of the caller's choice, new for every request. The same request sent again with the same "
        "value within 24 hours gets the same response and has no second effect.",
    ),
]


@dataclass(slots=True)
class _Entry:
    body: bytes
    corpus: str
    at: float
    response: bytes | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What tells requests apart: who sent it to where under which key, and the digest of what was sent."""

    caller: str
    route: str
    key: str
    body: bytes

    @classmethod
    def of(cls, caller: str, route: str, key: str, body: BaseModel) -> Request:
        """Return the request that ``caller`` sent to ``route``."""
        return cls(caller, route, key, hashlib.sha256(body.model_dump_json().encode()).digest())


class Responses:
    """The responses of requests with a key. Thread-safe. ``clock`` gives seconds."""

    def __init__(
        self,
        *,
        max_bytes: int = MAX_BYTES,
        max_entries: int = MAX_ENTRIES,
        keep_seconds: float = KEEP_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._keep = keep_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[str, str, str], _Entry] = OrderedDict()
        self._states: dict[str, Hashable] = {}
        self._bytes = 0

    def once(self, request: Request, state: tuple[str, Hashable], respond: Callable[[], BaseModel]) -> Response:
        """Return the stored response of ``request``, or that of ``respond()``, which is stored.

        ``state`` is the corpus and whatever changes when a response about it must not be repeated. Raises an
        HTTPException: 409 while the first request is still at work, 422 when its body was another one.
        """
        name = (request.caller, request.route, request.key)
        with self._lock:
            self._forget(state)
            entry = self._entries.get(name)
            if entry is None:
                mine = self._entries[name] = _Entry(request.body, state[0], self._clock())
                self._trim()
            elif entry.body != request.body:
                raise HTTPException(422, "This Idempotency-Key was used for another request.")
            elif entry.response is None:
                raise HTTPException(
                    409, "The first request with this Idempotency-Key is still at work.", {"Retry-After": "1"}
                )
            else:
                return Response(entry.response, media_type="application/json", headers={REPLAYED: "true"})
        try:
            content = respond().model_dump_json().encode()
        except BaseException:
            with self._lock:
                if self._entries.get(name) is mine:
                    self._drop(name)
            raise
        with self._lock:
            if self._entries.get(name) is mine:  # else it was pushed out, or is about a state that has passed
                mine.response = content
                self._bytes += len(content)
                self._trim()
        return Response(content, media_type="application/json")

    def _forget(self, state: tuple[str, Hashable]) -> None:
        """Drop what is too old, and everything about the corpus when it was changed since."""
        oldest = self._clock() - self._keep
        while self._entries and next(iter(self._entries.values())).at < oldest:
            self._drop(next(iter(self._entries)))
        corpus, now = state
        if self._states.setdefault(corpus, now) != now:
            self._states[corpus] = now
            for name in [name for name, entry in self._entries.items() if entry.corpus == corpus]:
                self._drop(name)

    def _trim(self) -> None:
        while self._entries and (len(self._entries) > self._max_entries or self._bytes > self._max_bytes):
            self._drop(next(iter(self._entries)))

    def _drop(self, name: tuple[str, str, str]) -> None:
        entry = self._entries.pop(name)
        if entry.response is not None:
            self._bytes -= len(entry.response)
