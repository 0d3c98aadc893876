"""Compiled inner loops of deduplication. Import inside functions: importing numba takes about half a second."""

from __future__ import annotations

from typing import Any

import numpy as np

from headwater._word_kernels import FNV_OFFSET, FNV_PRIME, GOLDEN, WORDS_PER_SHINGLE, mix64, shingle, sort_distinct
from headwater.jit import jit

_CONTINUATION = np.uint32(0x3F)
_TWO_BYTES, _THREE_BYTES, _FOUR_BYTES = np.uint32(0x80), np.uint32(0xE0), np.uint32(0xF0)
_S6, _S12, _S18 = np.uint32(6), np.uint32(12), np.uint32(18)


@jit
def utf8_words(data: Any, start: int, stop: int, table: Any, words: Any) -> int:
    """Write the hash of every word of the UTF-8 text ``data[start:stop]`` to ``words``; return how many there are.

    ``table`` gives each code point's lower case, and 0 for what is no part of a word. The hashes are those of
    :func:`headwater._word_kernels.word_hashes` over the lower-cased text.
    """
    count = 0
    state = FNV_OFFSET
    inside = False
    position = start
    while position < stop:
        code = np.uint32(data[position])
        position += 1
        if code >= _TWO_BYTES:
            second = np.uint32(data[position]) & _CONTINUATION
            if code < _THREE_BYTES:
                code = ((code & np.uint32(0x1F)) << _S6) | second
                position += 1
            elif code < _FOUR_BYTES:
                third = np.uint32(data[position + 1]) & _CONTINUATION
                code = ((code & np.uint32(0x0F)) << _S12) | (second << _S6) | third
                position += 2
            else:
                third = np.uint32(data[position + 1]) & _CONTINUATION
                fourth = np.uint32(data[position + 2]) & _CONTINUATION
                code = ((code & np.uint32(0x07)) << _S18) | (second << _S12) | (third << _S6) | fourth
                position += 3
        code = table[code]
        if code:
            state = (state ^ np.uint64(code)) * FNV_PRIME
            inside = True
        elif inside:
            words[count] = mix64(state)
            count += 1
            state = FNV_OFFSET
            inside = False
    if inside:
        words[count] = mix64(state)
        count += 1
    return count


@jit
def shingle_sets(data: Any, offsets: Any, table: Any) -> Any:
    """Return (values, counts): the sorted distinct shingle hashes of each UTF-8 text, one after the other.

    Text ``i`` is ``data[offsets[i]:offsets[i + 1]]``; ``table`` is as in :func:`utf8_words`.
    """
    longest = 0
    total = 0
    for row in range(len(offsets) - 1):
        # Two words need a character between them.
        length = (offsets[row + 1] - offsets[row]) // 2 + 1
        longest = max(longest, length)
        total += length
    words = np.empty(longest, np.uint64)
    scratch = np.empty(longest, np.uint64)
    buckets = np.empty(2 * longest + 3, np.int64)
    values = np.empty(total, np.uint64)
    counts = np.zeros(len(offsets) - 1, np.int64)
    position = 0
    for row in range(len(offsets) - 1):
        found = utf8_words(data, offsets[row], offsets[row + 1], table, words)
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
def _spread(value: Any) -> Any:
    """MurmurHash3's 32-bit finalizer of the low 32 bits, with which datasketch's affine32 scheme begins."""
    h = np.uint32(value)
    h = np.uint32(h ^ (h >> np.uint32(16)))
    h = np.uint32(h * np.uint32(0x85EBCA6B))
    h = np.uint32(h ^ (h >> np.uint32(13)))
    h = np.uint32(h * np.uint32(0xC2B2AE35))
    return np.uint32(h ^ (h >> np.uint32(16)))


@jit
def minhash(values: Any, offsets: Any, a: Any, b: Any) -> Any:
    """Return the affine32 MinHash of each set, fed the low 32 bits of its hashes; all ones for an empty set."""
    permutations = len(a)
    result = np.empty((len(offsets) - 1, permutations), np.uint32)
    lowest = np.empty(permutations, np.uint32)
    for row in range(len(offsets) - 1):
        for k in range(permutations):
            lowest[k] = np.uint32(0xFFFFFFFF)
        index = offsets[row]
        last = offsets[row + 1] - 1
        while index <= last:
            # Four at a time, so that the minima are read and written a quarter as often; one hashed twice is no harm.
            h0 = _spread(values[index])
            h1 = _spread(values[min(index + 1, last)])
            h2 = _spread(values[min(index + 2, last)])
            h3 = _spread(values[min(index + 3, last)])
            for k in range(permutations):
                v0 = np.uint32(np.uint32(a[k] * h0) + b[k])
                v1 = np.uint32(np.uint32(a[k] * h1) + b[k])
                v2 = np.uint32(np.uint32(a[k] * h2) + b[k])
                v3 = np.uint32(np.uint32(a[k] * h3) + b[k])
                lowest[k] = min(lowest[k], min(min(v0, v1), min(v2, v3)))
            index += 4
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
