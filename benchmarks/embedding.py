"""Speed and exactness of embedding beside sentence-transformers' own fp32 ``encode``, and memory over many chunks.

    python benchmarks/embedding.py FOLDER [--texts 400] [--rounds 3]       every *.md and *.txt below the folder
    python benchmarks/embedding.py FOLDER --chunks 100000 [--words 12]     resident memory at every tenth of the way

The texts are stretches of 12 to 190 words of the files, in the mixture of reference measurements of the field. Both
sides embed the same texts on the same cores, in turns; the best of the rounds counts. The memory run goes through the
stage as a reindex does (chunks with token ids in, rows with vectors out), each text new, with short texts where asked.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa

from headwater.driver import CORE
from headwater.embedding import Embedder, load_tokenizer, locate_model
from headwater.embedding.tokenizing import text_tokenizer
from headwater.lake import Table
from headwater.policies import EmbedPolicy
from headwater.stages.chunks import CHUNKS
from headwater.stages.embeddings import embedding_stage

WORDS = (12, 25, 50, 80, 120, 160, 190)
LONGEST_WORD = 20
"""Characters; what is longer are links and codes, which may have more tokens than a whole chunk."""


def words_of(folder: Path) -> list[str]:
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in (".md", ".txt") and path.is_file()]
    return [word for path in files for word in path.read_text(encoding="utf-8", errors="replace").split()]


def sample(words: list[str], count: int, sizes: tuple[int, ...] = WORDS) -> list[str]:
    chance = random.Random(3)
    texts = []
    for _ in range(count):
        size = chance.choice(sizes)
        start = chance.randrange(len(words) - size)
        texts.append(" ".join(words[start : start + size]))
    return texts


def speed(folder: Path, count: int, rounds: int) -> None:
    import torch
    from sentence_transformers import SentenceTransformer

    texts = sample(words_of(folder), count)
    embedder = Embedder(device="cpu")
    tokenizer = text_tokenizer(load_tokenizer(None))
    ids = [tokenizer.model_ids(text, embedder.max_tokens) for text in texts]
    peer = SentenceTransformer(str(locate_model(None)), device="cpu")
    peer.encode(texts[:8])
    embedder.encode_documents(texts[:8])
    theirs = ours = plain = float("inf")
    for _ in range(rounds):
        seconds, reference = timed(lambda: peer.encode(texts, normalize_embeddings=True))
        theirs = min(theirs, seconds)
        seconds, vectors = timed(lambda: embedder.encode_documents(texts, ids))
        ours = min(ours, seconds)
        plain = min(plain, timed(lambda: embedder.encode_documents(texts))[0])
    cosines = (reference * vectors).sum(axis=1)
    tokens = sum(map(len, ids))
    work = embedder.try_documents(texts, ids).work
    work.seconds = max(ours, 5.0)
    peak = embedder.describe(work)["peak_tflops"]
    print(f"{count} texts, {tokens} tokens, {torch.get_num_threads()} threads, best of {rounds}")
    print(f"sentence-transformers fp32 {count / theirs:8.1f} texts/s  {tokens / theirs:8.0f} tokens/s")
    print(
        f"headwater {embedder.number_format:>16} {count / ours:8.1f} texts/s  {tokens / ours:8.0f} tokens/s  "
        f"{work.flops / ours / 1e12 / peak:.0%} of the {peak} TFLOP/s of a matrix product"
    )
    print(f"  without token ids        {count / plain:8.1f} texts/s")
    print(f"ratio                      {theirs / ours:8.2f}")
    print(f"cosine to fp32: mean {cosines.mean():.6f}, lowest {cosines.min():.6f}")


def timed(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def memory(folder: Path, count: int, size: int) -> None:
    words = [word for word in words_of(folder) if len(word) <= LONGEST_WORD]
    embedder = Embedder()
    tokenizer = text_tokenizer(load_tokenizer(None))
    process = psutil.Process()
    done = 0
    readings: list[float] = []
    with tempfile.TemporaryDirectory() as temporary:
        chunks = Table(Path(temporary) / "chunks", pa.schema([*CORE, *CHUNKS]))
        stage = embedding_stage(EmbedPolicy(), embedder.fingerprint, chunks, lambda: embedder, Path(temporary))
        assert callable(stage.function)
        began = time.perf_counter()
        for batch in batches(words, count, size, stage.batch_rows, tokenizer.model_ids):
            stage.function(batch, stage.parameters)
            done += batch.num_rows
            if done * 10 // count > len(readings):
                readings.append(process.memory_info().rss / 2**20)
                rate = done / (time.perf_counter() - began)
                print(f"{done:8} chunks  {readings[-1]:7.0f} MiB  {rate:7.1f} chunks/s", flush=True)
    print(json.dumps({"chunks": done, "words": size, "from_first_tenth_mib": round(readings[-1] - readings[0], 1)}))


def batches(
    words: list[str], count: int, size: int, rows: int, model_ids: Callable[[str], list[int]]
) -> Iterator[pa.Table]:
    chance = random.Random(5)
    for first in range(0, count, rows):
        records = []
        for number in range(first, min(count, first + rows)):
            start = chance.randrange(len(words) - size)
            text = f"{number} " + " ".join(words[start : start + size])
            ids = model_ids(text)
            records.append(
                {
                    "id": str(number),
                    "ordinal": 0,
                    "text": text,
                    "start": 0,
                    "end": len(text),
                    "section": [],
                    "page": None,
                    "tokens": len(ids),
                    "token_ids": ids,
                    "title": None,
                    "embedded": text,
                    "terms": size,
                }
            )
        yield pa.Table.from_pylist(records, schema=pa.schema([*CORE, *CHUNKS]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--texts", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--chunks", type=int, help="measure memory over so many chunks instead")
    parser.add_argument("--words", type=int, default=120, help="words of a chunk in the memory run")
    arguments = parser.parse_args()
    if arguments.chunks:
        memory(arguments.folder, arguments.chunks, arguments.words)
    else:
        speed(arguments.folder, arguments.texts, arguments.rounds)


if __name__ == "__main__":
    main()
