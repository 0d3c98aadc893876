"""The inside of a worker process of :class:`headwater.pool.WorkerPool`."""

from __future__ import annotations

import os
import pickle
import queue
import resource
import signal
import sys
import threading
import traceback
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


def main(descriptor: int) -> None:
    """Serve batches that arrive on the socket ``descriptor`` until the parent closes it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(descriptor)
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(connection, inbox), daemon=True).start()
    try:
        function_name, prepare_name, args, memory_mb = inbox.get()
        function = _load(function_name)
        if prepare_name is not None:
            _load(prepare_name)(*args)
        if memory_mb is not None:
            limit_memory(memory_mb)
    except BaseException as error:
        _send(connection, "broken", f"{type(error).__name__}: {error}")
        return
    start = _memory(_RESIDENT)
    _send(connection, "started", None)
    while True:
        batch = inbox.get()
        try:
            if isinstance(batch, _Unreadable):
                raise batch.error
            value = function(batch, *args)
            result = pickle.dumps(
                ("last" if _is_bloated(start, memory_mb) else "result", value), protocol=pickle.HIGHEST_PROTOCOL
            )
            del value
        except MemoryError as error:
            _send(connection, "failure", ("memory", f"out of memory at {_place(error)}", None))
            continue
        except Exception as error:
            _send(connection, "failure", ("error", f"{type(error).__name__} at {_place(error)}", _portable(error)))
            continue
        finally:
            del batch
        connection.send_bytes(result)
        del result


def limit_memory(megabytes: int) -> None:
    """Allow this process ``megabytes`` MiB of address space beyond what it has now. Does nothing where /proc is absent."""
    start = _memory(_ADDRESS_SPACE)
    if start is None:
        return
    size = start + megabytes * 2**20
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size if hard == resource.RLIM_INFINITY else min(size, hard), hard))


_ADDRESS_SPACE, _RESIDENT = 0, 1
"""Fields of /proc/self/statm (proc(5))."""


def _memory(field: int) -> int | None:
    """Return this process's address space or resident memory in bytes, None where /proc is absent."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[field]) * resource.getpagesize() if statm.exists() else None


def _is_bloated(start: int | None, megabytes: int | None) -> bool:
    """Whether memory worth half of the allowance stays in use after a batch: too little is left for the next one.

    Address space says nothing here: the first threads of a library reserve a gigabyte that they never touch.
    """
    if start is None or megabytes is None:
        return False
    now = _memory(_RESIDENT)
    return now is not None and now - start > megabytes * 2**20 // 2


class _Unreadable:
    """A batch that could not be read, in place of the batch."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _read(connection: Connection, inbox: queue.SimpleQueue[Any]) -> None:
    # A thread of its own, so that a worker busy with a batch still notices that its parent is gone. The parent's
    # end closes with the parent, however it dies. (PR_SET_PDEATHSIG would fire at the end of the parent's *thread*.)
    while True:
        try:
            message = connection.recv_bytes()
            inbox.put(pickle.loads(message))
            del message
        except (EOFError, OSError):
            os._exit(0)
        except Exception as error:
            inbox.put(_Unreadable(error))


def _load(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "an unknown place"
    last = frames[-1]
    return f"{Path(last.filename).name}:{last.lineno} ({last.name})"


def _portable(error: Exception) -> Exception | None:
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:
        return None
    return copy if isinstance(copy, Exception) else None


def _send(connection: Connection, tag: str, value: Any) -> None:
    try:
        connection.send_bytes(pickle.dumps((tag, value)))
    except OSError:
        sys.exit(0)
