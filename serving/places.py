"""How many answers are at work at once: each holds a thread for as long as its model takes, which may be a minute.

They have threads of their own, so that everything else goes on while a model is slow, and a caller who asks too much at
once is asked to come back before there is no place left for others.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import anyio.to_thread
from anyio import CapacityLimiter

MAX_ANSWERS = 128
"""Answers at once in one process, streamed or not. Their threads wait for a model most of the time."""

MAX_ANSWERS_OF_ONE = 64
"""Those of one caller; more than the minute's worth that the usual rate limit lets through at once."""

T = TypeVar("T")


class TooManyAnswers(Exception):
    """As many answers are at work as this process takes on; the message says whose, in words fit for callers."""


class Places:
    """Counts answers at work, by caller. Thread-safe."""

    def __init__(self, most: int = MAX_ANSWERS, of_one: int = MAX_ANSWERS_OF_ONE) -> None:
        self._most, self._of_one = most, of_one
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()

    def take(self, who: str) -> None:
        """Take a place for the caller, to be given back with :meth:`leave`. Raises TooManyAnswers."""
        with self._lock:
            if self._taken[who] >= self._of_one:
                raise TooManyAnswers("As many of your questions are being answered as this service takes on at once.")
            if self._taken.total() >= self._most:
                raise TooManyAnswers("As many questions are being answered as this service takes on at once.")
            self._taken[who] += 1

    def leave(self, who: str) -> None:
        """Give a place back."""
        with self._lock:
            self._taken[who] -= 1
            if not self._taken[who]:
                del self._taken[who]

    @contextmanager
    def taken(self, who: str) -> Iterator[None]:
        """Have a place for the caller until the block ends. Raises TooManyAnswers."""
        self.take(who)
        try:
            yield
        finally:
            self.leave(who)


PLACES = Places()
"""Those of this process."""


async def in_place(who: str, work: Callable[[], T]) -> T:
    """Return ``work()``, done in a thread that nothing but answers uses. Raises TooManyAnswers at once."""
    with PLACES.taken(who):
        # A limit of its own for each, because the places are what is limited.
        return await anyio.to_thread.run_sync(work, limiter=CapacityLimiter(1))
