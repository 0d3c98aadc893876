"""MinHash signatures in datasketch's format, and the pairs that banding proposes.

Signatures are those of ``datasketch.MinHash(num_perm=128, scheme="affine32")`` with its default seed, fed the low
32 bits of each shingle hash: :func:`to_datasketch` reads a row of them. Banding 25 x 5 is sized for a threshold of 0.8:
a pair just at it is proposed with probability 1 - (1 - 0.8**5)**25 = 0.99995. Proposed pairs are then verified exactly,
so precision does not depend on the bands, and more of them cost little (benchmarks/dedup.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from headwater.dedup.shingles import ShingleSets, shingle_sets

if TYPE_CHECKING:
    from datasketch import MinHash

PERMUTATIONS = 128
PROPOSED = 0.9995
"""Least probability with which a pair at the threshold is proposed."""

_EMPTY = np.uint32(0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class SignatureBatch:
    """``hashes`` is (n, 128) uint32, one signature per text (all ones without words); ``shingles`` its sets."""

    hashes: npt.NDArray[np.uint32]
    shingles: ShingleSets

    def __len__(self) -> int:
        return len(self.hashes)


@lru_cache(maxsize=1)
def _permutations() -> npt.NDArray[np.uint32]:
    from datasketch import MinHash

    permutations: npt.NDArray[np.uint32] = MinHash(num_perm=PERMUTATIONS, scheme="affine32").permutations
    return permutations


def signatures(texts: Sequence[str]) -> SignatureBatch:
    """Return signature and shingle set of every text, in order."""
    from headwater.dedup import _kernels

    shingles = shingle_sets(texts)
    a, b = _permutations()
    return SignatureBatch(_kernels.minhash(shingles.values, shingles.offsets, a, b), shingles)


def to_datasketch(signature: npt.ArrayLike) -> MinHash:
    """Return a signature, one row of :class:`SignatureBatch` or of the lake, as ``datasketch.MinHash``.

    ``signature`` is 128 integers (the lake holds them as 64-bit). The result can be put into any of datasketch's
    indexes that were made with ``num_perm=128``, such as a ``MinHashLSH`` in Redis. ``ValueError`` for another shape.
    """
    from datasketch import MinHash

    values = np.asarray(signature)
    if values.shape != (PERMUTATIONS,):
        raise ValueError(f"a signature is {PERMUTATIONS} numbers, not an array of shape {values.shape}")
    return MinHash(num_perm=PERMUTATIONS, hashvalues=values.astype(np.uint32), scheme="affine32")


def choose_bands(threshold: float) -> tuple[int, int]:
    """Return (bands, rows): the most rows per band that still propose a pair at the threshold with 99.95 % probability.

    More rows per band mean fewer false proposals. At 0.8 this is 25 x 5. (21 x 6, with 99.8 %, found 0.9995 of the
    pairs among 20,000 planted passages: little more than is asked for.)
    ``ValueError`` below a threshold where even single rows would miss pairs.
    """
    for rows in range(PERMUTATIONS, 0, -1):
        bands = PERMUTATIONS // rows
        if 1 - (1 - threshold**rows) ** bands >= PROPOSED:
            return bands, rows
    raise ValueError(f"a threshold of {threshold} is too low for {PERMUTATIONS} permutations; use near_duplicates")


def candidate_pairs(
    hashes: npt.NDArray[np.uint32], bands: int = 25, rows: int = 5, changed: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.int64]:
    """Return the pairs of signatures that agree in a whole band, as (m, 2) int64, left below right, sorted.

    ``changed`` (n,) keeps the pairs with at least one changed member. All proposed pairs are returned, so collapse
    equal texts first: n copies of a text are n * (n - 1) / 2 pairs. ``ValueError`` if the bands do not fit.
    """
    from headwater.dedup import _kernels

    if bands * rows > hashes.shape[1]:
        raise ValueError(f"{bands} bands of {rows} rows need {bands * rows} permutations; there are {hashes.shape[1]}")
    keys = _kernels.band_keys(hashes, bands, rows)
    present = (hashes != _EMPTY).any(axis=1)
    mask = np.ones(len(hashes), np.bool_) if changed is None else changed
    found = [np.empty((0, 2), np.int64)]
    for band in range(bands):
        order = np.argsort(keys[:, band])
        order = order[present[order]]
        count = _kernels.band_pairs(keys, band, order, mask, np.empty((0, 2), np.int64))
        if count:
            pairs = np.empty((count, 2), np.int64)
            _kernels.band_pairs(keys, band, order, mask, pairs)
            found.append(pairs)
    every = np.concatenate(found)
    return every[np.lexsort((every[:, 1], every[:, 0]))]


def jaccard_pairs(shingles: ShingleSets, pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the exact Jaccard index of each (m, 2) pair of sets, shape (m,); 0 where a set is empty."""
    from headwater.dedup import _kernels

    result: npt.NDArray[np.float64] = _kernels.jaccard_pairs(shingles.values, shingles.offsets, pairs)
    return result
