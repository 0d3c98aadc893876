"""datatrove's Gopher, C4 and FineWeb filters, with their defaults, each on every text as it came.

A text passes the four filters one after the other, so that they share the words that datatrove keeps of the last
texts. Task: ``texts``. Result: ``seconds`` and ``cpu_seconds`` of the filters alone, and per filter the reasons (null: kept; an error's
name where the filter raised one).
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)

FILTERS = {
    "gopher_quality": GopherQualityFilter(),
    "gopher_repetition": GopherRepetitionFilter(),
    "c4": C4QualityFilter(),
    "fineweb": FineWebQualityFilter(),
}


def reason(name: str, document: Document) -> str | None:
    try:
        result = FILTERS[name].filter(document)
    except Exception as error:
        return f"error: {type(error).__name__}"
    return result[1] if isinstance(result, tuple) else None if result else "no"


texts = json.loads(Path(sys.argv[1]).read_text())["texts"]
for name in FILTERS:  # loads the tokenizer
    reason(name, Document(text="One sentence to start with. And a second.", id=""))
reasons: dict[str, list[str | None]] = {name: [] for name in FILTERS}
started, cpu = time.perf_counter(), time.process_time()
for text in texts:
    for name in FILTERS:
        reasons[name].append(reason(name, Document(text=text, id="")))
seconds = time.perf_counter() - started
print(json.dumps({"seconds": seconds, "cpu_seconds": time.process_time() - cpu, "reasons": reasons}))
