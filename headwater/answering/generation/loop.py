"""One event loop in one thread of the process, on which every request to a language model runs.

The code that answers is plain and blocking, and a server that says nothing must still be left in time, or as soon as
the reader has gone. On a loop of their own, requests have deadlines that hold to the millisecond whatever the socket
does, and any thread can cancel them.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def loop() -> asyncio.AbstractEventLoop:
    """Return the loop, which runs; it is started at first use, and anew in a forked process."""
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="headwater-llm", daemon=True).start()
        return _loop


def submit(work: Coroutine[Any, Any, T]) -> Future[T]:
    """Run ``work`` on the loop. Cancelling what is returned cancels it there."""
    return asyncio.run_coroutine_threadsafe(work, loop())


def _forget() -> None:
    global _loop, _lock
    _loop, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)
