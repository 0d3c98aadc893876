"""datatrove: texts to MinHash signatures as its first deduplication step computes them (128 hashes of word 5-grams)."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature


def main() -> None:
    task = json.loads(Path(sys.argv[1]).read_text())
    with tempfile.TemporaryDirectory() as folder:
        step = MinhashDedupSignature(folder, MinhashConfig(n_grams=5, num_buckets=16, hashes_per_bucket=8))
        step.get_signature(step.get_shingles("Its tokenizer loads at the first text that it is given."))
        seconds = []
        for _ in range(task["rounds"]):
            started = time.perf_counter()
            for text in task["texts"]:
                step.get_signature(step.get_shingles(text))
            seconds.append(time.perf_counter() - started)
    print(json.dumps({"seconds": min(seconds)}))


if __name__ == "__main__":
    main()
