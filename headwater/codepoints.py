"""Texts as arrays of code points, for compiled passes that must agree with Python's ``re`` and ``str`` to the letter.

A batch is one buffer: an all-ASCII text takes one byte per character, any other text four. Whether a code point
is a word character, a space or a letter is read from a table that is made from Python's own ``re`` module.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

WORD = 1  # \w
SPACE = 2  # \s
LETTER = 4  # \w that is neither a decimal digit nor an underscore
IDEOGRAPH = 8  # written without spaces between words, so each character counts as a word of its own

# A buffer of at most this many bytes per compiled call (unless one text alone is larger) bounds the memory of a batch.
BATCH_BYTES = 2 * 2**20
_CODE_POINTS = 0x110000
# Thai to Lao, Myanmar, Khmer, kana, Han with its extensions, compatibility Han (Unicode 15 block names).
_UNSPACED = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3040, 0x30FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


@lru_cache(maxsize=1)
def classes() -> npt.NDArray[np.uint8]:
    """Return the class bits of every code point, as an array of 0x110000 bytes."""
    every = "".join(map(chr, range(_CODE_POINTS)))
    table = np.zeros(_CODE_POINTS, np.uint8)
    for bit, pattern in ((WORD, r"\w+"), (SPACE, r"\s+"), (LETTER, r"[^\W\d_]+")):
        for match in re.finditer(pattern, every):
            table[match.start() : match.end()] |= bit
    for first, last in _UNSPACED:
        table[first : last + 1] |= IDEOGRAPH
    table[(table & WORD) == 0] &= ~np.uint8(IDEOGRAPH)
    return table


@dataclass(frozen=True, slots=True)
class CodePoints:
    """Texts ``first`` to ``first + len - 1`` of a sequence.

    Text ``i`` is ``narrow[starts[i]:stops[i]]`` where ``wide[i]`` is False, and
    ``narrow.view(uint32)[starts[i] // 4 : stops[i] // 4]`` where it is True.
    """

    first: int
    narrow: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]
    stops: npt.NDArray[np.int64]
    wide: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.starts)


def batches(texts: Sequence[str], *, lower: bool) -> Iterator[CodePoints]:
    """Yield the texts in order as code points, in batches of about ``BATCH_BYTES``; ``lower`` applies ``str.lower``."""
    parts: list[bytes] = []
    starts: list[int] = []
    stops: list[int] = []
    wide: list[bool] = []
    first = position = 0
    for row, text in enumerate(texts):
        if lower:
            text = text.lower()
        ascii_only = text.isascii()
        data = text.encode("ascii") if ascii_only else text.encode("utf-32-le", "surrogatepass")
        if position and position + len(data) > BATCH_BYTES:
            yield _batch(first, parts, starts, stops, wide)
            parts, starts, stops, wide = [], [], [], []
            first, position = row, 0
        padding = -len(data) % 4
        starts.append(position)
        stops.append(position + len(data))
        wide.append(not ascii_only)
        parts.append(data)
        if padding:
            parts.append(b"\0" * padding)
        position += len(data) + padding
    if starts:
        yield _batch(first, parts, starts, stops, wide)


def _batch(first: int, parts: list[bytes], starts: list[int], stops: list[int], wide: list[bool]) -> CodePoints:
    narrow = np.frombuffer(b"".join(parts), np.uint8)
    return CodePoints(first, narrow, np.array(starts, np.int64), np.array(stops, np.int64), np.array(wide, np.bool_))
