"""``headwater plan`` beside the reindex that follows it, on a folder of real documents.

    python benchmarks/plan.py FOLDER [--workers N] [--keep DIR]

Half of the folder is indexed. Then, each planned first and run afterwards: the other half comes, some documents of the
first are edited and some deleted; nothing changes; a quality limit, the size of chunks, and the embedding model change,
the latter to one of half the size. Every reindex is the command in a process of its own, as people run it: what it takes
to start is part of it. Printed are rows by stage, planned and real, and planned over real for CPU seconds and wall-clock
seconds. A machine that does other things meanwhile shows in the latter.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from memory_scale import shortened_model
from whole_line import SENTENCE, headwater_corpus

from headwater import open_corpus
from headwater.costs import machine, total
from headwater.plan import plan_reindex

EDITED = 20
"""One in so many documents of the first half is edited; as many others are deleted."""


def copy(files: list[Path], folder: Path, target: Path) -> None:
    for file in files:
        to = target / file.relative_to(folder)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, to)


def configure(corpus: Path, section: str, **values: Any) -> None:
    file = corpus / "defs.yaml"
    settings = json.loads(file.read_text())
    settings["attributes"].setdefault(section, {}).update(values)
    file.write_text(json.dumps(settings))


def step(corpus: Path, what: str, change: Callable[[], None], workers: int | None) -> None:
    change()
    with open_corpus(corpus) as opened:
        plan = plan_reindex(opened)
    used = children_cpu_seconds()
    reindex(corpus, workers)
    used = children_cpu_seconds() - used
    with open_corpus(corpus) as opened:
        costs = {cost.stage: cost for cost in opened.ledger.costs(opened.name, runs=1)}
    print(f"\n{what}")
    print(f"  {'stage':24}{'rows planned':>14}{'real':>8}{'removed':>9}{'real':>8}  exact   CPU planned/real")
    wrong = 0
    for planned in plan.stages:
        real = costs.get(planned.stage)
        if real is None:
            print(f"  {planned.stage:24} not reached: the release failed its checks")
            continue
        wrong += planned.exact and (planned.rows, planned.removed) != (real.recomputed, real.removed)
        print(
            f"  {planned.stage:24}{planned.rows:14,}{real.recomputed:8,}{planned.removed:9,}{real.removed:8,}"
            f"  {'yes' if planned.exact else 'no':5} {planned.cpu_seconds:8.1f} {real.cpu_seconds:8.1f}"
        )
    sums = total(costs.values())
    cpu, seconds, tokens = float(sums["cpu_seconds"] or 0), float(sums["seconds"] or 0), int(sums["tokens"] or 0)
    print(
        f"  CPU {plan.cpu_seconds:.0f} s planned, {cpu:.0f} s real: {plan.cpu_seconds / cpu:.2f}; wall "
        f"{plan.seconds:.0f} s planned, {seconds:.0f} s real: {plan.seconds / seconds:.2f}; tokens {plan.tokens:,} planned, "
        f"{tokens:,} real; {wrong} stages called exact were not; the whole process took {used:.0f} s of CPU time",
        flush=True,
    )


def children_cpu_seconds() -> float:
    """Return the CPU seconds of all ended processes below this one."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def reindex(corpus: Path, workers: int | None) -> None:
    """Run the command; a release that fails its checks, as one of half a model may, took the same."""
    command = [sys.executable, "-m", "headwater.cli", "reindex", str(corpus), "--json"]
    command += ["--workers", str(workers)] if workers else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode and '"checks"' not in done.stdout:
        raise SystemExit(f"reindex failed with exit code {done.returncode}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--keep", type=Path, help="a folder to work in, which is not deleted afterwards")
    arguments = parser.parse_args()
    folder, workers = arguments.folder, arguments.workers
    files = [path for path in sorted(folder.rglob("*.md")) if path.is_file()]
    first, second = files[::2], files[1::2]
    print(f"{machine()}; {len(files)} files")
    with tempfile.TemporaryDirectory(prefix="plan-") as temporary:
        state = arguments.keep or Path(temporary)
        shutil.rmtree(state, ignore_errors=True)
        documents = state / "documents"
        copy(first, folder, documents)
        corpus = headwater_corpus(state, documents)

        def difference() -> None:
            copy(second, folder, documents)
            for file in first[::EDITED]:
                to = documents / file.relative_to(folder)
                to.write_text(to.read_text(encoding="utf-8", errors="replace") + SENTENCE)
            for file in first[1::EDITED]:
                (documents / file.relative_to(folder)).unlink()

        step(corpus, "first half, by shipped rates", lambda: None, workers)
        step(corpus, "nothing changed", lambda: None, workers)
        step(corpus, "other half, edits and deletions, by the corpus' own rates", difference, workers)
        step(corpus, "nothing changed", lambda: None, workers)
        step(
            corpus,
            "quality.min_words raised to 60",
            lambda: configure(corpus, "quality", min_words=60),
            workers,
        )
        step(corpus, "chunk.max_tokens 128", lambda: configure(corpus, "chunk", max_tokens=128), workers)
        model = shortened_model(3, state / "model")
        step(
            corpus,
            "another embedding model, of half the layers",
            lambda: configure(corpus, "embed", model=str(model)),
            workers,
        )


if __name__ == "__main__":
    main()
