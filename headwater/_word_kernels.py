"""Compiled passes over words that quality and deduplication share: a text's words and shingles as 64-bit hashes.

Import inside functions: importing numba takes about half a second.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from headwater.codepoints import WORD
from headwater.jit import jit

WORDS_PER_SHINGLE = 5

FNV_OFFSET = np.uint64(0xCBF29CE484222325)
FNV_PRIME = np.uint64(0x100000001B3)
_MIX_1 = np.uint64(0xFF51AFD7ED558CCD)
_MIX_2 = np.uint64(0xC4CEB9FE1A85EC53)
_S33 = np.uint64(33)
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
# A text that repeats itself fills buckets with equal hashes; then a general sort is safer than shifting.
_FULL_BUCKET = 32


@jit
def mix64(value: Any) -> Any:
    """MurmurHash3's 64-bit finalizer, a bijection."""
    value = np.uint64(value)
    value ^= value >> _S33
    value *= _MIX_1
    value ^= value >> _S33
    value *= _MIX_2
    return value ^ (value >> _S33)


@jit
def word_hashes(codes: Any, start: int, stop: int, table: Any, words: Any) -> int:
    """Write the hash of every \\w+ run of ``codes[start:stop]`` to ``words`` and return how many there are."""
    count = 0
    position = start
    while True:
        while position < stop and not table[codes[position]] & WORD:
            position += 1
        if position == stop:
            return count
        state = FNV_OFFSET
        while position < stop and table[codes[position]] & WORD:
            state = (state ^ np.uint64(codes[position])) * FNV_PRIME
            position += 1
        words[count] = mix64(state)
        count += 1


@jit
def shingle(words: Any, start: int, length: int) -> Any:
    """Return the hash of ``length`` consecutive words; tuples of different lengths have different seeds."""
    state = np.uint64(length) * GOLDEN
    for position in range(start, start + length):
        # A multiply and rotate per word keeps the order of the words.
        state = (state ^ words[position]) * _MIX_1
        state = (state << np.uint64(29)) | (state >> np.uint64(35))
    return mix64(state)


@jit
def sort_distinct(values: Any, scratch: Any, buckets: Any) -> int:
    """Sort ``values`` in place, move the distinct ones to the front, and return how many there are.

    Hashes are spread evenly, so one pass into as many buckets as values leaves next to nothing to sort.
    """
    size = len(values)
    bits = 1
    while 1 << bits < size:
        bits += 1
    shift = np.uint64(64 - bits)
    starts = buckets[: (1 << bits) + 1]
    starts[:] = 0
    for index in range(size):
        starts[(values[index] >> shift) + np.uint64(1)] += 1
    fullest = 0
    for bucket in range(1, len(starts)):
        fullest = max(fullest, starts[bucket])
        starts[bucket] += starts[bucket - 1]
    if fullest > _FULL_BUCKET:
        values.sort()
    else:
        for index in range(size):
            bucket = values[index] >> shift
            scratch[starts[bucket]] = values[index]
            starts[bucket] += 1
        for index in range(size):
            value = scratch[index]
            hole = index
            while hole > 0 and values[hole - 1] > value:
                values[hole] = values[hole - 1]
                hole -= 1
            values[hole] = value
    kept = 1
    for index in range(1, size):
        if values[index] != values[kept - 1]:
            values[kept] = values[index]
            kept += 1
    return kept
