"""The peak memory of this process and all below it, sampled while something runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

_SAMPLE_SECONDS = 0.25
"""A parser process lives for seconds, so a few samples see its peak; one sample of ten processes costs about a millisecond."""


class PeakMemory:
    """``bytes`` is the largest sum of resident set sizes seen; pages that processes share count once for each."""

    def __init__(self) -> None:
        self.bytes = 0
        self._root = psutil.Process()

    def sample(self) -> None:
        """Look once."""
        total = 0
        for process in (self._root, *self._root.children(recursive=True)):
            try:
                total += process.memory_info().rss
            except psutil.Error:
                continue  # it ended between the listing and the look
        self.bytes = max(self.bytes, total)


@contextmanager
def peak_memory() -> Iterator[PeakMemory]:
    """Watch the memory of the process tree until the block ends."""
    peak, ended = PeakMemory(), threading.Event()

    def watch() -> None:
        while not ended.wait(_SAMPLE_SECONDS):
            peak.sample()

    peak.sample()
    watcher = threading.Thread(target=watch, name="peak-memory", daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()
        peak.sample()
