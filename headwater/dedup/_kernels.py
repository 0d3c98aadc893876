"""Compiled inner loops of deduplication. Import inside functions: importing numba takes about half a second."""

from __future__ import annotations

from typing import Any

import numpy as np

from headwater._word_kernels import GOLDEN, WORDS_PER_SHINGLE, mix64, shingle, sort_distinct, word_hashes
from headwater.jit import jit


@jit
def shingle_sets(narrow: Any, starts: Any, stops: Any, wide: Any, table: Any) -> Any:
    """Return (values, counts): the sorted distinct shingle hashes of each text, one after the other."""
    codes = narrow.view(np.uint32)
    longest = 0
    total = 0
    for row in range(len(starts)):
        length = stops[row] - starts[row]
        if wide[row]:
            length //= 4
        # Two words need a character between them.
        length = length // 2 + 1
        longest = max(longest, length)
        total += length
    words = np.empty(longest, np.uint64)
    scratch = np.empty(longest, np.uint64)
    buckets = np.empty(2 * longest + 3, np.int64)
    values = np.empty(total, np.uint64)
    counts = np.zeros(len(starts), np.int64)
    position = 0
    for row in range(len(starts)):
        if wide[row]:
            found = word_hashes(codes, starts[row] // 4, stops[row] // 4, table, words)
        else:
            found = word_hashes(narrow, starts[row], stops[row], table, words)
        if found == 0:
            continue
        if found < WORDS_PER_SHINGLE:
            values[position] = shingle(words, 0, found)
            counts[row] = 1
            position += 1
            continue
        shingles = found - WORDS_PER_SHINGLE + 1
        for index in range(shingles):
            values[position + index] = shingle(words, index, WORDS_PER_SHINGLE)
        kept = sort_distinct(values[position : position + shingles], scratch, buckets)
        counts[row] = kept
        position += kept
    return values[:position].copy(), counts


@jit
def minhash(values: Any, offsets: Any, a: Any, b: Any) -> Any:
    """Return the affine32 MinHash of each set, fed the low 32 bits of its hashes; all ones for an empty set."""
    permutations = len(a)
    result = np.empty((len(offsets) - 1, permutations), np.uint32)
    lowest = np.empty(permutations, np.uint32)
    for row in range(len(offsets) - 1):
        for k in range(permutations):
            lowest[k] = np.uint32(0xFFFFFFFF)
        for index in range(offsets[row], offsets[row + 1]):
            h = np.uint32(values[index])
            h = np.uint32(h ^ (h >> np.uint32(16)))
            h = np.uint32(h * np.uint32(0x85EBCA6B))
            h = np.uint32(h ^ (h >> np.uint32(13)))
            h = np.uint32(h * np.uint32(0xC2B2AE35))
            h = np.uint32(h ^ (h >> np.uint32(16)))
            for k in range(permutations):
                value = np.uint32(np.uint32(a[k] * h) + b[k])
                lowest[k] = min(lowest[k], value)
        for k in range(permutations):
            result[row, k] = lowest[k]
    return result


@jit
def band_keys(signatures: Any, bands: int, rows: int) -> Any:
    """Return one 64-bit key per signature and band, shape (n, bands)."""
    keys = np.empty((len(signatures), bands), np.uint64)
    for row in range(len(signatures)):
        for band in range(bands):
            state = np.uint64(band + 1) * GOLDEN
            for k in range(band * rows, band * rows + rows):
                state = mix64(state ^ np.uint64(signatures[row, k]))
            keys[row, band] = state
    return keys


@jit
def _first_proposal(keys: Any, band: int, left: int, right: int) -> bool:
    """Say whether no earlier band has put the two rows together, so that each pair is written once."""
    for earlier in range(band):  # noqa: SIM110 (numba compiles a loop, not a generator)
        if keys[left, earlier] == keys[right, earlier]:
            return False
    return True


@jit
def band_pairs(keys: Any, band: int, order: Any, changed: Any, out: Any) -> int:
    """Return how many pairs with a changed member this band is the first to propose, and write them if ``out`` is
    not empty. ``order`` holds the rows to look at, sorted by their key in this band.
    """
    count = 0
    start = 0
    rows = len(order)
    while start < rows:
        stop = start + 1
        while stop < rows and keys[order[stop], band] == keys[order[start], band]:
            stop += 1
        for first in range(start, stop):
            if stop - start == 1 or not changed[order[first]]:
                continue
            for second in range(start, stop):
                if second == first or (second < first and changed[order[second]]):
                    continue
                left = min(order[first], order[second])
                right = max(order[first], order[second])
                if _first_proposal(keys, band, left, right):
                    if len(out) > 0:
                        out[count, 0] = left
                        out[count, 1] = right
                    count += 1
        start = stop
    return count


@jit
def shared(values: Any, left: int, left_end: int, right: int, right_end: int) -> int:
    """Return how many elements two sorted runs of ``values`` have in common."""
    common = 0
    while left < left_end and right < right_end:
        if values[left] == values[right]:
            common += 1
            left += 1
            right += 1
        elif values[left] < values[right]:
            left += 1
        else:
            right += 1
    return common


@jit
def jaccard(values: Any, offsets: Any, left: int, right: int) -> float:
    """Return the Jaccard index of two sets; 0 when either is empty."""
    left_size = offsets[left + 1] - offsets[left]
    right_size = offsets[right + 1] - offsets[right]
    if left_size == 0 or right_size == 0:
        return 0.0
    common = shared(values, offsets[left], offsets[left + 1], offsets[right], offsets[right + 1])
    return float(common / (left_size + right_size - common))


@jit
def jaccard_pairs(values: Any, offsets: Any, pairs: Any) -> Any:
    """Return the Jaccard index of each pair of sets."""
    result = np.empty(len(pairs), np.float64)
    for index in range(len(pairs)):
        result[index] = jaccard(values, offsets, pairs[index, 0], pairs[index, 1])
    return result


@jit
def assign_survivors(earlier: Any, later: Any, similarities: Any, survivor: Any, similarity: Any) -> None:
    """Give each row its survivor. Edges come sorted by the later row's rank, then best edge first, so whether the
    earlier row survived is settled before it is asked.
    """
    for edge in range(len(later)):
        row = later[edge]
        if survivor[row] == row and survivor[earlier[edge]] == earlier[edge]:
            survivor[row] = earlier[edge]
            similarity[row] = similarities[edge]
