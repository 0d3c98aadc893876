"""The whole line, from files to a searchable index, beside LlamaIndex's IngestionPipeline.

    python benchmarks/whole_line.py FOLDER [--files N] [--rounds N]

The same Markdown files, the same embedding model, the same machine, all cores, one after the other. Each run is a
process of its own: interpreter, imports and models count. Measured are the first run, a run without a change, and a run
after one file got another sentence; wall-clock seconds, and the largest resident memory of the process and its children
together (proportional set size: what processes share is counted once). Linux. Before that, both index a dozen files
elsewhere, so that compiling, which happens once per installation, is not measured.

The peer splits (SentenceSplitter, 200 tokens), embeds and writes to Qdrant's local mode, with docstore upserts.
Headwater does that and parses, judges quality, removes duplicates, replaces personal data, checks a release and
publishes it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from peers import peer_python

from headwater import open_corpus
from headwater.embedding import locate_model

CHUNK_SIZE = 200
SENTENCE = "\n\nThe pump house by the old weir is opened for visitors on the first Sunday of May.\n"
WARM_UP_FILES = 12
RUNS = ("first run", "no change", "one file changed")


@dataclass
class Measured:
    """One run: wall-clock seconds of its process, MiB of its process tree at most, and what it printed."""

    seconds: float
    memory: float
    result: dict[str, Any]


def measure(command: Sequence[str]) -> Measured:
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        root = psutil.Process(process.pid)
        while not done.wait(0.1):
            total = 0
            for one in [root, *children(root)]:
                try:
                    total += one.memory_full_info().pss
                except psutil.Error:
                    continue
            peak = max(peak, total)

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, _ = process.communicate()
    seconds = time.perf_counter() - began
    done.set()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"{command[0]} failed with exit code {process.returncode}")
    return Measured(seconds, peak / 2**20, json.loads(output.strip().splitlines()[-1]))


def children(root: psutil.Process) -> list[psutil.Process]:
    try:
        return root.children(recursive=True)
    except psutil.Error:
        return []


def copy_files(folder: Path, target: Path, limit: int | None) -> list[Path]:
    files = [path for path in sorted(folder.rglob("*.md")) if path.is_file()][:limit]
    copies = []
    for path in files:
        copy = target / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        copies.append(copy)
    return copies


def headwater_corpus(state: Path, documents: Path) -> Path:
    corpus = state / "assets" / "measured"
    corpus.mkdir(parents=True)
    settings = {"type": "assets.corpus.Corpus", "attributes": {"source": {"uri": str(documents)}}}
    (corpus / "defs.yaml").write_text(json.dumps(settings))
    return corpus


def run_headwater(corpus: Path) -> None:
    """Reindex, and print what was done; the other end of :func:`measure`."""
    from headwater.pipeline import Pipeline

    with open_corpus(corpus) as opened:
        report = Pipeline(opened).run()
    stages = {stage.stage: round(stage.seconds, 2) for stage in report.stages}
    points = next(stage.rows for stage in report.stages if stage.stage == "index_candidate")
    embedded = next(stage.recomputed for stage in report.stages if stage.stage == "embeddings")
    print(json.dumps({"documents": report.listed, "embedded": embedded, "points": points, "stages": stages}))


def one_round(folder: Path, limit: int | None) -> dict[str, list[Measured]]:
    with tempfile.TemporaryDirectory(prefix="whole-line-") as temporary:
        state, documents = Path(temporary), Path(temporary) / "documents"
        copies = copy_files(folder, documents, limit)
        changed = sorted(copies, key=lambda path: path.stat().st_size)[len(copies) // 2]
        task = state / "task.json"
        peer = {
            "folder": str(documents),
            "state": str(state / "peer"),
            "model": str(locate_model(None)),
            "chunk_size": CHUNK_SIZE,
        }
        task.write_text(json.dumps(peer))
        corpus = headwater_corpus(state, documents)
        script = Path(__file__).parent / "peers" / "llama_index_ingestion.py"
        commands = {
            "headwater": [sys.executable, __file__, "--reindex", str(corpus)],
            "llama-index": [str(peer_python("llama_index_ingestion")), str(script), str(task)],
        }
        measured: dict[str, list[Measured]] = {name: [] for name in commands}
        for run in RUNS:
            if run == "one file changed":
                changed.write_text(changed.read_text(encoding="utf-8", errors="replace") + SENTENCE)
            for name, command in commands.items():
                measured[name].append(measure(command))
        return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, help="only the first so many files")
    parser.add_argument("--rounds", type=int, default=1, help="the best of so many")
    parser.add_argument("--reindex", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.reindex:
        run_headwater(arguments.folder)
        return
    one_round(arguments.folder, WARM_UP_FILES)
    rounds = [one_round(arguments.folder, arguments.files) for _ in range(arguments.rounds)]
    print(f"{os.cpu_count()} CPUs, best of {arguments.rounds}")
    for index, run in enumerate(RUNS):
        best = {name: min((r[name][index] for r in rounds), key=lambda one: one.seconds) for name in rounds[0]}
        ours, theirs = best["headwater"], best["llama-index"]
        print(f"\n{run}")
        for name, one in best.items():
            rate = one.result["documents"] / one.seconds
            print(
                f"  {name:12} {one.seconds:7.1f} s  {rate:6.1f} documents/s  {one.memory:6.0f} MiB  "
                f"{one.result['embedded']} chunks embedded, {one.result['points']} in the index"
            )
        print(
            f"  {'ratio':12} {theirs.seconds / ours.seconds:7.2f} x faster   {ours.memory / theirs.memory:.2f} x the memory"
        )
        print("  stages       " + ", ".join(f"{name} {seconds}" for name, seconds in ours.result["stages"].items()))


if __name__ == "__main__":
    main()
