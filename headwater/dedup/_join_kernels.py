"""Compiled parts of the exact similarity join (see :mod:`headwater.dedup.join`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from headwater._word_kernels import mix64
from headwater.dedup._kernels import jaccard
from headwater.jit import jit

_MOST = 0xFFFF


@jit
def fingerprints(values: Any, offsets: Any) -> Any:
    """Return one 64-bit hash per set that does not depend on order; equal sets have equal hashes."""
    result = np.zeros(len(offsets) - 1, np.uint64)
    for row in range(len(result)):
        for index in range(offsets[row], offsets[row + 1]):
            result[row] += mix64(values[index])
    return result


@jit
def frequencies(values: Any, offsets: Any, rows: Any, bits: int) -> Any:
    """Count the rows' shingles by their top ``bits`` bits, saturating: a bucket at 1 holds a shingle of one row."""
    counts = np.zeros(1 << bits, np.uint16)
    shift = np.uint64(64 - bits)
    for row in rows:
        for index in range(offsets[row], offsets[row + 1]):
            bucket = values[index] >> shift
            if counts[bucket] < _MOST:
                counts[bucket] += 1
    return counts


@jit
def least_overlap(size: int, threshold: float) -> int:
    """Return how many shingles a set of ``size`` must share with any set at least ``threshold`` similar to it.

    The union is no smaller than the set. The margin keeps rounding from asking for one too many.
    """
    return max(1, int(np.ceil(size * threshold * (1 - 1e-9))))


@jit
def prefixes(values: Any, offsets: Any, rows: Any, counts: Any, bits: int, threshold: float) -> Any:
    """Return (keys, ends): the rarest shingles of each row, of which similar rows must share at least one.

    A key orders by frequency first. Shingles of one row alone take their place in the prefix but have no key.
    """
    shift = np.uint64(64 - bits)
    longest = 0
    room = 0
    for row in rows:
        size = offsets[row + 1] - offsets[row]
        longest = max(longest, size)
        room += size - least_overlap(size, threshold) + 1
    keys = np.empty(room, np.uint64)
    ends = np.empty(len(rows), np.int64)
    scratch = np.empty(longest, np.uint64)
    used = 0
    for place in range(len(rows)):
        row = rows[place]
        size = offsets[row + 1] - offsets[row]
        left = size - least_overlap(size, threshold) + 1
        common = 0
        for index in range(offsets[row], offsets[row + 1]):
            count = counts[values[index] >> shift]
            if count == 1:
                left -= 1
            else:
                scratch[common] = (np.uint64(count) << np.uint64(48)) | (values[index] >> np.uint64(16))
                common += 1
        left = min(left, common)
        if left > 0:
            ordered = scratch[:common]
            ordered.sort()
            keys[used : used + left] = ordered[:left]
            used += left
        ends[place] = used
    return keys[:used].copy(), ends


@jit
def join(
    values: Any, offsets: Any, rows: Any, ends: Any, group: Any, group_starts: Any, members: Any, threshold: float
) -> Any:
    """Return (left, right, similarity) of all pairs of rows at or above the threshold.

    ``rows`` are sorted by set size. Prefix entry ``e`` belongs to the posting list ``group[e]``, whose places in
    ``rows`` are ``members[group_starts[g]:group_starts[g + 1]]``, ascending.
    """
    left = np.empty(1024, np.int64)
    right = np.empty(1024, np.int64)
    similarity = np.empty(1024, np.float64)
    found = 0
    asked_by = np.full(len(rows), -1, np.int64)
    entry = 0
    for place in range(len(rows)):
        row = rows[place]
        smallest = least_overlap(offsets[row + 1] - offsets[row], threshold)
        while entry < ends[place]:
            posting = group_starts[group[entry]]
            entry += 1
            while members[posting] < place:
                other = members[posting]
                posting += 1
                partner = rows[other]
                if asked_by[other] == place or offsets[partner + 1] - offsets[partner] < smallest:
                    continue
                asked_by[other] = place
                value = jaccard(values, offsets, row, partner)
                if value >= threshold:
                    if found == len(left):
                        left = np.concatenate((left, np.empty_like(left)))
                        right = np.concatenate((right, np.empty_like(right)))
                        similarity = np.concatenate((similarity, np.empty_like(similarity)))
                    left[found] = min(row, partner)
                    right[found] = max(row, partner)
                    similarity[found] = value
                    found += 1
    return left[:found], right[:found], similarity[:found]
