"""What callers did, on its way into the ledger: collected in memory, written in batches by one thread.

A request never waits for it. When the ledger can't keep up, entries are dropped, counted, and the count is entered in
the log itself as soon as it can be written again.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

import sqlalchemy as sa

from headwater.errors import LedgerError
from headwater.ledger.audit import AuditEntry

LOG = logging.getLogger("headwater.serving")

QUEUED = 10_000
"""Entries that wait at most: some seconds of a busy service, and a few megabytes."""

BATCH = 500
USE_SECONDS = 60.0
"""How often the times that keys were last used are written."""

_WAIT_SECONDS = 0.5
_GATHER_SECONDS = 0.2
"""How long the first entry of a batch waits for others: under load a write for each costs as much as a search."""

_REPEAT_SECONDS = 60.0
"""How long a refusal that is repeated is counted rather than entered again."""

_RETRY_SECONDS = 2.0
_CLOSE_SECONDS = 10.0


class Store(Protocol):
    """What the trail needs of the ledger."""

    def record_audit(self, entries: list[AuditEntry]) -> None:
        """Store entries."""

    def note_api_key_use(self, used: dict[str, datetime]) -> None:
        """Note when keys were last used."""

    def expire_audit(self, before: datetime) -> int:
        """Delete old entries."""


@dataclass(slots=True)
class _Refused:
    """A refusal that was entered, when, and how many like it came since, of which ``last`` is the last."""

    at: float
    last: AuditEntry
    more: int = 0


class Trail:
    """Collects entries and writes them to ``store``; None keeps nothing. ``clock`` gives seconds."""

    def __init__(
        self,
        store: Store | None,
        *,
        retention_days: int,
        size: int = QUEUED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._clock = clock
        self._refused: dict[tuple[str, str, str | None], _Refused] = {}
        self._retention = timedelta(days=retention_days)
        self._queue: queue.Queue[AuditEntry] = queue.Queue(size)
        self._lock = threading.Lock()
        self._dropped = 0
        self._lost = 0
        self._used: dict[str, datetime] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def dropped(self) -> int:
        """How many entries were dropped since the start."""
        return self._dropped

    def add(self, entry: AuditEntry) -> None:
        """Take an entry; dropped, and counted, when too many wait."""
        if self._store is None:
            return
        try:
            self._queue.put_nowait(entry)
        except queue.Full:
            self._drop(1)

    def refused(self, entry: AuditEntry) -> None:
        """Take an entry of something that was refused.

        Those of one caller that differ in time and request only become two entries a minute: the first one, and at the
        minute's end the last one, whose count ``attempts`` says how many followed the first.
        """
        if self._store is None:
            return
        name = entry.who, entry.action, entry.target
        with self._lock:
            known = self._refused.get(name)
            if known is not None and self._clock() - known.at < _REPEAT_SECONDS:
                known.more, known.last = known.more + 1, entry
                return
            self._refused[name] = _Refused(self._clock(), entry)
        self._tell_repeated([known] if known else [])
        self.add(entry)

    def used(self, key_id: str) -> None:
        """Note that a key is in use now."""
        if self._store is not None:
            with self._lock:
                self._used[key_id] = datetime.now(UTC)

    def start(self) -> None:
        """Begin to write."""
        if self._store is not None and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="headwater-audit", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Write what waits, for a few seconds at most, and stop; what could not be written is counted in the log."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_CLOSE_SECONDS)
            self._thread = None
        left = self._queue.qsize() + self._lost
        if left:
            LOG.error("audit entries were lost", extra={"fields": {"entries": left}})

    def _drop(self, count: int) -> None:
        with self._lock:
            self._dropped += count
            self._lost += count

    def _tell_repeated(self, over: list[_Refused]) -> None:
        for one in over:
            if one.more:
                self.add(replace(one.last, counts={"attempts": one.more}))

    def _take_repeated(self, *, stopping: bool) -> list[_Refused]:
        """Take out the refusals whose minute is over, or all of them."""
        with self._lock:
            now = self._clock()
            names = [name for name, one in self._refused.items() if stopping or now - one.at >= _REPEAT_SECONDS]
            return [self._refused.pop(name) for name in names]

    def _run(self) -> None:
        assert self._store is not None
        expired = used = float("-inf")
        batch: list[AuditEntry] = []
        while True:
            stopping = self._stop.is_set()
            self._tell_repeated(self._take_repeated(stopping=stopping))
            self._fill(batch, wait=not stopping)
            moment = time.monotonic()
            try:
                self._write(batch)
                if stopping or moment - used > USE_SECONDS:
                    self._write_use()
                    used = moment
                if moment - expired > timedelta(days=1).total_seconds():
                    self._store.expire_audit(datetime.now(UTC) - self._retention)
                    expired = moment
            except (LedgerError, sa.exc.SQLAlchemyError) as error:
                LOG.error("the audit log can't be written", extra={"fields": {"error": type(error).__name__}})
                if stopping:
                    self._drop(len(batch))
                    return
                self._stop.wait(_RETRY_SECONDS)
                continue
            if stopping and self._queue.empty():
                return

    def _fill(self, batch: list[AuditEntry], *, wait: bool) -> None:
        """Take what waits, up to a full batch. ``wait``: for a first entry for a moment, and then for those that follow it."""
        try:
            if wait and not batch:
                batch.append(self._queue.get(timeout=_WAIT_SECONDS))
                if self._queue.qsize() < BATCH - 1:
                    self._stop.wait(_GATHER_SECONDS)
            while len(batch) < BATCH:
                batch.append(self._queue.get_nowait())
        except queue.Empty:
            return

    def _write(self, batch: list[AuditEntry]) -> None:
        assert self._store is not None
        with self._lock:
            lost = self._lost
        rows = list(batch)
        if lost:
            rows.append(AuditEntry(who="service", action="audit.dropped", outcome="failed", counts={"entries": lost}))
        if not rows:
            return
        self._store.record_audit(rows)
        batch.clear()
        with self._lock:
            self._lost -= lost

    def _write_use(self) -> None:
        assert self._store is not None
        with self._lock:
            used, self._used = self._used, {}
        if not used:
            return
        try:
            self._store.note_api_key_use(used)
        except (LedgerError, sa.exc.SQLAlchemyError):
            with self._lock:
                self._used = {**used, **self._used}
            raise
