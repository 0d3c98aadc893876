"""A circuit breaker: a server that keeps failing is left alone for a while (Nygard, Release It!, 2007)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

State = Literal["closed", "open", "half-open"]


class Breaker:
    """Opens after ``failures`` failed requests in a row, for ``seconds``; then one request at a time tries the server.

    A success closes it, a failed trial opens it for as long again. Thread-safe; ``clock`` counts seconds.
    """

    def __init__(self, failures: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._seconds, self._clock = failures, seconds, clock
        self._lock = threading.Lock()
        self._failed = 0
        self._opened: float | None = None
        self._trial = False

    @property
    def state(self) -> State:
        """Return how it stands now."""
        with self._lock:
            if self._opened is None:
                return "closed"
            return "open" if self._clock() - self._opened < self._seconds else "half-open"

    def allow(self) -> bool:
        """Say whether a request may be made; if so, one of the three methods below must be called after it."""
        with self._lock:
            if self._opened is None:
                return True
            if self._clock() - self._opened < self._seconds or self._trial:
                return False
            self._trial = True
            return True

    def succeeded(self) -> None:
        """Note that the server did what was asked."""
        with self._lock:
            self._failed, self._opened, self._trial = 0, None, False

    def failed(self) -> None:
        """Note that it did not."""
        with self._lock:
            self._failed += 1
            if self._trial or self._failed >= self._most:
                self._opened, self._trial = self._clock(), False

    def given_up(self) -> None:
        """Note that the request was cancelled by who asked, which says nothing of the server."""
        with self._lock:
            self._trial = False
