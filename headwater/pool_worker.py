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
    _send(connection, "started", None)
    while True:
        batch = inbox.get()
        try:
            if isinstance(batch, _Unreadable):
                raise batch.error
            result = pickle.dumps(("result", function(batch, *args)), protocol=pickle.HIGHEST_PROTOCOL)
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
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return
    size = int(statm.read_text().split()[0]) * resource.getpagesize() + megabytes * 2**20
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size if hard == resource.RLIM_INFINITY else min(size, hard), hard))


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
