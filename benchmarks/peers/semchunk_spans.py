"""semchunk with the model's own tokenizer: spans of its chunks, and the best time over all texts of several rounds."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import semchunk
from tokenizers import Tokenizer


def main() -> None:
    task = json.loads(Path(sys.argv[1]).read_text())
    texts = json.loads(Path(task["texts"]).read_text())
    best = float("inf")
    for _ in range(task["rounds"]):
        tokenizer = Tokenizer.from_file(task["tokenizer"])
        tokenizer.no_truncation()
        tokenizer.no_padding()
        chunker = semchunk.chunkerify(tokenizer, task["max_tokens"])
        chunker("Warm up.", offsets=True)
        began = time.perf_counter()
        spans = [chunker(text, offsets=True)[1] for text in texts]
        best = min(best, time.perf_counter() - began)
    print(json.dumps({"seconds": best, "spans": spans}))


main()
