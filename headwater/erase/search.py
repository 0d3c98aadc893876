"""Looking for pieces of a document in whatever Headwater keeps: columns, raw bytes, and the ledger.

Compressed columns hide text from a search of bytes, so Parquet and Arrow files are read as columns, too. Bytes are
searched for UTF-8 and both forms of UTF-16, and for text as JSON escapes it. All pieces are searched at once
(Aho and Corasick 1975, as Polars has it).
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from headwater.erase import arrays
from headwater.lake_folder import LakeFile

_BLOCK_BYTES = 2**20
_COLUMNAR = (".parquet", ".arrow")


class Finder:
    """A set of pieces: ``texts``, and ``data`` (bytes, such as those of a vector)."""

    def __init__(self, texts: Iterable[str] = (), data: Iterable[bytes] = ()) -> None:
        self._texts = sorted(set(texts))
        self._data = {_latin(piece): piece.hex() for piece in set(data)}
        self._forms: dict[str, str] = dict(self._data)
        for text in self._texts:
            escaped = json.dumps(text)[1:-1]
            for form in (text.encode(), text.encode("utf-16-le"), text.encode("utf-16-be"), escaped.encode()):
                self._forms[_latin(form)] = text
        self._overlap = max(map(len, self._forms), default=1) - 1

    def in_texts(self, texts: pl.Series) -> set[str]:
        """Return the pieces found in a series of strings."""
        return _search(texts, self._texts)

    def in_array(self, array: pa.Array) -> set[str]:
        """Return the pieces found in a column, however nested: texts in strings, bytes in numbers."""
        found: set[str] = set()
        for leaf in arrays.leaves(array):
            if arrays.is_text(leaf.type):
                found |= self.in_texts(pl.Series(leaf.cast(pa.large_string())))
            elif pa.types.is_binary(leaf.type) or pa.types.is_large_binary(leaf.type):
                found |= self.in_bytes(b"\0".join(value for value in leaf.to_pylist() if value is not None))
            elif self._data and pa.types.is_float32(leaf.type):
                numbers = np.asarray(leaf.drop_null(), dtype="<f4")
                hits = _search(pl.Series([_latin(numbers.tobytes())]), list(self._data))
                found |= {self._data[hit] for hit in hits}
        return found

    def in_bytes(self, block: bytes) -> set[str]:
        """Return the pieces found in raw bytes."""
        return {self._forms[hit] for hit in _search(pl.Series([_latin(block)]), list(self._forms))}

    def in_file(self, file: LakeFile) -> tuple[set[str], int]:
        """Return the pieces found in a file, and how many bytes of it are not empty."""
        found: set[str] = set()
        size = 0
        for block, new in _blocks(file, self._overlap):
            size += new
            found |= self.in_bytes(block)
        if file.suffix in _COLUMNAR:
            try:
                for batch in arrays.batches(file):
                    for column in batch.columns:
                        found |= self.in_array(column)
            except pa.ArrowInvalid:  # half a file, left by a killed writer: its bytes were searched
                pass
        return found, size


def files_under(folders: Iterable[Path]) -> Iterator[Path]:
    """Yield every file under the folders, and the folders that are files themselves."""
    for folder in folders:
        if folder.is_file():
            yield folder
        else:
            yield from sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _blocks(file: LakeFile, overlap: int) -> Iterator[tuple[bytes, int]]:
    """Yield what is in the file between its holes, by blocks that overlap, and how many of the bytes are new."""
    tail = b""
    try:
        with file.open("rb") as raw, gzip.GzipFile(fileobj=raw) if file.suffix == ".gz" else raw as source:
            while block := source.read(_BLOCK_BYTES):
                joined = tail + block
                tail = joined[-overlap:] if overlap else b""
                if held := joined.strip(b"\0"):
                    yield held, min(len(held), len(block))
    except FileNotFoundError:  # gone since it was listed
        return


def _search(texts: pl.Series, pieces: Sequence[str]) -> set[str]:
    if not pieces or texts.is_empty():
        return set()
    hits = texts.filter(texts.str.contains_any(list(pieces)).fill_null(False))
    if hits.is_empty():
        return set()
    return set(hits.str.extract_many(list(pieces), overlapping=True).explode().drop_nulls())


def _latin(data: bytes) -> str:
    """Return bytes as a string of as many characters."""
    return data.decode("latin-1")
