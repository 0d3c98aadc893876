"""Speed, recall and precision of deduplication, against brute-force truth.

    python benchmarks/dedup.py --texts FOLDER [--passages 20000] [--licenses FOLDER --license-pairs FILE] [--articles FOLDER]

Passages of 200 to 600 words are cut at random places from the .md, .txt and .jsonl files under --texts; 30 % of them
are edited copies (word edit rate 0.2 to 5 %, a third each deleted, replaced and inserted; 30 % of the copies also cut
to 80 to 100 %). Truth is the exact Jaccard index of word 5-shingles over a complete inverted index, computed with
Python's re and hash and a sparse matrix product, none of it Headwater's code.
"""

from __future__ import annotations

import argparse
import csv
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from scipy import sparse

from headwater.dedup import candidate_pairs, jaccard_pairs, near_duplicates, signatures
from headwater.dedup.minhash import choose_bands

SEED = 7
EDIT_RATES = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05)
Result = TypeVar("Result")
Pairs = set[tuple[int, int]]


def plant(words: list[str], count: int) -> list[str]:
    """Return ``count`` passages, 30 % of them edited copies of others, in random order."""
    generator = random.Random(SEED)
    originals = []
    for _ in range(round(count * 0.7)):
        length = generator.randint(200, 600)
        start = generator.randrange(len(words) - length)
        originals.append(words[start : start + length])
    copies = [edit(generator.choice(originals), words, generator) for _ in range(count - len(originals))]
    passages = [" ".join(passage) for passage in originals + copies]
    generator.shuffle(passages)
    return passages


def edit(passage: list[str], words: list[str], generator: random.Random) -> list[str]:
    """Return a copy with words deleted, replaced and inserted, sometimes cut short."""
    rate = generator.choice(EDIT_RATES)
    result = []
    for word in passage:
        if generator.random() >= rate:
            result.append(word)
            continue
        change = generator.randrange(3)
        if change:
            result.append(generator.choice(words))
        if change == 2:
            result.append(word)
    if generator.random() < 0.3:
        result = result[: int(len(result) * generator.uniform(0.8, 1))]
    return result


def true_pairs(texts: list[str], threshold: float) -> Pairs:
    """Return every pair at or above the threshold by exact counting."""
    columns: dict[int, int] = {}
    indices, indptr = [], [0]
    for text in texts:
        words = re.findall(r"\w+", text.lower())
        shingles = {hash(tuple(words[i : i + 5])) for i in range(max(1, len(words) - 4))} if words else set()
        indices.extend(columns.setdefault(shingle, len(columns)) for shingle in shingles)
        indptr.append(len(indices))
    matrix = sparse.csr_matrix((np.ones(len(indices), np.int32), indices, indptr), shape=(len(texts), len(columns)))
    sizes = np.diff(indptr)
    shared = sparse.triu(matrix @ matrix.T, k=1).tocoo()
    union = sizes[shared.row] + sizes[shared.col] - shared.data
    similar = shared.data / union >= threshold
    return set(zip(shared.row[similar].tolist(), shared.col[similar].tolist(), strict=True))


def timed(call: Callable[[], Result]) -> tuple[Result, float]:
    """Return the result of a call and its seconds."""
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def score(name: str, found: Pairs, truth: Pairs, seconds: float, count: int) -> None:
    """Print one line of recall, precision and speed."""
    hits = len(found & truth)
    recall = hits / len(truth) if truth else 1.0
    precision = hits / len(found) if found else 1.0
    print(
        f"{name:<34} true {len(truth):>6}  recall {recall:.4f}  precision {precision:.4f}"
        f"  {seconds:7.2f} s  {count / seconds:>9,.0f} texts/s"
    )


def measure(name: str, texts: list[str], threshold: float, truth: Pairs | None = None) -> None:
    """Compare the exact join and the MinHash path with the truth for one set of texts."""
    size = sum(len(text.encode()) for text in texts) / 1e6
    batch, seconds = timed(lambda: signatures(texts))
    print(f"\n{name}: {len(texts)} texts, {size:.1f} MB, threshold {threshold}")
    print(f"{'texts to signatures':<34} {len(texts) / seconds:>9,.0f} texts/s  {size / seconds:.0f} MB/s")
    if truth is None:
        truth, seconds = timed(lambda: true_pairs(texts, threshold))
        print(f"{'brute-force truth':<34} {seconds:.1f} s")
    joined, seconds = timed(lambda: near_duplicates(texts, threshold))
    score("near_duplicates (exact join)", {(i, j) for i, j, _ in joined}, truth, seconds, len(texts))
    for bands, rows in dict.fromkeys([(20, 6), choose_bands(threshold)]):

        def minhash(bands: int = bands, rows: int = rows) -> Pairs:
            made = signatures(texts)
            pairs = candidate_pairs(made.hashes, bands, rows)
            similar = pairs[jaccard_pairs(made.shingles, pairs) >= threshold]
            return set(map(tuple, similar.tolist()))

        found, seconds = timed(minhash)
        score(f"MinHash {bands} x {rows}, verified", found, truth, seconds, len(texts))
        pairs, seconds = timed(lambda bands=bands, rows=rows: candidate_pairs(batch.hashes, bands, rows))
        print(f"{'  of which candidate pairs':<34} {len(pairs):>6} in {seconds:.3f} s")


def main() -> None:
    """Run the measurements that the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True, help="folder of text to cut passages from")
    parser.add_argument("--passages", type=int, default=20_000)
    parser.add_argument("--threshold", type=float, default=0.8)
    parser.add_argument("--licenses", type=Path, help="folder of licence texts")
    parser.add_argument("--license-pairs", type=Path, help="tab-separated a, b, jaccard of the licence texts")
    parser.add_argument("--articles", type=Path, help="folder of articles_*.train and .truth files")
    arguments = parser.parse_args()

    _, seconds = timed(lambda: (near_duplicates(["warm up"]), candidate_pairs(signatures(["warm up"] * 2).hashes)))
    print(f"import and compile: {seconds:.2f} s")
    files = sorted(
        path for path in arguments.texts.rglob("*") if path.suffix in {".md", ".txt", ".jsonl"} and path.is_file()
    )
    words = [word for path in files for word in path.read_text("utf-8", "replace").split()]
    measure("planted passages", plant(words, arguments.passages), arguments.threshold)
    if arguments.licenses:
        paths = sorted(arguments.licenses.glob("*.txt"))
        texts = [path.read_text("utf-8", "replace") for path in paths]
        truth = None
        if arguments.license_pairs:
            place = {path.name: index for index, path in enumerate(paths)}
            with arguments.license_pairs.open(newline="") as file:
                reader = csv.reader(file, delimiter="\t")
                next(reader)
                truth = {
                    (min(place[a], place[b]), max(place[a], place[b]))
                    for a, b, value, *_ in reader
                    if float(value) >= arguments.threshold
                }
        measure("licences", texts, arguments.threshold, truth)
    if arguments.articles:
        for path in sorted(arguments.articles.glob("*.train")):
            lines = [line.split(" ", 1) for line in path.read_text("utf-8", "replace").splitlines() if " " in line]
            measure(path.stem, [text for _, text in lines], arguments.threshold)
            planted = {frozenset(line.split()) for line in path.with_suffix(".truth").read_text().splitlines() if line}
            names = [name for name, _ in lines]
            found = {frozenset((names[i], names[j])) for i, j, _ in near_duplicates([text for _, text in lines], 0.5)}
            print(
                f"{'planted pairs found at 0.5':<34} {len(planted & found)} of {len(planted)}, {len(found - planted)} others"
            )


if __name__ == "__main__":
    main()
