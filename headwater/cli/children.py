"""Child processes that must not outlive their parent.

Each child leads a session of its own, with its output in a log file. Stopping reaches everything below it, also
processes whose own parent has died: a session is not left by dying, and those that left it are found as descendants.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import psutil

from headwater.errors import HeadwaterError

STOP_SECONDS = 10.0
"""What a child may take to stop by itself; Dagster's daemon takes up to five seconds to notice."""

_TAIL_LINES = 20
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """The person (or the service manager) asked for an end. Not an error, so nothing that handles errors sees it."""


@dataclass(frozen=True, slots=True)
class _Child:
    name: str
    process: subprocess.Popen[bytes]
    log: Path


class Children:
    """Child processes that are stopped, with all below them, when the block ends, however it ends.

    Inside the block SIGINT, SIGTERM and SIGHUP raise :class:`Stopped`; during the stop a further one kills at once.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._children: list[_Child] = []
        self._known: set[psutil.Process] = set()
        self._interrupted = self._shielded = self._stopping = False
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> Children:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            for number, handler in self._previous.items():
                signal.signal(number, handler)  # type: ignore[arg-type]

    def start(self, name: str, command: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> None:
        """Start ``command``; its output goes to ``<logs>/<name>.log``, which is begun anew."""
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self._logs / f"{name}.log"
        # A signal between the start of the process and the note of it would leave an orphan.
        with self._shield(), log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._children.append(_Child(name, process, log))

    def check(self) -> None:
        """Raise HeadwaterError, with the end of its log, when a child has ended."""
        for child in self._children:
            if not _running(psutil.Process(child.process.pid)):
                self._look()  # while the child is unreaped, nobody else can have its process id
                code = child.process.wait()
                tail = child.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
                raise HeadwaterError(
                    f"{child.name} ended with exit code {code}. The end of its log, {child.log}:\n" + "\n".join(tail)
                )

    def pause(self, seconds: float) -> None:
        """Wait a moment, then :meth:`check`."""
        time.sleep(seconds)
        self.check()

    def stop(self, patience: float = STOP_SECONDS) -> None:
        """Stop every child and everything below it: politely, and after ``patience`` seconds by force."""
        self._stopping, self._interrupted = True, False
        for process in self._alive():
            _send(process, signal.SIGTERM)
        deadline = time.monotonic() + patience
        while self._alive() and time.monotonic() < deadline and not self._interrupted:
            time.sleep(0.05)
        while alive := self._alive():
            for process in alive:
                _send(process, signal.SIGKILL)
            psutil.wait_procs(alive, timeout=1.0)
        for child in self._children:
            child.process.wait()
        self._children.clear()
        self._known.clear()

    def _alive(self) -> list[psutil.Process]:
        """Return the processes of this tree that still run."""
        self._look()
        return [process for process in self._known if _running(process)]

    def _look(self) -> None:
        """Note every process below the children: the members of their sessions, and their descendants."""
        leaders = {child.process.pid for child in self._children if child.process.returncode is None}
        for process in psutil.process_iter():
            with contextlib.suppress(OSError):  # it ended meanwhile
                if os.getsid(process.pid) in leaders:
                    self._known.add(process)
        for process in list(self._known):
            with contextlib.suppress(psutil.Error):
                self._known.update(process.children(recursive=True))

    @contextmanager
    def _shield(self) -> Iterator[None]:
        self._shielded = True
        try:
            yield
        finally:
            self._shielded = False
        if self._interrupted:
            raise Stopped

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._interrupted = True
        if not (self._shielded or self._stopping):
            raise Stopped


def _running(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.Error):
        process.send_signal(number)
