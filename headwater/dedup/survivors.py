"""Which documents survive among a million: bands propose, exact Jaccard decides, and only survivors are compared with.

Rows are taken best rank first. A row is compared with the *survivors* that share a band of its signature; it is the
duplicate of the most similar one at or above the threshold, and survives when there is none. So the answer is that of
:func:`headwater.dedup.cluster` over all proposed pairs, but a template of ten thousand copies costs ten thousand
comparisons and not fifty million. It depends on ranks alone, not on the order in which documents arrived.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headwater.dedup.clusters import Clusters
from headwater.dedup.minhash import choose_bands, signatures
from headwater.dedup.shingles import ShingleSets

_EMPTY = np.uint32(0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class BandBuckets:
    """Rows by band: ``buckets`` (n, bands) holds a number shared by the rows that agree in a band, -1 for nobody.

    ``sizes`` is the number of rows by bucket.
    """

    buckets: npt.NDArray[np.int32]
    sizes: npt.NDArray[np.int32]

    def members(self) -> npt.NDArray[np.int64]:
        """Return the rows that share a bucket with another one: the only ones whose shingles are needed."""
        return np.flatnonzero((self.buckets >= 0).any(axis=1))


def band_buckets(
    hashes: npt.NDArray[np.uint32],
    groups: npt.NDArray[np.int64],
    threshold: float,
    own: npt.NDArray[np.bool_] | None = None,
) -> BandBuckets:
    """Return which of ``n`` signatures (n, 128) agree in a band, by the bands of ``choose_bands(threshold)``.

    Only rows of the same group (n,) meet, and only where at least one of them is ``own`` (n,; default: all are).
    Texts without words are in no bucket. 100 bytes per row, and 8 while a band is sorted.
    """
    from headwater.dedup import _survivor_kernels

    count = len(hashes)
    bands, rows = choose_bands(threshold)
    mine = np.ones(count, np.bool_) if own is None else own
    present = (hashes != _EMPTY).any(axis=1)
    buckets = np.full((count, bands), -1, np.int32)
    keys = np.empty(count, np.uint64)
    sizes = np.empty(bands * (count // 2), np.int32)
    used = 0
    for band in range(bands):
        _survivor_kernels.band_key(hashes, groups, band, rows, keys)
        order = np.argsort(keys)
        used = _survivor_kernels.fill_buckets(keys, order[present[order]], mine, used, buckets, band, sizes)
    return BandBuckets(buckets, sizes[:used].copy())


def find_survivors(
    hashes: npt.NDArray[np.uint32],
    shingles: Callable[[npt.NDArray[np.int64]], ShingleSets],
    order_rank: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64],
    threshold: float,
    fixed: npt.NDArray[np.bool_] | None = None,
) -> Clusters:
    """Return the survivor of each of ``n`` documents, given their signatures (n, 128).

    ``shingles`` returns the shingle sets of the rows it is given, and is asked once, for the rows that share a band.
    ``order_rank`` (n,) is lowest for the row to keep first, ties going to the lower index; only rows of the same group
    (n,) are merged. ``fixed`` (n,) marks documents that survive whatever resembles them (those of another corpus); a
    row that resembles one is its duplicate, before any other comparison. ``Clusters.exact`` is False everywhere:
    collapse equal texts first, with :func:`exact_representatives`.
    """
    from headwater.dedup import _survivor_kernels

    count = len(hashes)
    survivor, similarity = np.arange(count), np.ones(count, np.float64)
    held = np.zeros(count, np.bool_) if fixed is None else fixed
    bands = band_buckets(hashes, groups, threshold, ~held)
    members = bands.members()
    sets = shingles(members)
    position = np.full(count, -1, np.int64)
    position[members] = np.arange(len(members))
    order = members[np.lexsort((members, order_rank[members], ~held[members]))]
    starts = np.zeros(len(bands.sizes) + 1, np.int64)
    np.cumsum(bands.sizes, out=starts[1:])
    _survivor_kernels.survivors(
        order,
        int(held[members].sum()),
        bands.buckets,
        starts,
        position,
        sets.values,
        sets.offsets,
        threshold,
        survivor,
        similarity,
    )
    return Clusters(survivor, similarity, np.zeros(count, np.bool_))


def warm_up() -> None:
    """Load the compiled parts of deduplication, which takes a moment, ahead of the first documents."""
    batch = signatures(["Equal texts go through every one of them."] * 2)
    find_survivors(batch.hashes, lambda rows: batch.shingles, np.arange(2), np.zeros(2, np.int64), 0.8)
