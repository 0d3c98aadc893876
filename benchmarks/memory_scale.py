"""Peak memory of a reindex as the corpus grows: copies of a folder of Markdown files, no two of them alike.

    python benchmarks/memory_scale.py FOLDER [--copies 1 5 20] [--layers N] [--workers N] [--keep DIR]

Each copy has about half of its longer words exchanged for others of the folder, by a rule of its own, so that copies
are no duplicates of each other but are of the same length, language and shape. Each size is a project and a process of
its own. Measured is the proportional set size of the process and all its children together, by stage: in all, and
without the pages of mapped files, which the system takes back when it needs them. Linux.

``--layers 1`` embeds with the first layer of the bundled model only: a sixth of the time, and the same memory but for the
other layers' 35 MiB of weights, which don't hang on the corpus.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil
from whole_line import headwater_corpus

from headwater import open_corpus
from headwater.embedding import locate_model
from headwater.errors import GateError
from headwater.reports import NoProgress, StageReport

_WORD = re.compile(r"[A-Za-z]{4,}")
_SHARE = 0.5
"""Of the distinct words that are exchanged: two copies then share fewer than one in fifteen word 5-shingles."""

_SAMPLE_SECONDS = 0.2


def vocabulary(texts: Mapping[Path, str]) -> dict[int, list[str]]:
    """Return the lower-case words of all texts by length, sorted."""
    words = {word for text in texts.values() for word in _WORD.findall(text) if word.islower()}
    by_length: dict[int, list[str]] = {}
    for word in sorted(words):
        by_length.setdefault(len(word), []).append(word)
    return by_length


def altered(text: str, number: int, words: Mapping[int, list[str]], known: dict[str, str]) -> str:
    """Return the text of copy ``number``; the first copy is as it was. ``known`` remembers the copy's exchanges."""
    if number == 0:
        return text

    def other(match: re.Match[str]) -> str:
        word = match.group()
        if not word.islower():
            return word
        if word not in known:
            chance = random.Random(f"{number} {word}")
            known[word] = chance.choice(words[len(word)]) if chance.random() < _SHARE else word
        return known[word]

    return _WORD.sub(other, text)


def write_copies(texts: Mapping[Path, str], target: Path, copies: int) -> int:
    """Write the copies, each into a folder of its own; return how many files there are."""
    words = vocabulary(texts)
    for number in range(copies):
        known: dict[str, str] = {}
        for path, text in texts.items():
            file = target / f"copy-{number:02}" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(altered(text, number, words, known), encoding="utf-8")
    return copies * len(texts)


class Watch(NoProgress):
    """Samples the memory of this process tree, by stage."""

    def __init__(self) -> None:
        self.reports: list[StageReport] = []
        self.peaks: dict[str, tuple[int, int]] = {}
        self._stage = "source_objects"
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def start(self, stage: str, total: int) -> None:
        """Note which stage is at work."""
        self._stage = stage

    def finish(self, report: StageReport) -> None:
        """Note that it is over, and show that the run goes on."""
        self._stage = f"after {report.stage}"
        self.reports.append(report)
        print(f"    {report.stage}: {report.rows} rows, {report.seconds:.1f} s", file=sys.stderr, flush=True)

    def _sample(self) -> None:
        root = psutil.Process()
        while not self._done.wait(_SAMPLE_SECONDS):
            every, anonymous = 0, 0
            for one in [root, *root.children(recursive=True)]:
                total, own = proportional_set_size(one.pid)
                every, anonymous = every + total, anonymous + own
            before = self.peaks.get(self._stage, (0, 0))
            self.peaks[self._stage] = (max(before[0], every), max(before[1], anonymous))


def proportional_set_size(pid: int) -> tuple[int, int]:
    """Return the bytes of a process with shared pages divided among their users: all, and those of no file."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return 0, 0
    found = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
    return found.get("Pss", 0), found.get("Pss_Anon", 0)


def shortened_model(layers: int, folder: Path) -> Path:
    """Write the bundled embedding model with its first layers only."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(locate_model(None)), device="cpu", local_files_only=True)
    encoder = model[0].auto_model
    encoder.encoder.layer = encoder.encoder.layer[:layers]
    encoder.config.num_hidden_layers = layers
    model.save(str(folder))
    return folder


def reindex(corpus: Path, workers: int | None) -> None:
    """Reindex, and print what was done: the inside of a measured process."""
    from headwater.pipeline import Pipeline

    began = time.perf_counter()
    with open_corpus(corpus) as opened, Watch() as watch:
        pipeline = Pipeline(opened, watch, workers=workers)
        # With a part of a model the release may fail its checks, which is all the same to its memory.
        with suppress(GateError):
            pipeline.run()
        states = pipeline.end_states()
    rows = {report.stage: report.rows for report in watch.reports}
    result = {
        "listed": sum(states.values()),
        "states": states,
        "chunks": rows["embeddings"],
        "seconds": time.perf_counter() - began,
        "stages": {report.stage: report.seconds for report in watch.reports},
        "peaks": watch.peaks,
    }
    print(json.dumps(result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--copies", type=int, nargs="+", default=[1, 5, 20])
    parser.add_argument("--layers", type=int, help="of the bundled embedding model; default: all six")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--keep", type=Path, help="a folder to work in, which is not deleted afterwards")
    parser.add_argument("--reindex", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.reindex:
        reindex(arguments.folder, arguments.workers)
        return
    folder = arguments.folder
    texts = {
        path.relative_to(folder): path.read_text(encoding="utf-8", errors="replace")
        for path in sorted(folder.rglob("*.md"))
        if path.is_file()
    }
    print(f"{os.cpu_count()} CPUs; {len(texts)} files, {sum(map(len, texts.values())) / 1e6:.1f} M characters")
    for copies in arguments.copies:
        with tempfile.TemporaryDirectory(prefix="memory-scale-") as temporary:
            state = arguments.keep / f"copies-{copies}" if arguments.keep else Path(temporary)
            shutil.rmtree(state, ignore_errors=True)
            state.mkdir(parents=True)
            write_copies(texts, state / "documents", copies)
            corpus = headwater_corpus(state, state / "documents")
            if arguments.layers:
                file = corpus / "defs.yaml"
                settings = json.loads(file.read_text())
                model = shortened_model(arguments.layers, state / "model")
                settings["attributes"]["embed"] = {"model": str(model)}
                file.write_text(json.dumps(settings))
            extra = ["--workers", str(arguments.workers)] if arguments.workers else []
            command = [sys.executable, __file__, "--reindex", str(corpus), *extra]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
            if done.returncode:
                raise SystemExit(f"the run with {copies} copies failed with exit code {done.returncode}")
            result = json.loads(done.stdout.strip().splitlines()[-1])
            lake = sum(file.stat().st_size for file in state.rglob("*") if file.is_file()) / 2**20
        peak = max(total for total, _ in result["peaks"].values()) / 2**20
        own = max(anonymous for _, anonymous in result["peaks"].values()) / 2**20
        print(
            f"\n{copies} x: {result['listed']} files, {result['states']}, {result['chunks']} chunks, "
            f"{result['seconds']:.0f} s; peak {peak:.0f} MiB, without mapped files {own:.0f} MiB; {lake:.0f} MiB on disk"
        )
        for stage, (total, anonymous) in result["peaks"].items():
            seconds = f"{result['stages'][stage]:7.1f} s" if stage in result["stages"] else " " * 9
            print(f"  {stage:34} {seconds} {total / 2**20:7.0f} MiB {anonymous / 2**20:7.0f} MiB without mapped files")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
