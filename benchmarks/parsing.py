"""Parsing: is every file accounted for, is the text right, beside whom, and how fast.

    python benchmarks/parsing.py corpora FOLDER... [--password-from NAME] [--ocr]
        every file below the folders, in worker processes under the limits: reasons, time and memory of the workers
    python benchmarks/parsing.py unstructured FOLDER...     text and speed per format, beside unstructured
    python benchmarks/parsing.py twins FOLDER...            the same document in several formats, as NAME.txt and NAME.*
    python benchmarks/parsing.py pages FOLDER               main content of FOLDER/html/*.html.gz, beside trafilatura and resiliparse
    python benchmarks/parsing.py hostile                    the files of tests/hostile.py: reason, time, memory

Text F1 counts words (``\\w+``, lower case) as a bag: 2 * common / (ours + theirs). The F1 of ``pages`` is
article-extraction-benchmark's (https://github.com/scrapinghub/article-extraction-benchmark): 4-gram shingles of words,
precision and recall averaged over pages. Peers and ours run one after the other on one core; speeds count
processor time, so that a busy machine skews them less, and leave imports out.
"""

from __future__ import annotations

import argparse
import gzip
import json
import logging
import os
import re
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import psutil
from peers import ONE_CORE, run_peer

from headwater.errors import ParseError
from headwater.parsing import failure_error, parse_in_process
from headwater.policies import ParsePolicy
from headwater.pool import WorkerFailure, WorkerPool
from headwater.types import ParsedDocument

_WORD = re.compile(r"\w+")
PARTITIONERS = {
    ".html": "html", ".htm": "html", ".md": "md", ".docx": "docx", ".pptx": "pptx", ".xlsx": "xlsx", ".csv": "csv",
    ".tsv": "tsv", ".txt": "text", ".eml": "email", ".msg": "msg", ".xml": "xml",
}  # fmt: skip
"""unstructured's partitioners that need no other program (pandoc, LibreOffice) and no model."""


def words(text: str) -> Counter[str]:
    return Counter(_WORD.findall(text.lower()))


def text_f1(ours: str, theirs: str) -> float:
    first, second = words(ours), words(theirs)
    total = first.total() + second.total()
    return 2 * (first & second).total() / total if total else 1.0


def files_below(folders: Sequence[Path]) -> list[Path]:
    return [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]


class Memory:
    """The most memory that any child process held, in MiB, looked at 50 times a second."""

    def __init__(self) -> None:
        self.resident = self.address_space = 0.0
        self._over = threading.Event()

    def __enter__(self) -> Memory:
        threading.Thread(target=self._look, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()

    def _look(self) -> None:
        me = psutil.Process()
        while not self._over.wait(0.02):
            for child in me.children():
                try:
                    memory = child.memory_info()
                except psutil.Error:
                    continue
                self.resident = max(self.resident, memory.rss / 2**20)
                self.address_space = max(self.address_space, memory.vms / 2**20)


def in_workers(
    rows: Iterator[tuple[bytes, str]], policy: ParsePolicy, workers: int
) -> Iterator[tuple[int, ParsedDocument | ParseError]]:
    with WorkerPool(
        "headwater.parsing:parse_batch",
        policy,
        workers=workers,
        memory_mb=policy.memory_mb,
        prepare="headwater.parsing:prepare_worker",
    ) as pool:
        for index, outcome in pool.map(([row] for row in rows), policy.timeout_seconds):
            failed = isinstance(outcome, WorkerFailure)
            yield index, failure_error(outcome, policy) if failed else outcome[0]


def corpora(folders: Sequence[Path], policy: ParsePolicy, workers: int) -> None:
    files = files_below(folders)
    before = {path: path.stat().st_mtime_ns for path in files}
    ends: Counter[str] = Counter()
    by_type: dict[str, Counter[str]] = defaultdict(Counter)
    scratch = Path(tempfile.gettempdir())
    there = set(scratch.iterdir())
    began = time.perf_counter()
    with Memory() as memory:
        rows = ((path.read_bytes(), path.name) for path in files)
        for index, result in in_workers(rows, policy, workers):
            failed = isinstance(result, ParseError)
            end = result.code if failed else "parsed"
            ends[end] += 1
            by_type[files[index].suffix.lower() or "none"][end] += 1
            if failed and result.code in ("parse_failed", "parser_crashed", "timeout", "out_of_memory", "forbidden"):
                print(f"  {files[index].name}: {result.code}: {result}")
    seconds = time.perf_counter() - began
    left = [path for path in files_below(folders) if before.get(path) != path.stat().st_mtime_ns]
    made = {path for path in set(scratch.iterdir()) - there if path.owner() == scratch.owner()}
    print(f"{sum(ends.values())} of {len(files)} files accounted for in {seconds:.1f} s with {workers} workers")
    print("  " + ", ".join(f"{count} {end}" for end, count in ends.most_common()))
    for suffix, counts in sorted(by_type.items()):
        print(f"  {suffix:8} " + ", ".join(f"{count} {end}" for end, count in counts.most_common()))
    print(f"  largest worker: {memory.resident:.0f} MiB resident (limit {policy.memory_mb} MiB above the parsers)")
    print(f"  files changed or added in the folders: {len(left)}; new in {scratch} meanwhile: {len(made)}")


def timed(paths: Sequence[Path], policy: ParsePolicy) -> tuple[list[str | None], list[float]]:
    texts: list[str | None] = []
    seconds: list[float] = []
    for path in paths:
        data = path.read_bytes()
        began = time.process_time()
        try:
            texts.append(parse_in_process(data, path.name, policy).text)
        except ParseError:
            texts.append(None)
        seconds.append(time.process_time() - began)
    return texts, seconds


def beside_unstructured(folders: Sequence[Path], policy: ParsePolicy) -> None:
    chosen = [
        (PARTITIONERS[path.suffix.lower()], path)
        for path in files_below(folders)
        if path.suffix.lower() in PARTITIONERS
    ]
    peer = run_peer("unstructured_partition", {"files": [[kind, str(path)] for kind, path in chosen]}, one_core=True)
    timed(
        [next(path for kind, path in chosen if kind == name) for name in sorted({kind for kind, _ in chosen})], policy
    )
    texts, seconds = timed([path for _, path in chosen], policy)
    print("format   files  both  F1 mean  F1 least  ours/s  theirs/s  ratio  parsed by one alone (ours, theirs)")
    for kind in sorted({kind for kind, _ in chosen}):
        mine = [index for index, (name, _) in enumerate(chosen) if name == kind]
        both = [index for index in mine if texts[index] and peer["texts"][index]]
        scores = [text_f1(texts[index] or "", peer["texts"][index]) for index in both]
        ours, theirs = (sum(times[index] for index in both) for times in (seconds, peer["seconds"]))
        alone = (
            sum(bool(texts[i]) and not peer["texts"][i] for i in mine),
            sum(bool(peer["texts"][i]) and not texts[i] for i in mine),
        )
        print(
            f"{kind:8} {len(mine):5} {len(both):5} {mean(scores or [0]):8.3f} {min(scores or [0]):9.3f}"
            f" {len(both) / ours:7.1f} {len(both) / theirs:9.1f} {theirs / ours:6.1f}  {alone[0]}, {alone[1]}"
        )
        for score, index in sorted(zip(scores, both, strict=True))[:3]:
            if score < 0.98:
                print(f"           {score:.3f} {chosen[index][1].name}")


def twins(folders: Sequence[Path], policy: ParsePolicy) -> None:
    """Compare documents of one name: the plain text is the gold of the other formats."""
    by_name: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    for path in files_below(folders):
        by_name[path.parent, path.stem].append(path)
    scores: dict[str, list[float]] = defaultdict(list)
    for (_, name), paths in sorted(by_name.items()):
        gold = [path for path in paths if path.suffix == ".txt"]
        if not gold or len(paths) < 2:
            continue
        text = timed(gold, policy)[0][0] or ""
        for path in paths:
            if path not in gold:
                found = timed([path], policy)[0][0]
                score = text_f1(found or "", text)
                scores[path.suffix.lower()].append(score)
                print(f"  {score:.3f} {name}{path.suffix}")
    for suffix, values in sorted(scores.items()):
        print(f"{suffix:8} {len(values):3} files, mean F1 {mean(values):.3f}")


def shingles(text: str, size: int = 4) -> Counter[tuple[str, ...]]:
    tokens = _WORD.findall(text)
    return Counter(tuple(tokens[start : start + size]) for start in range(max(1, len(tokens) - size + 1)))


def page_score(gold: str, found: str) -> tuple[float, float]:
    """Return precision and recall of one page, as article-extraction-benchmark counts them."""
    right, given = shingles(gold), shingles(found)
    common = (right & given).total()
    missing, wrong = right.total() - common, given.total() - common
    if not missing and not wrong:
        return 1.0, 1.0
    precision = common / (common + wrong) if common + wrong else 1.0
    recall = common / (common + missing) if common + missing else 1.0
    return precision, recall


def text_of(page: bytes, policy: ParsePolicy) -> str:
    try:
        return parse_in_process(page, "page.html", policy).text
    except ParseError:
        return ""


def pages(folder: Path, policy: ParsePolicy) -> None:
    gold = json.loads((folder / "ground_truth.json").read_text())
    files = {name: folder / "html" / f"{name}.html.gz" for name in gold}
    peers = run_peer("html_extractors", {"files": [str(path) for path in files.values()]}, one_core=True)
    sources = [gzip.decompress(path.read_bytes()) for path in files.values()]

    def run(choice: str) -> dict[str, Any]:
        chosen = policy.model_copy(update={"parsers": policy.parsers.model_copy(update={"html": choice})})
        parse_in_process(sources[0], "page.html", chosen)
        began = time.process_time()
        texts = [text_of(source, chosen) for source in sources]
        return {"texts": texts, "seconds": time.process_time() - began}

    results = {f"headwater, html: {choice}": run(choice) for choice in ("auto", "main_content", "full", "unstructured")}
    print(f"{len(gold)} pages, {sum(map(len, sources)) / 1e6:.1f} MB   precision  recall     F1  pages/s")
    for name, result in {**results, **peers}.items():
        scores = [page_score(gold[key]["articleBody"], text) for key, text in zip(gold, result["texts"], strict=True)]
        precision, recall = mean(score[0] for score in scores), mean(score[1] for score in scores)
        f1 = 2 * precision * recall / (precision + recall)
        print(f"{name:32} {precision:9.3f} {recall:7.3f} {f1:6.3f} {len(gold) / result['seconds']:8.1f}")


def hostile() -> None:
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from tests.hostile import HOSTILE, POLICY

    print(f"under {POLICY.cpu_seconds:g} s of processor time, {POLICY.memory_mb} MiB above the parsers")
    print("file                          bytes  seconds  peak MiB  reason")
    harmed = 0
    for case in HOSTILE:
        data = case.make()
        with Memory() as memory:
            ends = []
            rows = iter([(b"The gauge is read.", "a.txt"), (data, case.name), (b"The gauge is read.", "b.txt")])
            clock = [time.perf_counter()]
            for _, result in in_workers(rows, POLICY, 1):
                ends.append(result)
                clock.append(time.perf_counter())
        result = ends[1]
        harmed += sum(isinstance(end, ParseError) for end in (ends[0], ends[2]))
        reason = result.code if isinstance(result, ParseError) else f"read: {len(result.text)} characters"
        expected = (result.code if isinstance(result, ParseError) else None) in case.codes
        print(
            f"{case.name:24} {len(data):10} {clock[2] - clock[1]:8.2f} {memory.resident:9.0f}  {reason}"
            f"{'' if expected else '   NOT EXPECTED'}"
        )
    print(f"documents beside them that were harmed: {harmed} of {2 * len(HOSTILE)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["corpora", "unstructured", "twins", "pages", "hostile"])
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--password-from", action="append", default=[], metavar="NAME", help="an environment variable")
    parser.add_argument("--ocr", action="store_true")
    arguments = parser.parse_args()
    os.environ.update(ONE_CORE)
    logging.disable(logging.CRITICAL)
    policy = ParsePolicy(passwords=arguments.password_from, ocr=arguments.ocr)
    actions: dict[str, Callable[[], None]] = {
        "corpora": lambda: corpora(arguments.folders, policy, arguments.workers),
        "unstructured": lambda: beside_unstructured(arguments.folders, policy),
        "twins": lambda: twins(arguments.folders, policy),
        "pages": lambda: pages(arguments.folders[0], policy),
        "hostile": hostile,
    }
    actions[arguments.what]()


if __name__ == "__main__":
    main()
