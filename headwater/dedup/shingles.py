"""Word 5-shingles of texts as sets of 64-bit hashes.

Words are exactly ``re.findall(r"\\w+", text.lower())``, for all of Unicode. A text of fewer than five words is one
shingle, the tuple of its words; a text without words has no shingle. Two different shingles share a hash with
probability 2**-64, so a Jaccard index of hash sets is the Jaccard index of shingle sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.codepoints import batches, classes


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


def shingle_sets(texts: Sequence[str]) -> ShingleSets:
    """Return the word 5-shingle set of every text, in order."""
    from headwater.dedup import _kernels

    parts: list[npt.NDArray[np.uint64]] = []
    sizes: list[npt.NDArray[np.int64]] = []
    for batch in batches(texts, lower=True):
        values, counts = _kernels.shingle_sets(batch.narrow, batch.starts, batch.stops, batch.wide, classes())
        parts.append(values)
        sizes.append(counts)
    offsets = np.zeros(len(texts) + 1, np.int64)
    if sizes:
        np.cumsum(np.concatenate(sizes), out=offsets[1:])
    return ShingleSets(np.concatenate(parts) if parts else np.empty(0, np.uint64), offsets)
