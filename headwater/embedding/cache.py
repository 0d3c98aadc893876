"""Vectors by text hash and model, on disk: a text is embedded once, whatever happens to its document.

One SQLite database per model fingerprint in write-ahead mode: a batch is stored whole or not at all, and several
processes may read and write at once. Only the rows asked for are ever in memory.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headwater.errors import HeadwaterError

_LOOKUP_ROWS = 2000  # keys per statement: bounds the size of the JSON parameter
_BUSY_SECONDS = 60.0


class VectorCache:
    """The cache of one model under ``path/<fingerprint>/``; must be on a local disk (write-ahead mode needs shared memory).

    Raises HeadwaterError when the database is damaged or holds vectors of another width.
    """

    def __init__(self, path: Path, fingerprint: str, dimensions: int) -> None:
        folder = Path(path) / fingerprint
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "vectors.sqlite"
        self._dimensions = dimensions
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(
                self._file, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute(
                "PRAGMA secure_delete=ON"
            )  # an erased text's vector must not survive in free pages
            self._connection.execute("CREATE TABLE IF NOT EXISTS vectors (hash TEXT PRIMARY KEY, vector BLOB NOT NULL)")
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from error

    def lookup(self, text_hashes: Sequence[str]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
        """Return which hashes are known (n,), and their vectors (n, dimensions); rows not found are zero."""
        found = np.zeros(len(text_hashes), dtype=np.bool_)
        vectors = np.zeros((len(text_hashes), self._dimensions), dtype=np.float32)
        statement = "SELECT hash, vector FROM vectors WHERE hash IN (SELECT value FROM json_each(?))"
        for start in range(0, len(text_hashes), _LOOKUP_ROWS):
            part = text_hashes[start : start + _LOOKUP_ROWS]
            with self._lock:
                try:
                    known = dict(self._connection.execute(statement, (json.dumps(part),)).fetchall())
                except sqlite3.DatabaseError as error:
                    raise self._damaged(error) from error
            for row, text_hash in enumerate(part, start):
                blob = known.get(text_hash)
                if blob is None:
                    continue
                if len(blob) != 4 * self._dimensions:
                    raise self._damaged(f"a vector of {len(blob) // 4} instead of {self._dimensions} numbers")
                vectors[row] = np.frombuffer(blob, dtype="<f4")
                found[row] = True
        return found, vectors

    def store(self, text_hashes: Sequence[str], vectors: npt.NDArray[np.float32]) -> None:
        """Keep ``vectors`` (n, dimensions) under their hashes, in one transaction; known hashes are left as they are."""
        if vectors.shape != (len(text_hashes), self._dimensions):
            raise ValueError(f"expected vectors of shape {(len(text_hashes), self._dimensions)}, got {vectors.shape}")
        rows = [(key, row.tobytes()) for key, row in zip(text_hashes, vectors.astype("<f4"), strict=True)]
        self._write("INSERT OR IGNORE INTO vectors VALUES (?, ?)", rows)

    def hashes(self) -> list[str]:
        """Return all known hashes."""
        with self._lock:
            try:
                return [name for (name,) in self._connection.execute("SELECT hash FROM vectors")]
            except sqlite3.DatabaseError as error:
                raise self._damaged(error) from error

    def delete(self, text_hashes: Sequence[str]) -> int:
        """Forget ``text_hashes`` and return how many were known; their bytes are overwritten on disk."""
        count = self._write("DELETE FROM vectors WHERE hash = ?", [(key,) for key in text_hashes])
        with self._lock:
            # The log still holds the old pages: write them back and cut it to nothing.
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return count

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._connection.close()

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> int:
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    count = self._connection.executemany(statement, rows).rowcount
                except BaseException:
                    self._connection.execute("ROLLBACK")
                    raise
                self._connection.execute("COMMIT")
                return max(count, 0)
            except sqlite3.DatabaseError as error:
                raise self._damaged(error) from error

    def _damaged(self, reason: object) -> HeadwaterError:
        return HeadwaterError(
            f"the vector cache {self._file} can't be used ({reason}); free disk space if it is full, else delete its "
            "folder: the vectors are computed again"
        )


def forget(path: Path, text_hashes: Sequence[str]) -> int:
    """Forget texts in the caches of all models under ``path``; return how many vectors there were."""
    return sum(_in_each(path, lambda cache: cache.delete(text_hashes)))


def keep_only(path: Path, text_hashes: Collection[str]) -> int:
    """Forget all texts but these in the caches of all models under ``path``; return how many vectors there were."""

    def prune(cache: VectorCache) -> int:
        unused = [name for name in cache.hashes() if name not in text_hashes]
        return cache.delete(unused) if unused else 0

    return sum(_in_each(path, prune))


def _in_each(path: Path, work: Callable[[VectorCache], int]) -> Iterator[int]:
    for folder in sorted(file.parent for file in Path(path).glob("*/vectors.sqlite")):
        cache = VectorCache(path, folder.name, dimensions=0)  # no vector is read, so their width does not matter
        try:
            yield work(cache)
        finally:
            cache.close()
