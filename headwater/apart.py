"""What a service does in processes of its own, beside the one that answers requests.

Python's lock is held by the embedded engine for as long as it searches, and has to be had again after each of the hundreds of
calls into torch that are one pass of a model. In one process, searches, passes and requests wait for each other most of
their time.
"""

from __future__ import annotations

import threading
from typing import Any

from headwater.pool import WorkerFailure, WorkerPool

_TRIES = 2
"""A process that was killed is started anew once per call."""

ELSEWHERE = "in another process: "
"""Begins the note of an error that says where it was raised: a type and a place in the code, nothing of the data."""

_serving = threading.Event()


def work_apart() -> None:
    """From now on, open local models and the embedded engine's releases in processes of their own."""
    _serving.set()


def works_apart() -> bool:
    """Return whether :func:`work_apart` was called."""
    return _serving.is_set()


class Ended(Exception):
    """The process ended twice at the same call, or what failed can't be brought over; the message says how."""


class Apart:
    """One worker process that runs ``function((name, arguments), *args)``, one call at a time, on one thread.

    It starts with the first call: errors come over as they are from there, and as text only from a worker's start. Sending
    a call while the one before was being worked on made no difference at 32 clients.
    """

    def __init__(self, function: str, *args: Any) -> None:
        self._lock = threading.Lock()
        self._pool = WorkerPool(function, *args, workers=1)

    def call(self, name: str, *arguments: Any) -> Any:
        """Return what the function does.

        Raises what it raises, with a note of the place, :class:`Ended`, and HeadwaterError for a process that can't start.
        """
        with self._lock:
            for _ in range(_TRIES):
                ((_, found),) = self._pool.map([(name, arguments)])
                if not isinstance(found, WorkerFailure):
                    return found
                if found.kind != "crashed":
                    break
        if found.error is not None:
            found.error.add_note(ELSEWHERE + found.message)
            raise found.error
        raise Ended(found.message)

    @property
    def running(self) -> bool:
        """Whether there is a process, or a call that has one."""
        return self._lock.locked() or self._pool.holds_workers

    def close(self) -> None:
        """End the process; the next call starts another."""
        with self._lock:
            self._pool.close()
