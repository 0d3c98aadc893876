"""What search finds and how long it takes.

    python -m benchmarks.retrieval beir DIR...    # BEIR collections: what each part of the product's search adds
    python -m benchmarks.retrieval latency        # a corpus of --documents documents: search, one by one and at once

``beir`` prints, per collection: BM25, dense and RRF on bare texts; the same with title and section in front; the learnt
weights; and what joining neighbours does to ten passages. Nothing is learnt from a collection's own queries.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from headwater.corpus import Corpus, open_corpus
from headwater.evaluation import Collection, open_collection, recall_at, summarise
from headwater.pipeline import Pipeline
from headwater.policies import ChunkPolicy, EmbedPolicy, RetrievalPolicy
from headwater.retrieval.passages import collapse, merge, singles

RANKS = RetrievalPolicy(fusion="ranks")
WORDS = re.findall(
    r"\w+",
    "keeper gauge river weir sluice ferry lantern tower harbour anchor barge pump level flood winter spring crew duty "
    "book note paint repair inspect oil lock key room bell signal boat rope crane dock ice storm heron bridge mill",
)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    beir = commands.add_parser("beir")
    beir.add_argument("folders", nargs="+", type=Path)
    beir.add_argument("--cache", type=Path, help="Keep vectors here between runs.")
    speed = commands.add_parser("latency")
    speed.add_argument("--documents", type=int, default=2000)
    speed.add_argument("--clients", type=int, default=32)
    speed.add_argument("--queries", type=int, default=1000)
    arguments = parser.parse_args()
    if arguments.command == "beir":
        for folder in arguments.folders:
            measure(folder, arguments.cache)
    else:
        latency(arguments.documents, arguments.clients, arguments.queries)


def measure(folder: Path, cache: Path | None) -> None:
    """Print the figures of one collection."""
    bare = ChunkPolicy(context=False)
    english = EmbedPolicy(bm25_language="english")
    rows: list[tuple[str, float, float]] = []

    def note(label: str, collection: Collection, rankings: Mapping[str, Sequence[str]]) -> None:
        found = summarise(rankings, collection.qrels)
        rows.append((label, found["ndcg@10"], found["recall@10"]))

    with open_collection(folder, chunk=bare, embed=english, retrieval=RANKS, cache=cache) as plain:
        note("BM25, bare text", plain, plain.rank("sparse"))
        note("dense, bare text", plain, plain.rank("dense"))
        note("RRF, bare text", plain, plain.rank("hybrid"))
    with open_collection(folder, cache=cache) as collection:
        weight = collection.weight(RetrievalPolicy())
        note(f"BM25 ({collection.language})", collection, collection.rank("sparse"))
        note("dense", collection, collection.rank("dense"))
        note("RRF", collection, collection.rank("hybrid"))
        note(f"hybrid, learnt weight {weight:g}", collection, collection.rank("hybrid", weight))
        rows += _joined(collection, weight)
        print(f"\n{folder.name}: {collection.documents} documents, {collection.searcher.count()} chunks", end=", ")
        print(f"{len(collection.queries)} queries; weights learnt from {collection.weights}")
    print(f"{'':34} {'nDCG@10':>8} {'recall@10':>10}")
    for label, ndcg, recall in rows:
        print(f"{label:34} {ndcg:8.4f} {recall:10.4f}", flush=True)


def _joined(collection: Collection, weight: float | None) -> list[tuple[str, float, float]]:
    """Return the figures of ten passages, as a caller gets them: one by one, and with neighbours joined."""
    policy, found = RetrievalPolicy(), []
    for label, joins in (("10 passages, one by one", False), ("10 passages, neighbours joined", True)):
        rankings, recalls = {}, []
        for query in collection.queries:
            hits = collection.searcher.search(replace(collection.request(query, "hybrid", weight), limit=30))
            groups = collapse(singles(hits))
            groups = merge(groups, policy.merge_characters) if joins else groups
            keys = [
                [str(group.lead.payload["key"]), *(str(h.payload["key"]) for h, _ in group.same)] for group in groups
            ]
            rankings[query] = list(dict.fromkeys(key for several in keys[:10] for key in several))
            recalls.append(recall_at(rankings[query], collection.qrels[query], 10))
        found.append((label, summarise(rankings, collection.qrels)["ndcg@10"], float(np.mean(recalls))))
    return found


def latency(documents: int, clients: int, queries: int) -> None:
    """Build a corpus, and print how long a search takes, alone and with ``clients`` at once."""
    with (
        tempfile.TemporaryDirectory(prefix="headwater-latency-") as folder,
        open_corpus(_project(Path(folder), documents)) as corpus,
    ):
        Pipeline(corpus).run()
        with corpus.searcher() as searcher:
            print(f"{searcher.count():,} chunks")
        rng = np.random.default_rng(1)
        texts = [" ".join(rng.choice(WORDS, 7)) + f" {number}" for number in range(queries)]
        corpus.search("warm up")
        _report("alone, every query new", _timed(corpus, texts[: queries // 4], 1))
        _report("alone, every query known", _timed(corpus, texts[: queries // 4], 1))
        began = time.perf_counter()
        taken = _timed(corpus, [f"{text} again" for text in texts], clients)
        _report(f"{clients} at once, every query new", taken)
        print(f"   {len(taken) / (time.perf_counter() - began):,.0f} searches a second")
        steps = corpus.explain("the keeper oils the pump before the flood").timings
        print("   " + ", ".join(f"{step} {1000 * seconds:.1f} ms" for step, seconds in steps.items()))


def _timed(corpus: Corpus, texts: Sequence[str], clients: int) -> list[float]:
    taken: list[float] = []
    left = iter(texts)
    lock = threading.Lock()

    def ask() -> None:
        while True:
            with lock:
                text = next(left, None)
            if text is None:
                return
            began = time.perf_counter()
            corpus.search(text)
            taken.append(time.perf_counter() - began)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken


def _report(label: str, taken: Sequence[float]) -> None:
    low, high = np.percentile(np.array(taken) * 1000, [50, 99])
    print(f"{label:34} p50 {low:6.1f} ms   p99 {high:6.1f} ms", flush=True)


def _sentence(rng: np.random.Generator) -> str:
    one, other, third, fourth, number = *rng.choice(WORDS, 4), rng.integers(2, 10_000)
    return f"When the {one} at the {other} is checked, the {third} of the {fourth} must have been seen {number} times."


def _project(root: Path, documents: int) -> Path:
    rng = np.random.default_rng(7)
    (root / "documents").mkdir()
    for number in range(documents):
        paragraphs = [" ".join(_sentence(rng) for _ in range(8)) for _ in range(8)]
        (root / "documents" / f"{number:05}.md").write_text(f"# Note {number}\n\n" + "\n\n".join(paragraphs) + "\n")
    (root / "workspace.yaml").touch()
    path = root / "assets" / "notes" / "defs.yaml"
    path.parent.mkdir(parents=True)
    attributes = {
        "source": {"uri": str(root / "documents")},
        "dedup": {"enabled": False},
        "privacy": {"enabled": False},
        "gate": {"known_item_queries": 0, "min_known_item_recall": 0},
    }
    path.write_text(yaml.safe_dump({"type": "assets.corpus.Corpus", "attributes": attributes}))
    return path


if __name__ == "__main__":
    main()
