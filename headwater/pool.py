"""Map a function over batches of rows in worker processes on this machine.

The one seam for parallel work. A worker is a fresh interpreter that imports the function by name, so it
inherits nothing from the caller: no ``__main__`` to import again, no locks, no threads. It works the same under
pytest, a console script and a Dagster run. Linux and macOS.

What may go wrong with one batch costs that batch: a worker that dies, hangs or runs out of memory is killed and
replaced, and its batch yields a :class:`WorkerFailure` while the others go on.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Literal

from headwater.cgroup import cpu_limit
from headwater.errors import HeadwaterError

MAX_DEFAULT_WORKERS = 8
"""Memory, not cores, is what runs out first on large machines: a worker with its imports holds 0.2 to 1 GiB."""

START_TIMEOUT = 300.0
"""Seconds a worker may take to import its function; a cold disk with torch on it takes tens of seconds."""

MAX_SPARES = 5
"""Workers kept ready for pools to come; one per stage that uses workers, one that opens mails, and one for a changed
parameter."""

# One process per core is the parallelism here; a thread pool inside each worker would only fight for the cores.
_SINGLE_THREADED = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from headwater.pool_worker import main; main(int(sys.argv[1]))"
)

Timeout = Callable[[Any], float] | float | None


@dataclass(frozen=True, slots=True)
class WorkerFailure:
    """Why a batch has no result.

    ``kind``: ``crashed`` (the process died), ``timeout`` (of the wall clock or, where the function sets a limit,
    RLIMIT_CPU), ``memory`` (the limit was reached) or ``error`` (the
    function raised). The message names the cause and never the data; ``error`` is the exception itself where it
    could be brought over, None otherwise.
    """

    kind: Literal["crashed", "timeout", "memory", "error"]
    message: str
    error: Exception | None = None


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
        spare: take a worker that :func:`start_ahead` or an equal pool left ready, and leave one ready at the end.

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
        ready = _take_spare(self._setup) if spare else None
        self._idle: list[_Worker] = [ready] if ready is not None else []

    @property
    def holds_workers(self) -> bool:
        """Whether a worker waits for a batch and is alive."""
        return any(worker.alive for worker in self._idle)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill the idle workers, but for a spare one. A running :meth:`map` kills its own when it is abandoned."""
        if self._spare and self._idle:
            _keep_spare(self._setup, self._idle.pop())
        while self._idle:
            self._idle.pop().kill()

    def map(self, batches: Iterable[Any], timeout: Timeout = None) -> Iterator[tuple[int, Any | WorkerFailure]]:
        """Yield ``(index of the batch, result or WorkerFailure)`` as batches complete.

        ``batches`` is read lazily, at most one batch per worker ahead. ``timeout`` is the wall-clock limit of one
        batch in seconds, or a function of the batch that returns it; starting the worker does not count.
        """
        source = enumerate(batches)
        busy: dict[Connection, _Worker] = {}
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

    def _assign(self, index: int, batch: Any, limit: float | None) -> _Worker:
        message = pickle.dumps(batch, protocol=pickle.HIGHEST_PROTOCOL)
        while self._idle:
            worker = self._idle.pop()
            if worker.alive and worker.send(message, index, limit):
                return worker
            worker.kill()  # it died while idle, which is not this batch's fault
        worker = _Worker(self._function, self._setup)
        if not worker.send(message, index, limit):
            raise worker.failed_start()
        return worker

    def _collect(self, busy: dict[Connection, _Worker]) -> Iterator[tuple[int, Any]]:
        deadlines = [worker.deadline for worker in busy.values() if worker.deadline is not None]
        patience = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
        # Answers first: a caller that was away for long must not turn a finished batch into a timeout.
        for connection in wait(list(busy), patience):
            assert isinstance(connection, Connection)
            worker = busy[connection]
            outcome = worker.receive()
            if outcome is _STARTED:
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


_spares: OrderedDict[bytes, _Worker] = OrderedDict()
_spares_lock = threading.Lock()


def start_ahead(function: str, *args: Any, memory_mb: int | None = None, prepare: str | None = None) -> None:
    """Start a worker now, for the next :class:`WorkerPool` that is made with the same arguments and ``spare``.

    Its imports, which take seconds, then run beside whatever the caller does until that pool is needed.
    """
    setup = _setup(function, prepare, args, memory_mb)
    with _spares_lock:
        waiting = _spares.get(setup)
        if waiting is not None and waiting.alive and waiting.access == _access():
            return
    _keep_spare(setup, _Worker(function, setup))


@atexit.register
def drop_spares() -> None:
    """Kill the workers that wait for a pool."""
    with _spares_lock:
        while _spares:
            _spares.popitem()[1].kill()


def _setup(function: str, prepare: str | None, args: tuple[Any, ...], memory_mb: int | None) -> bytes:
    return pickle.dumps((function, prepare, args, memory_mb))


def _take_spare(setup: bytes) -> _Worker | None:
    with _spares_lock:
        worker = _spares.pop(setup, None)
    if worker is not None and worker.access != _access():
        worker.kill()
        return None
    return worker


def _access() -> dict[str, str]:
    """Return what of the environment says where buckets are and with which credentials: a worker keeps what it began with."""
    return {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "AZURE_", "GOOGLE_"))}


def _keep_spare(setup: bytes, worker: _Worker) -> None:
    surplus = []
    with _spares_lock:
        if setup in _spares:
            surplus.append(_spares.pop(setup))
        _spares[setup] = worker
        while len(_spares) > MAX_SPARES:
            surplus.append(_spares.popitem(last=False)[1])
    for old in surplus:
        old.kill()


_STARTED = object()


class _Worker:
    """One process and the batch it works on."""

    def __init__(self, function: str, setup: bytes) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _BOOT, str(theirs.fileno()), json.dumps([str(path) for path in sys.path])],
                pass_fds=[theirs.fileno()],
                env={**os.environ, **_SINGLE_THREADED},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # a library that prints must not spoil a command's --json
                start_new_session=True,  # Ctrl-C is the parent's to handle
            )
        self.connection = Connection(ours.detach())
        self.access = _access()
        self._function = function
        self.started = False
        self.reusable = True
        self.index = -1
        self.limit: float | None = None
        self.deadline: float | None = None
        with contextlib.suppress(OSError):  # it is gone already: the first batch will find out
            self.connection.send_bytes(setup)

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def send(self, message: bytes, index: int, limit: float | None) -> bool:
        """Hand the batch over; False when the process is gone."""
        self.index, self.limit = index, limit
        self._start_clock()
        try:
            self.connection.send_bytes(message)
        except OSError:
            return False
        return True

    def _start_clock(self) -> None:
        limit = self.limit if self.started else START_TIMEOUT
        self.deadline = None if limit is None else time.monotonic() + limit

    def receive(self) -> Any:
        """Return the result, a :class:`WorkerFailure`, or ``_STARTED``."""
        try:
            tag, value = pickle.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            if not self.started:
                raise self.failed_start() from None
            self.reusable = False
            ending = self._ending()
            if self._process.returncode == -signal.SIGXCPU:
                return WorkerFailure("timeout", "used up its processor time")
            return WorkerFailure("crashed", f"the worker process {ending}")
        if tag == "started":
            self.started = True
            self._start_clock()
            return _STARTED
        if tag == "broken":
            raise self.failed_start(value)
        if tag == "last":  # it holds on to too much memory to be given another batch
            self.reusable = False
            return value
        if tag == "failure":
            kind, message, error = value
            self.reusable = kind != "memory"
            return WorkerFailure(kind, message, error)
        return value

    def failed_start(self, why: str | None = None) -> HeadwaterError:
        """Return the error of a worker that can't start; ends the process. Without ``why`` the process is gone."""
        reason = why or f"it {self._ending()}"
        self.kill()
        return HeadwaterError(f"a worker process for {self._function} could not start: {reason}")

    def _ending(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        code = self._process.returncode
        if code is None:
            return "closed its connection"
        if code >= 0:
            return f"ended with exit code {code}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"was ended by {name}" + (" (out of memory, perhaps)" if name == "SIGKILL" else "")

    def kill(self) -> None:
        """End the process and whatever it started, and wait for it."""
        if self.alive:  # a reaped process's number may be somebody else's by now
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()
            self._process.wait()
        self.connection.close()
