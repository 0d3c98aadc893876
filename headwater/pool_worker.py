"""The inside of the processes of :mod:`headwater.pool_process`."""

from __future__ import annotations

import gc
import os
import pickle
import queue
import resource
import signal
import sys
import threading
import time
import traceback
import warnings
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from pathlib import Path
from typing import Any, NoReturn


def main(descriptor: int) -> None:
    """Load what the parent says on the socket ``descriptor``, then take its orders until it closes the socket.

    Orders are "work", which makes the socket the one on which batches come; "fork" and a socket for the batches of what is
    forked; and (number, seconds): wait so long for a forked process to end, and tell its exit code.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _take_orders(Connection(descriptor))
    except (EOFError, OSError):
        os._exit(0)
    except BaseException as error:  # whatever a batch raised to end the process; its message may quote a document
        print(f"a worker process ends: {type(error).__name__}", file=sys.stderr, flush=True)
    finally:  # what was imported must not clean up in a fork
        os._exit(1)


def _take_orders(orders: Connection) -> NoReturn:
    message, threads = orders.recv_bytes(), threading.active_count()
    function = broken = memory_mb = None
    args: tuple[Any, ...] = ()
    try:
        function_name, prepare_name, args, memory_mb = pickle.loads(message)
        function = _load(function_name)
        if prepare_name is not None:
            _load(prepare_name)(*args)
    except BaseException as error:
        broken = f"{type(error).__name__}: {error}"
    while True:
        order = pickle.loads(orders.recv_bytes())
        if isinstance(order, tuple):
            orders.send_bytes(pickle.dumps(_exit_code(*order)))
            continue
        connection = orders if order == "work" else Connection(recv_handle(orders))
        if order == "fork" and broken is None and (left := threading.active_count() - threads) > 0:
            broken = f"{left} threads were left running by what prepares it"
        if broken is not None:
            _send(connection, "broken", broken)
        elif order == "work" or _fork(connection):
            if connection is not orders:
                orders.close()
            _serve(connection, function, args, memory_mb)
        connection.close()


def _fork(connection: Connection) -> bool:
    """Return True in the process that is forked."""
    os.set_inheritable(connection.fileno(), False)
    gc.freeze()  # memory stays shared that no collection looks at
    try:
        with warnings.catch_warnings():  # Python's own threads are none; those of allocators take a fork
            warnings.simplefilter("ignore", DeprecationWarning)
            forked = os.fork() == 0
    except OSError as error:
        _send(connection, "broken", f"it can't be forked: {error.strerror}")
        return False
    if forked:
        os.setsid()
    return forked


def _exit_code(pid: int, seconds: float) -> int | None:
    deadline = time.monotonic() + seconds
    pause = 0.001
    with suppress(ChildProcessError):
        while True:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > deadline:
                return None
            time.sleep(pause)
            pause = min(2 * pause, 0.05)
    return None


def _serve(connection: Connection, function: Any, args: tuple[Any, ...], memory_mb: int | None) -> NoReturn:
    """Work on the batches that come, until the parent closes the connection."""
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(connection, inbox), daemon=True).start()
    try:
        if memory_mb is not None:
            limit_memory(memory_mb)
    except BaseException as error:
        _send(connection, "broken", f"{type(error).__name__}: {error}")
        os._exit(1)
    start = _own_memory()
    _send(connection, "started", os.getpid())
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
    start = _memory()
    if start is None:
        return
    size = start + megabytes * 2**20
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size if hard == resource.RLIM_INFINITY else min(size, hard), hard))


def _memory() -> int | None:
    """Return this process's address space in bytes, None where /proc is absent."""
    found = _pages()
    return found[0] * resource.getpagesize() if found else None


def _own_memory() -> int | None:
    """Return this process's resident memory but for mapped files, which a fork has again when it touches them."""
    found = _pages()
    return (found[1] - found[2]) * resource.getpagesize() if found else None


def _pages() -> list[int] | None:
    """Return pages of address space, resident, and resident of files and shared memory (statm of proc(5))."""
    statm = Path("/proc/self/statm")
    return [int(value) for value in statm.read_text().split()[:3]] if statm.exists() else None


def _is_bloated(start: int | None, megabytes: int | None) -> bool:
    """Whether memory worth half of the allowance stays in use after a batch: too little is left for the next one.

    Address space says nothing here: the first threads of a library reserve a gigabyte that they never touch.
    """
    if start is None or megabytes is None:
        return False
    now = _own_memory()
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
        os._exit(0)
