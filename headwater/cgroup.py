"""What a container may use, where that is less than the machine has.

A container's CPU limit is a quota on time. The processors it sees are still all of the node's, so a program that starts a
worker per processor would start sixty-four under a limit of four, and run out of memory.
"""

from __future__ import annotations

import math
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def cpu_limit(root: Path = ROOT) -> int | None:
    """Return the processors that the container's quota amounts to, at least 1; None without a quota.

    Reads what a container sees of its own control group at ``root``: ``cpu.max`` (version 2), or
    ``cpu/cpu.cfs_quota_us`` and ``cpu/cpu.cfs_period_us`` (version 1).
    """
    words = _read(root / "cpu.max").split()
    if not words:
        words = [_read(root / "cpu" / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
    try:
        quota, period = (int(word) for word in words)
    except ValueError:  # "max", or no such files
        return None
    return max(1, math.ceil(quota / period)) if quota > 0 and period > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
