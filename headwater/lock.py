"""One writer per corpus on one machine: a file lock that dies with its process."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headwater.errors import LakeError

_held: dict[Path, int] = {}
_guard = threading.Lock()


@contextmanager
def writer_lock(path: Path) -> Iterator[None]:
    """Hold the lock file at ``path``; LakeError when another process has it.

    The same process may take it again while it holds it (a run holds it over its stages).
    """
    with _guard:
        if _held.get(path, 0):
            _held[path] += 1
            handle = None
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                raise LakeError(
                    f"Another process is writing this corpus (lock {path}). Wait for it, or stop it, and try again."
                ) from None
            _held[path] = 1
    try:
        yield
    finally:
        with _guard:
            _held[path] -= 1
            if handle is not None:
                del _held[path]
                os.close(handle)
