"""Memory that was freed goes back to the system.

A reindex runs one library after another, each of which keeps what it freed for its own next use: unbounded by these
settings, what a stage once took stays taken for the stages after it. On six copies of a handbook (5,334 files) the process
held 1.8 GiB at the end of a reindex, and .8 with two arenas and trimming after each stage, in the same time on four cores.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from functools import lru_cache

_ARENA_MAX = -8
"""``M_ARENA_MAX`` of glibc's malloc.h."""

_ARENAS = 2
"""Instead of eight per core. Each keeps what its threads freed; those with much to allocate map it anew anyway."""

_JEMALLOC = "background_thread:true,dirty_decay_ms:200,muzzy_decay_ms:0"
"""Freed pages go back after a fifth of a second; ten seconds are the default, and only while an arena is in use."""


def before_frames() -> None:
    """Set what the allocator of polars and deltalake reads from the environment when they are first imported; what is set
    already stays.

    On Linux with glibc: elsewhere jemalloc has no background threads, and fails when it is asked for them.
    """
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        os.environ.setdefault("_RJEM_MALLOC_CONF", _JEMALLOC)


def few_arenas() -> None:
    """Have all threads of this process share two arenas of glibc's allocator from now on, unless the environment says how many.

    Threads that have an arena keep it, and where there are more than eight already, glibc goes on making them.
    """
    libc = _libc()
    said = "MALLOC_ARENA_MAX" in os.environ or "malloc.arena" in os.environ.get("GLIBC_TUNABLES", "")
    if libc is not None and not said:
        libc.mallopt(_ARENA_MAX, _ARENAS)


def give_back() -> None:
    """Return freed memory to the system; milliseconds. Does nothing where the C library is not glibc.

    glibc keeps what each thread frees for that thread: after a model has run on every core, half of a gigabyte.
    """
    libc = _libc()
    if libc is not None:
        libc.malloc_trim(0)


@lru_cache(maxsize=1)
def _libc() -> ctypes.CDLL | None:
    """Return the C library where it is glibc."""
    try:
        libc = ctypes.CDLL(None)
        return libc if hasattr(libc, "malloc_trim") and hasattr(libc, "mallopt") else None
    except (OSError, TypeError):
        return None
