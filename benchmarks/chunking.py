"""Speed of chunking, and whether the passages that hold an answer are found.

    python benchmarks/chunking.py speed FOLDER             every *.md below the folder, MB of text per second
    python benchmarks/chunking.py recall FOLDER [-k 5]     FOLDER/corpora/*.md and FOLDER/questions.csv

``recall`` follows the Chroma chunking evaluation (https://github.com/brandonstarxel/chunking_evaluation): all chunks of
all documents are ranked for each question by cosine; recall, precision and IoU are means over the questions, counted
in characters of the gold spans. One thread (TOKENIZERS_PARALLELISM=false, OMP_NUM_THREADS=1) gives the figures per core.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from pathlib import Path

import numpy as np

from headwater import ChunkPolicy, Embedder, ParsedDocument, chunk
from headwater.chunking import embedded_text
from headwater.embedding import load_tokenizer


def speed(folder: Path, policy: ChunkPolicy) -> None:
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(folder.rglob("*.md"))]
    documents = [ParsedDocument(text, (), {"title": "Document"}) for text in texts]
    tokenizer = load_tokenizer(None)
    chunk(documents[0], policy, tokenizer=tokenizer)
    began = time.perf_counter()
    chunks = [piece for document in documents for piece in chunk(document, policy, tokenizer=tokenizer)]
    seconds = time.perf_counter() - began
    began = time.perf_counter()
    for text in texts:
        tokenizer.encode(text, add_special_tokens=False)
    floor = time.perf_counter() - began
    size = sum(len(text.encode()) for text in texts) / 1e6
    tokens = np.array([piece.tokens for piece in chunks])
    print(f"{size:.1f} MB, {len(texts)} documents, {len(chunks)} chunks")
    print(f"chunking      {size / seconds:6.2f} MB/s")
    print(f"tokenizer     {size / floor:6.2f} MB/s (the floor)")
    print(f"fill {tokens.mean() / policy.max_tokens:.2f}, largest {tokens.max()} of {policy.max_tokens} tokens")


def recall(folder: Path, policy: ChunkPolicy, k: int) -> None:
    tokenizer = load_tokenizer(None)
    chunks, texts, owners = [], [], []
    for path in sorted((folder / "corpora").glob("*.md")):
        with path.open(encoding="utf-8", newline="") as file:
            document = ParsedDocument(file.read(), (), {})
        for piece in chunk(document, policy, tokenizer=tokenizer):
            chunks.append(piece)
            texts.append(embedded_text("", piece.section, piece.text, policy, tokenizer))
            owners.append(path.stem)
    with (folder / "questions.csv").open(encoding="utf-8", newline="") as file:
        questions = list(csv.DictReader(file))
    embedder = Embedder()
    scores = embedder.encode_queries([row["question"] for row in questions]) @ embedder.encode_documents(texts).T
    best = np.argsort(-scores, axis=1)[:, :k]
    figures = []
    for row, found in zip(questions, best, strict=True):
        gold = {i for span in json.loads(row["references"]) for i in range(span["start_index"], span["end_index"])}
        read = sum(chunks[i].end - chunks[i].start for i in found)
        own = [chunks[i] for i in found if owners[i] == row["corpus_id"]]
        hit = len(gold & {i for piece in own for i in range(piece.start, piece.end)})
        figures.append((hit / len(gold), hit / read, hit / (read + len(gold) - hit)))
    means = np.mean(figures, axis=0)
    print(f"{len(chunks)} chunks, {len(questions)} questions")
    print(f"recall@{k} {means[0]:.3f}  precision {means[1]:.3f}  IoU {means[2]:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "recall"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("-k", type=int, default=5)
    parser.add_argument("--max-tokens", type=int, default=ChunkPolicy().max_tokens)
    arguments = parser.parse_args()
    policy = ChunkPolicy(max_tokens=arguments.max_tokens)
    if arguments.what == "speed":
        speed(arguments.folder, policy)
    else:
        recall(arguments.folder, policy, arguments.k)


if __name__ == "__main__":
    main()
