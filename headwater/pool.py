"""Map a function over batches of rows in worker processes on this machine.

The one seam for parallel work. Workers come from a fresh interpreter that imports the function by name
(:mod:`headwater.pool_process`), so they inherit nothing from the caller: no ``__main__`` to import again, no locks, no
threads. It works the same under pytest, a console script and a Dagster run. Linux and macOS.

What may go wrong with one batch costs that batch: a worker that dies, hangs or runs out of memory is killed and
replaced, and its batch yields a :class:`WorkerFailure` while the others go on.
"""

from __future__ import annotations

import atexit
import os
import pickle
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

from headwater.cgroup import cpu_limit
from headwater.pool_process import (
    FORKS,
    START_TIMEOUT,
    STARTED,
    Interpreter,
    Worker,
    WorkerFailure,
    credentials,
)

__all__ = ["WorkerFailure", "WorkerPool", "credentials", "drop_spares", "let_go", "start_ahead", "usable_cpus"]

MAX_DEFAULT_WORKERS = 8
"""Memory, not cores, is what runs out first on large machines: a batch may take hundreds of MiB to work on, and where
workers are not forked, each has its imports to itself, 0.2 GiB."""

MAX_SPARES = 5
"""Interpreters kept ready for pools to come; one per stage that uses workers, one that opens mails, and one for a changed
parameter."""

Timeout = Callable[[Any], float] | float | None


def usable_cpus() -> int:
    """Return how many CPUs this process may run on, in a container no more than its limit pays for."""
    if sys.version_info >= (3, 13):
        allowed = os.process_cpu_count() or 1
    elif hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    return min(allowed, cpu_limit() or allowed)


class WorkerPool:
    """Worker processes that run ``function(batch, *args)``; use as a context manager.

    Args:
        function: ``package.module:name``, imported inside the worker.
        args: passed to every call after the batch; pickled and sent once per worker.
        workers: how many processes at most; default: the usable CPUs, at most 8. They start as batches come.
        memory_mb: address space each worker may take beyond its size after its imports, in MiB (Linux).
        prepare: ``package.module:name`` called once per worker as ``prepare(*args)`` before the memory limit
            is set: imports and models belong here.
        spare: take an interpreter that :func:`start_ahead` or an equal pool left ready. On Linux workers are forked from
            it, so that ``prepare`` runs once and may leave no thread running, and it is left ready at the end.

    Raises:
        HeadwaterError: from :meth:`map`, when a worker can't start (the function can't be imported, ``prepare``
            failed). That is no fault of a batch, so it stops the run.
    """

    def __init__(
        self,
        function: str,
        *args: Any,
        workers: int | None = None,
        memory_mb: int | None = None,
        prepare: str | None = None,
        spare: bool = False,
    ) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        self.workers = workers or min(usable_cpus(), MAX_DEFAULT_WORKERS)
        self._function = function
        self._setup = _setup(function, prepare, args, memory_mb)
        self._spare = spare
        self._interpreter = _take_ready(self._setup) if spare else None
        self._idle: list[Worker] = []

    @property
    def holds_workers(self) -> bool:
        """Whether a worker waits for a batch and is alive."""
        return any(worker.alive for worker in self._idle)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill the idle workers. A running :meth:`map` kills its own when it is abandoned."""
        while self._idle:
            self._idle.pop().kill()
        if self._interpreter is not None:
            _keep_ready(self._setup, self._interpreter)
            self._interpreter = None

    def map(self, batches: Iterable[Any], timeout: Timeout = None) -> Iterator[tuple[int, Any | WorkerFailure]]:
        """Yield ``(index of the batch, result or WorkerFailure)`` as batches complete.

        ``batches`` is read lazily, at most one batch per worker ahead. ``timeout`` is the wall-clock limit of one
        batch in seconds, or a function of the batch that returns it; starting the worker does not count.
        """
        source = enumerate(batches)
        busy: dict[Connection, Worker] = {}
        done: deque[tuple[int, Any]] = deque()
        exhausted = False
        try:
            while True:
                while not exhausted and len(busy) < self.workers:
                    try:
                        index, batch = next(source)
                    except StopIteration:
                        exhausted = True
                        break
                    worker = self._assign(index, batch, timeout(batch) if callable(timeout) else timeout)
                    busy[worker.connection] = worker
                while done:
                    yield done.popleft()
                if not busy:
                    return
                done.extend(self._collect(busy))
        finally:
            for worker in busy.values():
                worker.kill()

    def _assign(self, index: int, batch: Any, limit: float | None) -> Worker:
        message = pickle.dumps(batch, protocol=pickle.HIGHEST_PROTOCOL)
        while self._idle:
            worker = self._idle.pop()
            if worker.alive and worker.send(message, index, limit):
                return worker
            worker.kill()  # it died while idle, which is not this batch's fault
        worker = self._start()
        worker.send(message, index, limit)
        return worker

    def _start(self) -> Worker:
        interpreter, self._interpreter = self._interpreter, None
        if interpreter is None or not interpreter.alive:
            interpreter = Interpreter(self._function, self._setup)
        if not (self._spare and FORKS):
            return interpreter.become_worker()
        self._interpreter = interpreter
        return interpreter.fork_worker()

    def _collect(self, busy: dict[Connection, Worker]) -> Iterator[tuple[int, Any]]:
        deadlines = [worker.deadline for worker in busy.values() if worker.deadline is not None]
        patience = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
        # Answers first: a caller that was away for long must not turn a finished batch into a timeout.
        for connection in wait(list(busy), patience):
            assert isinstance(connection, Connection)
            worker = busy[connection]
            outcome = worker.receive()
            if outcome is STARTED:
                continue
            del busy[connection]
            if worker.reusable:
                self._idle.append(worker)
            else:
                worker.kill()
            yield worker.index, outcome
        now = time.monotonic()
        for connection, worker in list(busy.items()):
            if worker.deadline is None or now < worker.deadline or connection.poll():
                continue
            if not worker.started:
                raise worker.failed_start(f"not ready after {START_TIMEOUT:g} seconds")
            del busy[connection]
            worker.kill()
            yield worker.index, WorkerFailure("timeout", f"not done after {worker.limit:g} seconds")


_ready: OrderedDict[bytes, Interpreter] = OrderedDict()
_ready_lock = threading.Lock()


def start_ahead(function: str, *args: Any, memory_mb: int | None = None, prepare: str | None = None) -> None:
    """Start an interpreter now, for the next :class:`WorkerPool` that is made with the same arguments and ``spare``.

    Its imports, which take seconds, then run beside whatever the caller does until that pool is needed.
    """
    setup = _setup(function, prepare, args, memory_mb)
    with _ready_lock:
        waiting = _ready.get(setup)
        if waiting is not None and waiting.alive and waiting.credentials == credentials():
            return
    _keep_ready(setup, Interpreter(function, setup))


def let_go(function: str, *args: Any, memory_mb: int | None = None, prepare: str | None = None) -> None:
    """End the interpreter that waits for a pool made with these arguments, if there is one."""
    with _ready_lock:
        waiting = _ready.pop(_setup(function, prepare, args, memory_mb), None)
    if waiting is not None:
        waiting.kill()


@atexit.register
def drop_spares() -> None:
    """Kill the interpreters that wait for a pool."""
    with _ready_lock:
        while _ready:
            _ready.popitem()[1].kill()


def _setup(function: str, prepare: str | None, args: tuple[Any, ...], memory_mb: int | None) -> bytes:
    return pickle.dumps((function, prepare, args, memory_mb))


def _take_ready(setup: bytes) -> Interpreter | None:
    with _ready_lock:
        interpreter = _ready.pop(setup, None)
    if interpreter is not None and not (interpreter.alive and interpreter.credentials == credentials()):
        interpreter.kill()
        return None
    return interpreter


def _keep_ready(setup: bytes, interpreter: Interpreter) -> None:
    surplus = [] if interpreter.alive else [interpreter]
    with _ready_lock:
        if interpreter.alive:
            if setup in _ready:
                surplus.append(_ready.pop(setup))
            _ready[setup] = interpreter
        while len(_ready) > MAX_SPARES:
            surplus.append(_ready.popitem(last=False)[1])
    for old in surplus:
        old.kill()
