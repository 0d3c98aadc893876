"""Compiled parts of finding survivors (see :mod:`headwater.dedup.survivors`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from headwater._word_kernels import GOLDEN, mix64
from headwater.jit import jit

NO_BUCKET = np.int32(-1)


@jit
def band_key(signatures: Any, groups: Any, band: int, rows: int, out: Any) -> None:
    """Write one 64-bit key per signature: equal for equal groups and equal values in the band."""
    for row in range(len(signatures)):
        state = mix64(np.uint64(groups[row]) + np.uint64(1)) ^ (np.uint64(band + 1) * GOLDEN)
        for k in range(band * rows, band * rows + rows):
            state = mix64(state ^ np.uint64(signatures[row, k]))
        out[row] = state


@jit
def fill_buckets(keys: Any, order: Any, own: Any, first: int, buckets: Any, band: int, sizes: Any) -> int:
    """Number the runs of equal keys from ``first`` on, leaving out runs of one row and runs without an own row.

    ``order`` sorts the rows to look at by key. Returns the next free number; ``sizes`` gets each bucket's size.
    """
    number = first
    start = 0
    while start < len(order):
        stop = start + 1
        has_own = own[order[start]]
        while stop < len(order) and keys[order[stop]] == keys[order[start]]:
            has_own = has_own or own[order[stop]]
            stop += 1
        if stop - start > 1 and has_own:
            for index in range(start, stop):
                buckets[order[index], band] = number
            sizes[number] = stop - start
            number += 1
        start = stop
    return number


@jit
def jaccard_above(values: Any, offsets: Any, left: int, right: int, threshold: float) -> float:
    """Return the Jaccard index of two sets, or 0 as soon as it is certain to stay below the threshold."""
    i, i_end = offsets[left], offsets[left + 1]
    j, j_end = offsets[right], offsets[right + 1]
    together = (i_end - i) + (j_end - j)
    # J = shared / (together - shared). The margin keeps rounding from ruling out a pair at the threshold.
    needed = threshold / (1 + threshold) * together * (1 - 1e-9)
    if i == i_end or j == j_end or min(i_end - i, j_end - j) < needed:
        return 0.0
    shared = 0
    while i < i_end and j < j_end:
        if values[i] == values[j]:
            shared += 1
            i += 1
            j += 1
        else:
            if values[i] < values[j]:
                i += 1
            else:
                j += 1
            if shared + min(i_end - i, j_end - j) < needed:
                return 0.0
    return float(shared / (together - shared))


@jit
def survivors(
    order: Any,
    fixed: int,
    buckets: Any,
    starts: Any,
    position: Any,
    values: Any,
    offsets: Any,
    threshold: float,
    survivor: Any,
    similarity: Any,
) -> None:
    """Give each row of ``order`` its survivor; the first ``fixed`` of them always survive.

    Row ``r`` has buckets ``buckets[r]`` and the set number ``position[r]``; bucket ``b`` has room for its rows at
    ``starts[b]``. A later row is compared with the survivors in its buckets. Fixed ones go before others.
    """
    slots = np.empty(starts[-1], np.int32)
    filled = np.zeros(len(starts) - 1, np.int32)
    asked_by = np.full(len(buckets), -1, np.int32)
    place = np.full(len(buckets), -1, np.int64)
    bands = buckets.shape[1]
    for index in range(len(order)):
        row = order[index]
        place[row] = index
        best, best_value, best_fixed = -1, 0.0, False
        if index >= fixed:
            for band in range(bands):
                bucket = buckets[row, band]
                if bucket == NO_BUCKET:
                    continue
                for slot in range(starts[bucket], starts[bucket] + filled[bucket]):
                    other = slots[slot]
                    if asked_by[other] == row:
                        continue
                    asked_by[other] = row
                    value = jaccard_above(values, offsets, position[row], position[other], threshold)
                    if value < threshold:
                        continue
                    other_fixed = place[other] < fixed
                    if (
                        best < 0
                        or (other_fixed and not best_fixed)
                        or (
                            other_fixed == best_fixed
                            and (value > best_value or (value == best_value and place[other] < place[best]))
                        )
                    ):
                        best, best_value, best_fixed = other, value, other_fixed
        if best >= 0:
            survivor[row] = best
            similarity[row] = best_value
            continue
        for band in range(bands):
            bucket = buckets[row, band]
            if bucket != NO_BUCKET:
                slots[starts[bucket] + filled[bucket]] = row
                filled[bucket] += 1
