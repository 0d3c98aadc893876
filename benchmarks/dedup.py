"""Speed, recall and precision of deduplication, against brute-force truth and beside other tools.

    python benchmarks/dedup.py --texts FOLDER [--passages 20000] [--licenses FOLDER --license-pairs FILE] [--articles FOLDER]
    python benchmarks/dedup.py --texts FOLDER --peers      texts to signatures beside datatrove and rensa, on one core
    python benchmarks/dedup.py --million                   one million signatures to survivors, time and peak memory
    python benchmarks/dedup.py --search                    what a search pays for the duplicates that it lists

Passages of 200 to 600 words are cut at random places from the .md, .txt and .jsonl files under --texts; 30 % of them
are edited copies (word edit rate 0.2 to 5 %, a third each deleted, replaced and inserted; 30 % of the copies also cut
to 80 to 100 %). Truth is the exact Jaccard index of word 5-shingles over a complete inverted index, computed with
Python's re and hash and a sparse matrix product, none of it Headwater's code.

The million is synthetic: sets of about 200 shingle hashes, 70 % of them alone and the rest in clusters of 2 to 10,000
whose sizes follow a power law, each member with up to 8 % of its cluster's shingles replaced. The signatures are real
ones of these sets; time and memory cover bands, exact Jaccard and survivors. The signatures are in memory, the sets on
disk, as in the lake; only those of rows that share a band are read.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import random
import re
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from peers import run_peer
from scipy import sparse

from headwater.dedup import (
    ShingleSets,
    candidate_pairs,
    choose_bands,
    find_survivors,
    jaccard_pairs,
    near_duplicates,
    signatures,
    warm_up,
)
from headwater.driver import CORE
from headwater.duplicates import DuplicateLists
from headwater.hashing import document_id
from headwater.ledger import Ledger
from headwater.tables import Tables

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


def beside_peers(texts: list[str]) -> None:
    """Compare texts to signatures with datatrove and rensa, each on one core and the same texts, best of three rounds."""
    few = texts[: len(texts) // 10]  # datatrove takes a hundred times as long
    size = sum(len(text.encode()) for text in texts) / 1e6
    ours = min(timed(lambda: signatures(texts))[1] for _ in range(3))
    rensa = run_peer("rensa_minhash", {"texts": texts, "rounds": 3}, one_core=True)["seconds"]
    datatrove = run_peer("datatrove_minhash", {"texts": few, "rounds": 3}, one_core=True)["seconds"]
    ours_again = min(timed(lambda: signatures(texts))[1] for _ in range(3))
    print(f"{len(texts)} texts, {size:.1f} MB, text to 128-slot signature, shingling included, one core")
    rates = {
        "headwater": len(texts) / min(ours, ours_again),
        "rensa 0.5.0": len(texts) / rensa,
        "datatrove 0.10.1": len(few) / datatrove,
    }
    for name, rate in rates.items():
        ratio = rates["headwater"] / rate
        print(f"{name:<36} {rate:>9,.0f} texts/s   headwater is {ratio:6.1f} times as fast")


def cluster_sizes(count: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return sizes of clusters that sum to ``count``: 70 % alone, the rest 2 to 10,000 by a power law."""
    sizes = [np.ones(round(count * 0.7), np.int64)]
    left = count - len(sizes[0])
    while left > 0:
        drawn = np.minimum((2 * generator.pareto(1.2, 10_000) + 2).astype(np.int64), 10_000)
        drawn = drawn[np.cumsum(drawn) <= left]
        sizes.append(drawn if len(drawn) else np.array([left], np.int64))
        left -= int(sizes[-1].sum())
    return np.concatenate(sizes)


def make_million(count: int, folder: Path) -> None:
    """Write ``count`` synthetic shingle sets and their signatures to a folder; see the module's text."""
    from headwater.dedup import _kernels
    from headwater.dedup.minhash import _permutations

    generator = np.random.default_rng(SEED)
    sizes = cluster_sizes(count, generator)
    cluster_of = np.repeat(np.arange(len(sizes)), sizes)[generator.permutation(count)]
    counts = generator.integers(100, 300, len(sizes))[cluster_of]
    offsets = np.zeros(count + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    values = np.empty(offsets[-1], np.uint64)
    for row in range(count):
        own = np.random.Philox(key=int(cluster_of[row])).random_raw(int(counts[row]))
        changed = generator.random(len(own)) < generator.uniform(0, 0.08)
        own[changed] = generator.integers(0, 2**64, int(changed.sum()), np.uint64)
        own.sort()
        values[offsets[row] : offsets[row + 1]] = own
    np.save(folder / "values.npy", values)
    np.save(folder / "offsets.npy", offsets)
    np.save(folder / "hashes.npy", _kernels.minhash(values, offsets, *_permutations()))
    np.save(folder / "clusters.npy", cluster_of)


def cluster_million(folder: Path, threshold: float) -> None:
    """Cluster what is in the folder, and print time and the peak memory of this process."""
    hashes, clusters = np.load(folder / "hashes.npy"), np.load(folder / "clusters.npy")
    sets = ShingleSets(np.load(folder / "values.npy", mmap_mode="r"), np.load(folder / "offsets.npy"))
    count = len(hashes)

    def shingles(rows: npt.NDArray[np.int64]) -> ShingleSets:
        part = pa.LargeListArray.from_arrays(pa.array(sets.offsets), pa.array(sets.values.view(np.int64))).take(
            pa.array(rows)
        )
        return ShingleSets.from_arrow(part)

    warm_up()
    rank = np.random.default_rng(SEED + 1).permutation(count)
    found, seconds = timed(lambda: find_survivors(hashes, shingles, rank, np.zeros(count, np.int64), threshold))
    removed = np.flatnonzero(found.survivor != np.arange(count))
    exact = jaccard_pairs(sets, np.stack([removed[:100_000], found.survivor[removed[:100_000]]], axis=1))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{count:,} signatures in {len(np.unique(clusters)):,} clusters, the largest {np.bincount(clusters).max():,}")
    print(f"{len(removed):,} duplicates found in {seconds:.1f} s, peak memory {peak:.2f} GiB")
    print(f"of 100,000 duplicates, {(exact < threshold).sum()} are less than {threshold} similar to their survivor")
    print(f"and {(clusters[removed] != clusters[found.survivor[removed]]).sum()} of all are in another cluster")


def in_own_process(target: Callable[..., None], *arguments: object) -> None:
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)


def search_cost(documents: int, rounds: int = 2000) -> None:
    """Print what listing the duplicates of ten results costs, in a corpus a third of which are duplicates."""
    with tempfile.TemporaryDirectory() as folder:
        tables, ledger = Tables(Path(folder) / "works"), Ledger(f"sqlite:///{folder}/ledger.db")
        ids = [document_id("works", str(n)) for n in range(documents)]
        core = {name: pa.array(["ok"] * documents) for name in CORE.names} | {"id": ids, "doc_id": ids}
        duplicate = [n % 3 == 2 for n in range(documents)]
        objects = core | {"key": [f"{n}.md" for n in range(documents)], "readers": [["*"], ["hr"]] * (documents // 2)}
        merged = core | {
            "reason": ["near_duplicate" if gone else "ok" for gone in duplicate],
            "survivor": [ids[n - 2] if gone else None for n, gone in enumerate(duplicate)],
            "similarity": [0.9 if gone else None for gone in duplicate],
        }
        for table, columns in ((tables.source_objects, objects), (tables.deduplicated_documents, merged)):
            arrays = [
                pa.array(columns[f.name], f.type) if f.name in columns else pa.nulls(documents, f.type)
                for f in table.schema
            ]
            table.replace(pa.Table.from_arrays(arrays, schema=table.schema).to_batches())
        release = ledger.create_release(
            "works", parent=None, spec="spec", table_versions=tables.versions(), counts={}, settings={}
        )
        lists = DuplicateLists("works", tables, ledger)
        readers = frozenset({"*"})
        _, first = timed(lambda: lists.of(release, ids[:10], readers))
        generator = random.Random(SEED)
        seconds = []
        for _ in range(rounds):
            asked = generator.sample(ids, 10)
            seconds.append(timed(lambda asked=asked: lists.of(release, asked, readers))[1])
        print(f"{documents:,} documents, a third of them duplicates; ten results per search")
        print(
            f"first search of a release {first * 1000:.0f} ms; then median {np.median(seconds) * 1000:.3f} ms, "
            f"99th percentile {np.quantile(seconds, 0.99) * 1000:.3f} ms"
        )


def main() -> None:
    """Run the measurements that the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, help="folder of text to cut passages from")
    parser.add_argument("--peers", action="store_true", help="compare texts to signatures with datatrove and rensa")
    parser.add_argument(
        "--million", nargs="?", type=int, const=1_000_000, help="cluster this many synthetic signatures"
    )
    parser.add_argument("--search", nargs="?", type=int, const=100_000, help="list duplicates in a corpus of this size")
    parser.add_argument("--passages", type=int, default=20_000)
    parser.add_argument("--threshold", type=float, default=0.8)
    parser.add_argument("--licenses", type=Path, help="folder of licence texts")
    parser.add_argument("--license-pairs", type=Path, help="tab-separated a, b, jaccard of the licence texts")
    parser.add_argument("--articles", type=Path, help="folder of articles_*.train and .truth files")
    arguments = parser.parse_args()

    if arguments.million:
        with tempfile.TemporaryDirectory() as folder:
            in_own_process(make_million, arguments.million, Path(folder))
            in_own_process(cluster_million, Path(folder), arguments.threshold)
    if arguments.search:
        search_cost(arguments.search)
    if not arguments.texts:
        return
    _, seconds = timed(lambda: (near_duplicates(["warm up"]), candidate_pairs(signatures(["warm up"] * 2).hashes)))
    print(f"import and compile: {seconds:.2f} s")
    files = sorted(
        path for path in arguments.texts.rglob("*") if path.suffix in {".md", ".txt", ".jsonl"} and path.is_file()
    )
    words = [word for path in files for word in path.read_text("utf-8", "replace").split()]
    passages = plant(words, arguments.passages)
    if arguments.peers:
        beside_peers(passages)
        return
    measure("planted passages", passages, arguments.threshold)
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
