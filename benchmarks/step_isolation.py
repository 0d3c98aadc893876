"""What a process of its own costs each step of a reindex: Dagster's in-process executor beside multiprocess.

    python -m benchmarks.step_isolation [--repeat N]

Indexes the sample corpus once, and then runs the job ``reindex_samples`` with either executor in turn, as ``dagster job
execute`` does. Nothing is left to do, so what such a run takes is overhead. Prints the median wall-clock and processor
seconds of each, and the difference per step. A pod per step (HEADWATER_EXECUTOR=k8s) costs the same processes, and the time
that the cluster takes to start a pod.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
STEPS = 10


def reindex(executor: str, home: Path) -> tuple[float, float]:
    """Run the job once and return its wall-clock and processor seconds, Dagster's start included."""
    dagster_home = home / "dagster"
    dagster_home.mkdir(parents=True, exist_ok=True)
    (dagster_home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    env = {
        **os.environ,
        "HEADWATER_EXECUTOR": executor,
        "HEADWATER_HOME": str(home / "headwater"),
        "DAGSTER_HOME": str(dagster_home),
        "PYTHONPATH": str(CHECKOUT),
    }
    command = ["dagster", "job", "execute", "-m", "definitions", "-d", str(CHECKOUT), "-j", "reindex_samples"]
    started, before = time.perf_counter(), _processor_seconds()
    done = subprocess.run(
        [str(Path(sys.executable).parent / command[0]), *command[1:]],
        cwd=CHECKOUT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"reindex_samples failed with {executor}:\n{done.stderr[-3000:]}")
    return seconds, _processor_seconds() - before


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeat", type=int, default=3, help="reindexes without a change, of which the median counts")
    repeat = parser.parse_args().repeat
    runs: dict[str, list[tuple[float, float]]] = {"in_process": [], "multiprocess": []}
    home = Path(tempfile.mkdtemp(prefix="isolation-"))
    try:
        reindex("in_process", home)
        for _ in range(repeat):
            for executor, taken in runs.items():
                taken.append(reindex(executor, home))
    finally:
        shutil.rmtree(home, ignore_errors=True)
    medians = {}
    for executor, taken in runs.items():
        medians[executor] = [statistics.median(column) for column in zip(*taken, strict=True)]
        wall, processor = medians[executor]
        print(f"{executor:<13} {wall:6.1f} s   processor {processor:6.1f} s")
    wall, processor = (
        (apart - together) / STEPS
        for apart, together in zip(medians["multiprocess"], medians["in_process"], strict=True)
    )
    print(f"isolation costs {wall:.1f} s per step, {processor:.1f} s of them of a processor ({STEPS} steps)")


if __name__ == "__main__":
    main()
