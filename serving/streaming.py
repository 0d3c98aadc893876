"""Events that are made in a thread, sent to a client as they happen.

An answer is written by a plain iterator, which may wait for a model for many seconds. It runs in one thread from its
beginning to its end, so that whatever it opens it also closes there. When the client leaves, the thread stops at the
next event and closes the iterator.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Generic, TypeVar

from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from serving.places import PLACES

HEARTBEAT_SECONDS = 15.0
"""A comment is sent after this long without an event; proxies cut connections that are silent for a minute."""

EVENT_STREAM = "text/event-stream"

GRACE_SECONDS = 0.5
"""How long a first event is awaited before the stream begins: what fails by then is answered with a status of its own."""

AHEAD = 64
"""Events that a thread may be ahead of its client."""

T = TypeVar("T")


class EventStream(StreamingResponse):
    """A response of server-sent events."""

    media_type = EVENT_STREAM
    _followed: Followed[Any] | None = None

    @classmethod
    def of(cls, followed: Followed[Any], events: AsyncIterator[bytes]) -> EventStream:
        """Return the response that sends ``events``, made from ``followed``, which is stopped at its end."""
        # nginx would hold events back until it has a buffer full of them.
        response = cls(events, headers={"X-Accel-Buffering": "no"})
        response._followed = followed
        return response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            # Here, because a client may leave before the first event is asked for.
            if self._followed is not None:
                self._followed.stop()


class _Failed:
    def __init__(self, error: Exception) -> None:
        self.error = error


class _Ready:
    """The events could be started: nothing was wrong with what was asked."""


class _End:
    pass


class Followed(Generic[T]):
    """The events of ``start()``, which is called and iterated in a thread of its own, in a place of caller ``who``.

    ``start`` checks what was asked and raises what is wrong with it; the first event may take as long as a model does.
    Has to be made in a running event loop, and stopped. Raises TooManyAnswers.
    """

    def __init__(
        self,
        who: str,
        start: Callable[[], Iterator[T]],
        *,
        heartbeat: float = HEARTBEAT_SECONDS,
        grace: float = GRACE_SECONDS,
    ) -> None:
        PLACES.take(who)
        self._who = who
        self._start = start
        self._heartbeat = heartbeat
        self._grace = grace
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[T | _Ready | _Failed | _End] = asyncio.Queue()
        self._stopped = threading.Event()
        self._room = threading.Semaphore(AHEAD)
        context = contextvars.copy_context()  # which holds the span that what is done belongs to
        threading.Thread(target=context.run, args=(self._run,), name="headwater-stream", daemon=True).start()

    def stop(self) -> None:
        """Have the thread end at its next event. What it still makes is not told."""
        self._stopped.set()

    async def first(self) -> T | None:
        """Return the first event; None where it takes longer than the grace once what was asked is known to be right.

        Raises what was raised instead of it, RuntimeError when there is none.
        """
        try:
            item = await self._queue.get()
            if isinstance(item, _Ready):
                item = await asyncio.wait_for(self._queue.get(), self._grace)
        except TimeoutError:
            return None
        except asyncio.CancelledError:
            self.stop()
            raise
        if isinstance(item, _Failed):
            raise item.error
        if isinstance(item, (_Ready, _End)):
            raise RuntimeError("there was no event")
        return item

    async def events(self, first: T | None) -> AsyncIterator[T | None]:
        """Give ``first``, as it was returned, and what follows; None where there was nothing for a heartbeat's time.

        None comes at once where there is no first event yet, so that headers and a sign of life are sent.
        """
        yield first
        while True:
            try:
                item = await asyncio.wait_for(self._queue.get(), self._heartbeat)
            except TimeoutError:
                yield None
                continue
            if isinstance(item, _Failed):
                raise item.error
            if isinstance(item, (_Ready, _End)):
                return
            self._room.release()
            yield item
            await asyncio.sleep(0)  # lets the loop notice that the client has left, however fast events come

    def _run(self) -> None:
        try:
            events = self._start()
            self._tell(_Ready())
            try:
                for event in events:
                    while not self._room.acquire(timeout=0.1) and not self._stopped.is_set():
                        pass
                    if self._stopped.is_set():
                        break
                    self._tell(event)
            finally:
                close: Callable[[], None] | None = getattr(events, "close", None)
                if close is not None:
                    close()
        except Exception as error:  # told where the events are sent
            self._tell(_Failed(error))
        finally:
            PLACES.leave(self._who)
            self._tell(_End())

    def _tell(self, item: T | _Ready | _Failed | _End) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the service has gone
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)


def event(name: str | None, data: BaseModel | str) -> bytes:
    """Return one server-sent event; ``data`` must be one line, which JSON is.

    It is in ASCII, because there are clients that also end lines at U+2028 and its like, which documents hold.
    """
    text = data if isinstance(data, str) else json.dumps(data.model_dump(mode="json"))
    return (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()


HEARTBEAT = b": still here\n\n"


def described(events: dict[str, type[BaseModel]]) -> dict[int | str, dict[str, Any]]:
    """Return how OpenAPI describes a stream: one event is one of these, by name, with JSON of its model as data."""
    schema = {"oneOf": [_event_schema(name, model) for name, model in events.items()]}
    return {200: {"description": "Events as they happen.", "content": {EVENT_STREAM: {"schema": schema}}}}


def _event_schema(name: str, model: type[BaseModel]) -> dict[str, Any]:
    content = {
        "contentMediaType": "application/json",
        "contentSchema": {"$ref": f"#/components/schemas/{model.__name__}"},
    }
    return {
        "type": "object",
        "properties": {"event": {"type": "string", "const": name}, "data": {"type": "string", **content}},
        "required": ["event", "data"],
    }
