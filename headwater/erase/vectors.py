"""Cached vectors that no chunk of the project has any more.

The cache is keyed by the text that was embedded. A revision whose rows have left the lake's history would leave its
vectors behind, and nothing could name them: so what stays is told by what the lakes hold, not by what was removed.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from headwater.embedding.cache import keep_only
from headwater.erase import arrays
from headwater.hashing import digest
from headwater.project import Project


def forget_unused_vectors(project: Project) -> int:
    """Forget the cached vectors of texts that no data file of any corpus' chunks holds; return how many there were.

    Safe beside a reindex of another corpus: its chunks are committed before they are embedded, and a vector lost in a
    race is computed again.
    """
    wanted: set[str] = set()
    for file in project.home.glob("lake/*/chunks/*.parquet"):
        wanted |= _hashes(file)
    return keep_only(project.cache_path() / "embeddings", wanted)


def _hashes(file: Path) -> set[str]:
    try:
        batches = list(arrays.batches(file, ["embedded"]))
    except pa.ArrowInvalid:  # half a file, left by a killed writer
        return set()
    return {digest(text) for batch in batches for text in batch.column("embedded").to_pylist() if text is not None}
