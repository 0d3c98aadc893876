"""Every near-duplicate pair of a list of texts, without approximation.

The method is prefix filtering (Chaudhuri, Ganti and Kaushik 2006; Bayardo, Ma and Srikant 2007): sets at least
``t`` similar share at least ``ceil(t * size)`` shingles, so with shingles ordered from rare to common the first
``size - ceil(t * size) + 1`` of the one hold a shingle of the other's. Word 5-shingles are mostly unique to one
text, so most texts are ruled out by counting alone, and no pair at or above the threshold is missed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from headwater.dedup.shingles import ShingleSets, shingle_sets

# 2 to 4 buckets per shingle: 60 to 78 % of the shingles that occur once are alone in their bucket.
_LEAST_BITS, _MOST_BITS = 16, 30


def near_duplicates(texts: Sequence[str], threshold: float = 0.8) -> list[tuple[int, int, float]]:
    """Return ``(i, j, similarity)`` for every pair of texts, ``i < j``, at or above the threshold, sorted.

    Similarity is the exact Jaccard index of the texts' word 5-shingles, words being
    ``re.findall(r"\\w+", text.lower())``; a text of fewer than five words is one shingle, and a text without words
    is similar to nothing. ``ValueError`` unless ``0 < threshold <= 1``.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be above 0 and at most 1, not {threshold}")
    from headwater.dedup import _join_kernels

    sets = shingle_sets(texts)
    sizes = np.diff(sets.offsets)
    copies: dict[tuple[int, int], list[int]] = defaultdict(list)
    fingerprints = _join_kernels.fingerprints(sets.values, sets.offsets)
    for row, identity in enumerate(zip(sizes.tolist(), fingerprints.tolist(), strict=True)):
        if identity[0]:
            copies[identity].append(row)
    same = {rows[0]: rows for rows in copies.values()}
    rows = np.array(list(same), np.int64)
    rows = rows[np.argsort(sizes[rows], kind="stable")]
    pairs = [pair for group in same.values() for pair in ((i, j, 1.0) for i, j in combinations(group, 2))]
    for left, right, similarity in _join(sets, rows, threshold):
        pairs.extend((min(i, j), max(i, j), similarity) for i in same[left] for j in same[right])
    return sorted(pairs)


def _join(sets: ShingleSets, rows: npt.NDArray[np.int64], threshold: float) -> list[tuple[int, int, float]]:
    """Return the similar pairs among ``rows``: distinct sets, smallest first."""
    from headwater.dedup import _join_kernels

    bits = min(max(int(2 * len(sets.values)).bit_length(), _LEAST_BITS), _MOST_BITS)
    counts = _join_kernels.frequencies(sets.values, sets.offsets, rows, bits)
    keys, ends = _join_kernels.prefixes(sets.values, sets.offsets, rows, counts, bits, threshold)
    order = np.argsort(keys, kind="stable")
    new_group = np.ones(len(keys), np.bool_)
    new_group[1:] = keys[order][1:] != keys[order][:-1]
    group = np.empty(len(keys), np.int64)
    group[order] = np.cumsum(new_group) - 1
    members = np.repeat(np.arange(len(rows)), np.diff(ends, prepend=0))[order]
    left, right, similarity = _join_kernels.join(
        sets.values, sets.offsets, rows, ends, group, np.flatnonzero(new_group), members, threshold
    )
    return list(zip(left.tolist(), right.tolist(), similarity.tolist(), strict=True))
