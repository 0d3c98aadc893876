"""What a stage of a run cost: seconds, bytes, tokens, and money where there are prices.

Measured from outside of the stages: CPU seconds are those that this process and everything below it used while the stage
ran, so the figures of a run's stages add up to the run's, workers that were started ahead of their stage included.
Stages say themselves what only they know (:func:`note`): bytes read, tokens embedded, seconds on a GPU, and CPU seconds of
other machines.
"""

from __future__ import annotations

import os
import platform
import resource
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.policies import CostPolicy

if TYPE_CHECKING:
    from headwater.lake_folder import LakeFolder

SUMMED = ("seconds", "cpu_seconds", "gpu_seconds", "tokens", "read_bytes", "written_bytes", "recomputed", "removed")
"""Fields of a :class:`StageCost` that add up over the stages of a run."""


@dataclass(frozen=True, slots=True)
class StageCost:
    """One stage of one run.

    ``seconds`` is wall-clock time, ``cpu_seconds`` those of all processes, on the nodes of a Ray cluster too, ``gpu_seconds`` the time that the embedding
    model worked times its GPUs. ``tokens`` were embedded. ``read_bytes`` are objects read from the bucket and rows read
    from the lake to be worked on, ``written_bytes`` the data files that the stage left in the lake and, in an embedded
    index, in its releases. ``rows`` are those of the stage's table afterwards. ``money`` is None without prices.
    """

    corpus: str
    run: str
    stage: str
    at: datetime
    machine: str
    seconds: float
    cpu_seconds: float
    gpu_seconds: float = 0.0
    tokens: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    rows: int = 0
    recomputed: int = 0
    removed: int = 0
    money: float | None = None
    currency: str | None = None


@dataclass(slots=True)
class Meter:
    """Measures one stage while :func:`metered` lasts; complete when it ends."""

    at: datetime
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    gpu_seconds: float = 0.0
    tokens: int = 0
    read_bytes: int = 0


_current: ContextVar[Meter | None] = ContextVar("headwater_meter", default=None)
_noting = threading.Lock()


@contextmanager
def metered() -> Iterator[Meter]:
    """Measure what runs inside; a few milliseconds."""
    meter = Meter(datetime.now(UTC))
    token = _current.set(meter)
    began, used = time.perf_counter(), tree_cpu_seconds()
    try:
        yield meter
    finally:
        meter.seconds = time.perf_counter() - began
        # A worker that was killed before it could be waited for takes its seconds along.
        meter.cpu_seconds += max(tree_cpu_seconds() - used, 0.0)
        _current.reset(token)


def note(*, read_bytes: int = 0, tokens: int = 0, gpu_seconds: float = 0.0, cpu_seconds: float = 0.0) -> None:
    """Count these in for the stage that is being measured; nothing happens when none is. ``cpu_seconds`` are those of
    processes that are not below this one."""
    meter = _current.get()
    if meter is None:
        return
    with _noting:  # threads of one stage share its meter
        meter.read_bytes += read_bytes
        meter.tokens += tokens
        meter.gpu_seconds += gpu_seconds
        meter.cpu_seconds += cpu_seconds


_RAYLET = "raylet"
"""The process of a Ray node, which starts the workers there. What these use is told by the tasks that ran there, wherever
the node is; of one that was started below this process it would count twice, and vanish with every worker that ends,
because a raylet does not wait for its children."""


def tree_cpu_seconds() -> float:
    """Return the CPU seconds that this process and all below it, ended ones included but Ray nodes left out, have used."""
    import psutil

    used = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        used += usage.ru_utime + usage.ru_stime
    for pid in _processes_below(os.getpid()):
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.Error:
            continue
        used += times.user + times.system + times.children_user + times.children_system
    return used


def _processes_below(root: int) -> list[int]:
    """Return the ids of all processes below one, without Ray nodes and what is below these."""
    found: list[int] = []
    waiting = [root]
    while waiting:
        children = [pid for pid in _children(waiting.pop()) if not _is_raylet(pid)]
        found += children
        waiting += children
    return found


def _children(parent: int) -> list[int]:
    """Return the ids of a process' children. Where Linux keeps lists of them they are taken from these: looking at every
    process of the machine, as psutil does, takes ten times as long."""
    import psutil

    found: list[int] = []
    if Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").exists():
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with suppress(OSError):  # the thread ended
                found += [int(pid) for pid in children.read_text().split()]
        return found
    with suppress(psutil.Error):
        found = [child.pid for child in psutil.Process(parent).children()]
    return found


def _is_raylet(pid: int) -> bool:
    import psutil

    try:
        return bool(psutil.Process(pid).name() == _RAYLET)
    except psutil.Error:
        return False


def priced(cost: StageCost, prices: CostPolicy, *, endpoint: bool) -> StageCost:
    """Return the cost with its money by ``prices``; ``endpoint`` says that tokens were embedded by one that is paid."""
    money = price(
        prices, cpu_seconds=cost.cpu_seconds, gpu_seconds=cost.gpu_seconds, tokens=cost.tokens if endpoint else 0
    )
    return replace(cost, money=money, currency=prices.currency if money is not None else None)


def price(prices: CostPolicy, *, cpu_seconds: float, gpu_seconds: float, tokens: int) -> float | None:
    """Return what these cost; None when no price is set. ``tokens`` are those that an endpoint is paid for."""
    parts = (
        (prices.cpu_hour, cpu_seconds / 3600),
        (prices.gpu_hour, gpu_seconds / 3600),
        (prices.thousand_tokens, tokens / 1000),
    )
    known = [each * amount for each, amount in parts if each is not None]
    return sum(known) if known else None


def total(costs: Iterable[StageCost]) -> dict[str, float | int | str | None]:
    """Return the sums over the stages of a run: :data:`SUMMED`, and ``money`` with its ``currency``."""
    rows = list(costs)
    sums: dict[str, float | int | str | None] = {name: sum(getattr(row, name) for row in rows) for name in SUMMED}
    paid = [row.money for row in rows if row.money is not None]
    sums["money"] = sum(paid) if paid else None
    sums["currency"] = next((row.currency for row in rows if row.currency is not None), None)
    return sums


@lru_cache(maxsize=1)
def machine() -> str:
    """Return what kind of machine this is: usable CPUs and their model."""
    from headwater.pool import usable_cpus

    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{usable_cpus()} x {model}"[:200]


def lake_bytes(lake: LakeFolder) -> int:
    """Return the bytes of all files of a lake, here or in a bucket."""
    size = 0
    for file in lake.files():
        try:
            size += file.stat().st_size if isinstance(file, Path) else file.size
        except OSError:
            continue
    return size


def folder_bytes(folder: Path, since: float = 0.0) -> int:
    """Return the bytes on disk of the files under ``folder`` that were changed at or after ``since`` (POSIX seconds).

    A file with several names counts once; one that disappears meanwhile doesn't count.
    """
    found: dict[tuple[int, int], int] = {}
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                status = Path(path, name).lstat()
            except OSError:
                continue
            if status.st_mtime >= since:
                found[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(found.values())
