"""Speed of chunking, whether the cap holds, and whether the passages that hold an answer are found; beside semchunk.

    python benchmarks/chunking.py speed FOLDER             every *.md below the folder, on one core
    python benchmarks/chunking.py recall FOLDER [-k 5]     FOLDER/corpora/*.md and FOLDER/questions.csv
    python benchmarks/chunking.py cap FOLDER...            every file that can be parsed, and every corpus.jsonl

``speed`` goes from parsed text to chunks with their token ids; semchunk gives spans, with the same tokenizer and cap.
Each round starts with nothing remembered. ``recall`` follows the Chroma chunking evaluation
(https://github.com/brandonstarxel/chunking_evaluation): all chunks of all documents are ranked for each question by
cosine; recall, precision and IoU are means over the questions, counted in characters of the gold spans. ``cap`` counts
every chunk again with the tokenizer itself.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from peers import ONE_CORE, run_peer
from tokenizers import Tokenizer

from headwater import Chunk, ChunkPolicy, Embedder, HeadwaterError, ParsedDocument, chunk, parse
from headwater.chunking import embedded_text
from headwater.embedding import load_tokenizer, locate_model

ROUNDS = 3


def speed(folder: Path, policy: ChunkPolicy) -> None:
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(folder.rglob("*.md"))]
    documents = [ParsedDocument(text, (), {"title": "Document"}) for text in texts]
    size = sum(len(text.encode()) for text in texts) / 1e6
    seconds, floor = float("inf"), float("inf")
    for _ in range(ROUNDS):
        tokenizer = load_tokenizer(None)
        chunk(ParsedDocument("Warm up.", ()), policy, tokenizer=tokenizer)
        began = time.perf_counter()
        chunks = [piece for document in documents for piece in chunk(document, policy, tokenizer=tokenizer)]
        seconds = min(seconds, time.perf_counter() - began)
    began = time.perf_counter()
    for text in texts:
        tokenizer.encode(text, add_special_tokens=False)
    floor = time.perf_counter() - began
    peer_seconds, spans = semchunk(texts, policy)
    tokens = np.array([piece.tokens for piece in chunks])
    print(f"{size:.1f} MB, {len(texts)} documents, one core, best of {ROUNDS} rounds, nothing remembered between them")
    print(f"headwater                {size / seconds:6.2f} MB/s  {len(chunks)} chunks, fill {fill(tokens, policy):.2f}")
    print(f"semchunk                 {size / peer_seconds:6.2f} MB/s  {sum(map(len, spans))} chunks")
    print(f"the tokenizer, texts whole {size / floor:4.2f} MB/s")
    print(f"headwater / semchunk     {peer_seconds / seconds:6.2f}")
    print(f"largest chunk {tokens.max()} of {policy.max_tokens} tokens")


def fill(tokens: np.ndarray, policy: ChunkPolicy) -> float:
    return float(tokens.mean() / policy.max_tokens)


def semchunk(texts: Sequence[str], policy: ChunkPolicy) -> tuple[float, list[list[tuple[int, int]]]]:
    """Return the peer's seconds and the spans of its chunks; its cap leaves room for the special tokens."""
    special = len(load_tokenizer(None).encode(""))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "texts.json"
        file.write_text(json.dumps(texts))
        task = {
            "texts": str(file),
            "tokenizer": str(locate_model(None) / "tokenizer.json"),
            "max_tokens": policy.max_tokens - special,
            "rounds": ROUNDS,
        }
        result = run_peer("semchunk_spans", task, one_core=True)
    return result["seconds"], result["spans"]


@dataclass(frozen=True)
class Piece:
    """A chunk of either side: where it stands in the text of its owner, and what is embedded of it."""

    owner: str
    start: int
    end: int
    embedded: str


def embedded(piece: Chunk, title: str, policy: ChunkPolicy, tokenizer: Tokenizer) -> str:
    return embedded_text(title, piece.section, piece.text, policy, tokenizer, table_header=piece.table_header)


def recall(folder: Path, policy: ChunkPolicy, k: int) -> None:
    tokenizer = load_tokenizer(None)
    texts = {}
    for path in sorted((folder / "corpora").glob("*.md")):
        with path.open(encoding="utf-8", newline="") as file:
            texts[path.stem] = file.read()
    ours = [
        Piece(owner, piece.start, piece.end, embedded(piece, "", policy, tokenizer))
        for owner, text in texts.items()
        for piece in chunk(ParsedDocument(text, (), {}), policy, tokenizer=tokenizer)
    ]
    theirs = [
        Piece(owner, start, end, texts[owner][start:end])
        for owner, spans in zip(texts, semchunk(list(texts.values()), policy)[1], strict=True)
        for start, end in spans
    ]
    with (folder / "questions.csv").open(encoding="utf-8", newline="") as file:
        questions = list(csv.DictReader(file))
    embedder = Embedder()
    asked = embedder.encode_queries([row["question"] for row in questions])
    print(f"{len(questions)} questions, cap {policy.max_tokens}, overlap {policy.overlap_tokens}")
    for name, pieces in (("headwater", ours), ("semchunk", theirs)):
        scores = asked @ embedder.encode_documents([piece.embedded for piece in pieces]).T
        best = np.argsort(-scores, axis=1)[:, :k]
        figures = [_overlap(row, [pieces[i] for i in found]) for row, found in zip(questions, best, strict=True)]
        means = np.mean(figures, axis=0)
        print(
            f"{name:10} {len(pieces)} chunks  recall@{k} {means[0]:.3f}  precision {means[1]:.3f}  IoU {means[2]:.3f}"
        )


def _overlap(question: dict[str, str], found: Sequence[Piece]) -> tuple[float, float, float]:
    """Return recall, precision and IoU in characters; what two chunks share counts once."""
    gold = {
        place for span in json.loads(question["references"]) for place in range(span["start_index"], span["end_index"])
    }
    read = {(piece.owner, place) for piece in found for place in range(piece.start, piece.end)}
    hit = len({place for owner, place in read if owner == question["corpus_id"]} & gold)
    return hit / len(gold), hit / len(read), hit / (len(read) + len(gold) - hit)


def cap(folders: Sequence[Path], policy: ChunkPolicy) -> None:
    tokenizer = load_tokenizer(None)
    total = 0
    for folder in folders:
        documents = chunks = over = wrong = 0
        for document in _documents(folder):
            documents += 1
            title = str(document.metadata.get("title") or "")
            for piece in chunk(document, policy, tokenizer=tokenizer):
                ids = tokenizer.encode(embedded(piece, title, policy, tokenizer)).ids
                chunks += 1
                over += len(ids) > policy.max_tokens
                wrong += tuple(ids) != piece.ids or piece.text != document.text[piece.start : piece.end]
        total += over + wrong
        print(
            f"{folder.name:20} {documents:6} documents  {chunks:7} chunks  {over} over the cap  {wrong} with other ids"
        )
    if total:
        raise SystemExit("the cap, the ids or the offsets do not hold")


def _documents(folder: Path) -> Iterator[ParsedDocument]:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.name == "corpus.jsonl":
            for line in path.open(encoding="utf-8"):
                record = json.loads(line)
                yield ParsedDocument(record["text"], (), {"title": record.get("title")})
        elif path.suffix not in (".jsonl", ".tsv"):
            try:
                yield parse(path.read_bytes(), path.name)
            except HeadwaterError:
                continue


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "recall", "cap"])
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("-k", type=int, default=5)
    parser.add_argument("--max-tokens", type=int, default=ChunkPolicy().max_tokens)
    parser.add_argument("--overlap-tokens", type=int, default=ChunkPolicy().overlap_tokens)
    arguments = parser.parse_args()
    policy = ChunkPolicy(max_tokens=arguments.max_tokens, overlap_tokens=arguments.overlap_tokens)
    if arguments.what == "speed":
        os.environ |= ONE_CORE
        speed(arguments.folders[0], policy)
    elif arguments.what == "recall":
        recall(arguments.folders[0], policy, arguments.k)
    else:
        cap(arguments.folders, policy)


if __name__ == "__main__":
    main()
