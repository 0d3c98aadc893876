"""One writer per corpus: a file lock on this machine, and a lease in the ledger across machines.

The file lock dies with its process, so a killed writer's lease is taken over at once by the next one here: the lock
file names who took the lease under it. A writer elsewhere is waited out by the lease's expiry. The lease carries a
token that the ledger checks when it changes what readers see (:mod:`headwater.ledger.leases`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from headwater.errors import LeaseError
from headwater.ledger import Ledger

T = TypeVar("T")

LEASE_SECONDS = 60.0
"""How long a silent writer on another machine is waited for; renewed every third of it."""

_LOOK_SECONDS = 1.0
"""How often to look whether a corpus is still being written."""


class Lease:
    """The right to write one corpus, renewed in the background until it is given back."""

    def __init__(self, ledger: Ledger, corpus: str, holder: str, token: int, seconds: float) -> None:
        self.token = token
        self.holder = holder
        self._ledger = ledger
        self.corpus = corpus
        self._seconds = seconds
        self._renewed = time.monotonic()
        self._lost: LeaseError | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease-{corpus}", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise LeaseError when another writer took over. To be asked before anything that can't be taken back."""
        if self._lost is None and time.monotonic() - self._renewed > self._seconds:
            self._renew()
        if self._lost is not None:
            raise LeaseError(str(self._lost)) from self._lost

    def confirm(self) -> None:
        """As :meth:`check`, by the ledger's word of now."""
        if self._lost is None:
            self._renew()
        self.check()

    def guarded(self, batches: Iterable[T]) -> Iterator[T]:
        """Yield batches to write as long as the lease is held; LeaseError in place of the next one when it is lost."""
        for batch in batches:
            self.check()
            yield batch

    def give_back(self) -> None:
        """Stop renewing, and let the next writer have it."""
        self._done.set()
        self._thread.join()
        self._ledger.release_lease(self.corpus, self.token)

    def _keep(self) -> None:
        while self._lost is None and not self._done.wait(self._seconds / 3):
            # A database that is away for a moment: the next round may succeed, and check() asks once it is too late.
            with contextlib.suppress(Exception):
                self._renew()

    def _renew(self) -> None:
        started = time.monotonic()
        try:
            self._ledger.renew_lease(self.corpus, self.token, self._seconds)
            self._renewed = started
        except LeaseError as error:
            self._lost = error


class _Held:
    """A lease of this process, its lock file, and how often it was taken."""

    def __init__(self, lease: Lease, handle: int) -> None:
        self.lease = lease
        self.handle = handle
        self.times = 0


_held: dict[Path, _Held] = {}
_guard = threading.Lock()


@contextmanager
def corpus_lease(ledger: Ledger, corpus: str, lock_file: Path, *, seconds: float = LEASE_SECONDS) -> Iterator[Lease]:
    """Hold the right to write ``corpus``; LeaseError, which names the holder, when another process has it.

    The same process may take it again while it holds it (a run holds it over its stages); it is given back when the
    last taker is done.
    """
    path = lock_file.absolute()
    with _guard:
        held = _held.get(path)
        if held is None:
            held = _held[path] = _take(ledger, corpus, path, seconds)
        held.times += 1
    try:
        yield held.lease
    finally:
        with _guard:
            held.times -= 1
            if not held.times:
                del _held[path]
                try:
                    held.lease.give_back()
                finally:
                    os.close(held.handle)


@contextmanager
def when_free(writing: Callable[[], AbstractContextManager[Lease]], wait: float) -> Iterator[Lease]:
    """Enter ``writing`` once no other writer is at work; LeaseError when one is for longer than ``wait`` seconds."""
    deadline = time.monotonic() + wait
    with ExitStack() as stack:
        while True:
            try:
                lease = stack.enter_context(writing())
                break
            except LeaseError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(min(_LOOK_SECONDS, wait))
        yield lease


def _take(ledger: Ledger, corpus: str, path: Path, seconds: float) -> _Held:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LeaseError(
                f"Another process is writing corpus {corpus!r} (lock {path}). Wait for it, or stop it, and try again."
            ) from None
        holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        past = os.pread(handle, os.fstat(handle).st_size, 0).decode("utf-8", "replace").split()
        # Both names while it changes hands: killed on either side of it, the next writer knows that it is dead.
        _write(handle, [*past, holder])
        try:
            token = ledger.acquire_lease(corpus, holder, seconds, dead=_dead(ledger, corpus, past))
        except BaseException:
            _write(handle, past)
            raise
        _write(handle, [holder])
    except BaseException:
        os.close(handle)
        raise
    return _Held(Lease(ledger, corpus, holder, token, seconds), handle)


def _dead(ledger: Ledger, corpus: str, past: list[str]) -> str | None:
    """Return the lease's holder if it must be dead: it held, on this machine, the file lock that is ours now.

    Only on this machine, because on shared storage a file lock may hold for one machine alone.
    """
    holder = ledger.lease_holder(corpus)
    here = f"{socket.gethostname()}:"
    return holder if holder in past and holder.startswith(here) else None


def _write(handle: int, holders: list[str]) -> None:
    text = "".join(f"{holder}\n" for holder in holders).encode()
    os.pwrite(handle, text, 0)
    os.ftruncate(handle, len(text))
