"""The processes behind :class:`headwater.pool.WorkerPool`.

An interpreter starts, imports what its workers need, and then waits for orders: to be a worker itself, or, on Linux, to
fork one. Imports take seconds and hundreds of MiB; a fork takes milliseconds and shares that memory, so a pool of four
starts as fast as a pool of one, and a worker that a document killed is back at once. The one that forks never works on
a batch: it has one thread, so nothing is held that a fork could leave locked for good.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.reduction import send_handle
from typing import Any, Literal

from headwater.errors import HeadwaterError

START_TIMEOUT = 300.0
"""Seconds a worker may take to import its function; a cold disk with torch on it takes tens of seconds."""

FORKS = sys.platform == "linux"
"""Elsewhere the system's own libraries start threads, and a fork without an exec may hang."""

STARTED = object()
"""What :meth:`Worker.receive` returns when the worker is ready, and its batch begins."""

_END_SECONDS = 5.0
"""What a process that closed its connection may take to end."""

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


def credentials() -> dict[str, str]:
    """Return what of the environment says where buckets are and with which credentials: a process keeps what it began with."""
    return {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "AZURE_", "GOOGLE_"))}


class Interpreter:
    """A process that loads what ``setup`` says (function, preparation, arguments and memory limit, pickled).

    It takes orders meanwhile, and carries them out when it is ready.
    """

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
        self._orders = Connection(ours.detach())
        self._lock = threading.Lock()
        self._function = function
        self.credentials = credentials()
        with contextlib.suppress(OSError):  # it is gone already: the first batch will find out
            self._orders.send_bytes(setup)

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def become_worker(self) -> Worker:
        """Have the process work on batches itself. It takes no other order after that."""
        with contextlib.suppress(OSError):  # it is gone: the first batch will find out
            self._orders.send_bytes(pickle.dumps("work"))
        return Worker(self._function, self._orders, self)

    def fork_worker(self) -> Worker:
        """Have the process fork one that works on batches."""
        ours, theirs = socket.socketpair()
        with theirs, self._whole_orders(), contextlib.suppress(OSError):  # it is gone: so is the other end then
            self._orders.send_bytes(pickle.dumps("fork"))
            send_handle(self._orders, theirs.fileno(), self.pid)
        connection = Connection(ours.detach())
        return Worker(self._function, connection, _Forked(self, connection))

    def end_of(self, pid: int) -> int | None:
        """Return the exit code of a forked worker that is about to end, None when it doesn't in five seconds."""
        with self._whole_orders(), contextlib.suppress(OSError, EOFError):
            self._orders.send_bytes(pickle.dumps((pid, _END_SECONDS)))
            if self._orders.poll(2 * _END_SECONDS):
                code: int | None = pickle.loads(self._orders.recv_bytes())
                return code
            self.kill()
        return None

    @contextlib.contextmanager
    def _whole_orders(self) -> Iterator[None]:
        """An order that was interrupted would be taken for part of the next one."""
        with self._lock:
            try:
                yield
            except BaseException:
                self.kill()
                raise

    def wait(self) -> int | None:
        """Return the exit code of the process, which is about to end; None when it doesn't in five seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        return self._process.returncode

    def kill(self) -> None:
        """End the process and whatever it started but for forked workers, and wait for it."""
        if self.alive:  # a reaped process's number may be somebody else's by now
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.kill()
            self._process.wait()
        if not self._orders.closed:
            self._orders.close()

    def give_up(self) -> None:
        """End it, since it can't start."""
        self.kill()


class _Forked:
    """A process that an interpreter forked and alone can wait for: until it is asked to, the number is nobody else's."""

    def __init__(self, parent: Interpreter, connection: Connection) -> None:
        self.pid: int | None = None
        self._parent = parent
        self._connection = connection
        self._waited_for = False

    def wait(self) -> int | None:
        if self.pid is None:
            return self._parent.wait()
        code = self._parent.end_of(self.pid)
        self._waited_for = code is not None
        return code

    def kill(self) -> None:
        if self.pid is None or self._waited_for:  # not begun: it ends with its connection, and goes with its parent
            return
        if not self._parent.alive and _hung_up(self._connection):  # somebody else waited for it
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()

    def give_up(self) -> None:
        self.kill()
        self._parent.kill()


class Worker:
    """A process that works on batches, one at a time, and the batch it works on."""

    def __init__(self, function: str, connection: Connection, process: Interpreter | _Forked) -> None:
        self.connection = connection
        self.started = False
        self.reusable = True
        self.index = -1
        self.limit: float | None = None
        self.deadline: float | None = None
        self._waiting: bytes | None = None
        self._function = function
        self._process = process

    @property
    def alive(self) -> bool:
        """Whether a worker that has no batch still runs: all it could say is that it ended."""
        try:
            return not self.connection.poll()
        except OSError:  # closed meanwhile
            return False

    def send(self, message: bytes, index: int, limit: float | None) -> bool:
        """Hand the batch over, or keep it until the worker has started; False when the process, once started, is gone."""
        self.index, self.limit = index, limit
        self._start_clock()
        if not self.started:  # nobody would read it, and why the start failed could not be told from a full connection
            self._waiting = message
            return True
        try:
            self.connection.send_bytes(message)
        except OSError:
            return False
        return True

    def _start_clock(self) -> None:
        limit = self.limit if self.started else START_TIMEOUT
        self.deadline = None if limit is None else time.monotonic() + limit

    def receive(self) -> Any:
        """Return the result, a :class:`WorkerFailure`, or :data:`STARTED`."""
        try:
            tag, value = pickle.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            if not self.started:
                raise self.failed_start() from None
            self.reusable = False
            code = self._process.wait()
            if code == -signal.SIGXCPU:
                return WorkerFailure("timeout", "used up its processor time")
            return WorkerFailure("crashed", f"the worker process {_ending(code)}")
        if tag == "started":
            self.started = True
            if isinstance(self._process, _Forked):
                self._process.pid = value
            self._start_clock()
            if self._waiting is not None:
                with contextlib.suppress(OSError):  # gone already, which is what the next message says
                    self.connection.send_bytes(self._waiting)
                self._waiting = None
            return STARTED
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
        reason = why or f"it {_ending(self._process.wait())}"
        self._process.give_up()
        self.connection.close()
        return HeadwaterError(f"a worker process for {self._function} could not start: {reason}")

    def kill(self) -> None:
        """End the process and whatever it started, and wait for it."""
        self._waiting = None
        with contextlib.suppress(HeadwaterError, OSError):
            if not self.started and self.connection.poll():
                self.receive()  # its number
        self._process.kill()
        self.connection.close()


def _hung_up(connection: Connection) -> bool:
    poll = select.poll()
    poll.register(connection.fileno(), 0)
    return any(event & select.POLLHUP for _, event in poll.poll(0))


def _ending(code: int | None) -> str:
    if code is None:
        return "closed its connection"
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"was ended by {name}" + (" (out of memory, perhaps)" if name == "SIGKILL" else "")
