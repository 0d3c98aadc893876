"""The names model: quality by cross-validation, what skipping sentences costs, and speed.

    python benchmarks/names.py crossvalidate DATA [--folds 5] [--take 5] [--jobs 4] [--peer]
                                                exact-span F1 on what was held out in the first --take folds; with
                                                --peer of a small spaCy pipeline trained on the same folds, too
    python benchmarks/names.py skipped DATA     names in the sentences that the model never reads
    python benchmarks/names.py speed FOLDER     every *.md below the folder: seconds, MB/s, share of the text read

DATA is a folder with wikigold, wnut17, sec_filings and generated_large.json (training/names/data.py names the sources).
Threads are torch's default; set OMP_NUM_THREADS for another number.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from headwater.privacy.names import candidates, find_names
from training.names.common_words import common_words
from training.names.cross_validate import cross_validate
from training.names.data import load


def crossvalidate(data: Path, count: int, take: int, jobs: int, peer: bool) -> None:
    for model in ("tagger", "spacy") if peer else ("tagger",):
        began = time.perf_counter()
        for source, score in cross_validate(data, count, take, jobs, model).items():
            print(f"{source}, {take} of {count} folds, {model}\n{score.table()}")
        print(f"{time.perf_counter() - began:.0f} s\n")


def skipped(data: Path) -> None:
    sentences = load(data)
    groups = sorted({item.group for item in sentences})
    random.Random(0).shuffle(groups)
    half = set(groups[::2])
    total, lost = Counter[str](), Counter[str]()
    for side in (True, False):
        # The list of common words is made from one half of the articles, posts and templates, and tried on the other.
        words = frozenset(common_words(item for item in sentences if (item.group in half) is side))
        for item in sentences:
            if (item.group in half) is side:
                continue
            for start, end in candidates.sentences(item.text):
                names = [span for span in item.spans if start <= span[0] < end and span[2] != "OTHER"]
                total[item.source] += len(names)
                if names and not candidates.may_hold_name(item.text[start:end], words):
                    lost[item.source] += len(names)
    for source, number in total.items():
        print(f"{source:12} {number:5} names, {lost[source]:3} in skipped sentences ({lost[source] / number:.2%})")


def speed(folder: Path) -> None:
    import torch

    texts = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(folder.rglob("*.md"))]
    size = sum(len(text.encode()) for text in texts) / 1e6
    parts = {text[start:end] for text in texts for start, end in candidates.sentences(text)}
    read = sum(len(part) for part in parts if candidates.may_hold_name(part))
    find_names(texts[:1])
    began, used = time.perf_counter(), time.process_time()
    found = find_names(texts)
    wall, cpu = time.perf_counter() - began, time.process_time() - used
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(texts)} documents, {size:.1f} MB, {torch.get_num_threads()} threads, peak memory {memory:.0f} MiB")
    print(f"characters read by the model: {read / sum(map(len, texts)):.0%}")
    print(f"{wall:.1f} s ({size / wall:.2f} MB/s), {cpu:.1f} CPU s ({size / cpu:.2f} MB per CPU second)")
    print("found", dict(Counter(span.entity for spans in found for span in spans).most_common()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["crossvalidate", "skipped", "speed"])
    parser.add_argument("path", type=Path)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--take", type=int)
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--peer", action="store_true")
    arguments = parser.parse_args()
    if arguments.what == "crossvalidate":
        take = arguments.take or arguments.folds
        crossvalidate(arguments.path, arguments.folds, take, arguments.jobs, arguments.peer)
    else:
        (skipped if arguments.what == "skipped" else speed)(arguments.path)


if __name__ == "__main__":
    main()
