"""Cached vectors that no chunk of the project has any more.

The cache is keyed by the text that was embedded. A revision whose rows have left the lake's history would leave its
vectors behind, and nothing could name them: so what stays is told by what the lakes hold, not by what was removed.
"""

from __future__ import annotations

import pyarrow as pa

from headwater.embedding.cache import keep_only
from headwater.erase import arrays
from headwater.hashing import digest
from headwater.index.files import remove_tree
from headwater.lake_folder import LakeFile, LocalFolder
from headwater.lake_reading import data_files, fetched_ahead
from headwater.ledger import Ledger
from headwater.project import Project

_FOLLOWED = ".erasures"
"""Beside the caches: a digest of the erasures that they have followed."""


def forget_unused_vectors(project: Project) -> int:
    """Forget the cached vectors of texts that no data file of any corpus' chunks holds; return how many there were.

    Safe beside a reindex of another corpus: its chunks are committed before they are embedded, and a vector lost in a
    race is computed again.
    """
    wanted: set[str] = set()
    lakes = project.lakes()
    chunks = (file for corpus in lakes.children() for file in data_files(lakes.child(corpus).child("chunks")))
    for file in fetched_ahead(chunks):
        wanted |= _hashes(file)
    return keep_only(project.cache_path() / "embeddings", wanted)


def follow_erasures(project: Project, ledger: Ledger) -> int:
    """Forget on this machine what erasures on others removed from a lake in a bucket; return how many vectors went.

    A machine's cache is its own, so an erasure reaches that of the machine it ran on; the others do so before they next
    use theirs. Nothing to do for a lake on this machine, or when nothing was erased since the last call.
    """
    if isinstance(project.lakes(), LocalFolder):
        return 0
    records = (record for name in project.corpus_names() for record in ledger.erasures(name))
    finished = sorted(f"{record.id} {record.erased_at}" for record in records if "verified" in record.receipt)
    mark, file = digest(*finished), project.cache_path() / "embeddings" / _FOLLOWED
    if not finished or (file.exists() and file.read_text() == mark):
        return 0
    forgotten = forget_unused_vectors(project)
    for name in project.corpus_names():
        remove_tree(project.lake(name).child("chunks").spool)  # what a killed writer was about to commit
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(mark)
    return forgotten


def _hashes(file: LakeFile) -> set[str]:
    try:
        batches = list(arrays.batches(file, ["embedded"]))
    except pa.ArrowInvalid:  # half a file, left by a killed writer
        return set()
    return {digest(text) for batch in batches for text in batch.column("embedded").to_pylist() if text is not None}
