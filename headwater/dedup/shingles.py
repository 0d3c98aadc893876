"""Word 5-shingles of texts as sets of 64-bit hashes.

Words are exactly ``re.findall(r"\\w+", text.lower())``, for all of Unicode. A text of fewer than five words is one
shingle, the tuple of its words; a text without words has no shingle. Two different shingles share a hash with
probability 2**-64, so a Jaccard index of hash sets is the Jaccard index of shingle sets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.codepoints import BATCH_BYTES, WORD, classes

_CODE_POINTS = 0x110000
# The only characters whose lower case is two characters, or depends on those around it.
_SPECIAL = ("\u0130", "\u03a3")


@dataclass(frozen=True, slots=True)
class ShingleSets:
    """One set per text: set ``i`` is ``values[offsets[i]:offsets[i + 1]]``, sorted and without repetition."""

    values: npt.NDArray[np.uint64]
    offsets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def to_arrow(self) -> pa.LargeListArray:
        """Return the sets as ``large_list<int64>``, one list per text, without copying.

        The bits are those of the unsigned hashes: Delta tables have no unsigned integers.
        """
        return pa.LargeListArray.from_arrays(pa.array(self.offsets), pa.array(self.values.view(np.int64)))

    @classmethod
    def from_arrow(cls, array: pa.Array | pa.ChunkedArray) -> ShingleSets:
        """Return the sets held by a list column of 64-bit integers, signed or not."""
        if isinstance(array, pa.ChunkedArray):
            array = array.combine_chunks()
        lists = array.cast(pa.large_list(array.type.value_type))
        offsets = lists.offsets.to_numpy()
        values = lists.values.to_numpy(zero_copy_only=False).view(np.uint64)
        return cls(values[offsets[0] : offsets[-1]], offsets - offsets[0])

    @classmethod
    def joined(cls, parts: Sequence[ShingleSets]) -> ShingleSets:
        """Return the sets of all parts, one after the other."""
        sizes = [np.diff(part.offsets) for part in parts]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(sizes))])
        return cls(parts[0].values if len(parts) == 1 else np.concatenate([part.values for part in parts]), offsets)


def shingle_sets(texts: Sequence[str]) -> ShingleSets:
    """Return the word 5-shingle set of every text, in order."""
    from headwater.dedup import _kernels

    parts: list[npt.NDArray[np.uint64]] = []
    sizes: list[npt.NDArray[np.int64]] = []
    for data, starts in _utf8_batches(texts):
        values, counts = _kernels.shingle_sets(data, starts, _word_characters())
        parts.append(values)
        sizes.append(counts)
    offsets = np.zeros(len(texts) + 1, np.int64)
    if sizes:
        np.cumsum(np.concatenate(sizes), out=offsets[1:])
    return ShingleSets(np.concatenate(parts) if parts else np.empty(0, np.uint64), offsets)


@lru_cache(maxsize=1)
def _word_characters() -> npt.NDArray[np.uint32]:
    """Return the lower case of every code point whose lower case is a word character, and 0 for the others."""
    every = "".join(map(chr, range(_CODE_POINTS))).replace(_SPECIAL[0], "i")
    lower = np.frombuffer(every.lower().encode("utf-32-le", "surrogatepass"), np.uint32)
    return np.where(classes()[lower] & WORD, lower, 0).astype(np.uint32)


def _utf8_batches(texts: Sequence[str]) -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]]:
    """Yield the texts in order as UTF-8 with the n + 1 offsets of n texts, in batches of about ``BATCH_BYTES``."""
    parts: list[bytes] = []
    size = 0
    for text in texts:
        if not text.isascii() and (_SPECIAL[0] in text or _SPECIAL[1] in text):
            text = text.lower()
        data = text.encode("utf-8", "surrogatepass")
        if parts and size + len(data) > BATCH_BYTES:
            yield _joined(parts)
            parts, size = [], 0
        parts.append(data)
        size += len(data)
    if parts:
        yield _joined(parts)


def _joined(parts: list[bytes]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    offsets = np.zeros(len(parts) + 1, np.int64)
    np.cumsum([len(part) for part in parts], out=offsets[1:])
    return np.frombuffer(b"".join(parts), np.uint8), offsets
