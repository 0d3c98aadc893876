"""Which parts of a text the model reads: its sentences, less those in which no word can be part of a name.

A third of the text of a company handbook is skipped. Of the names in the training sets this loses 1 in 800 in edited text
and 1 in 30 in social media posts, nearly all written small (``benchmarks/names.py candidates`` measures it).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from headwater.sentences import split_sentences

COMMON_WORDS = Path(__file__).with_name("common_words.txt")
"""Words that training/names/common_words.py found written small twice at least in edited text, and hardly ever in a name."""

LONG, PART = 600, 400
"""Characters: a longer sentence is a list, a table or no prose at all, and is read in parts that end between its items."""

_ITEM_END = re.compile(r"[,;:|)\]}>]\s+|\s+(?=[-–—•(\[])")
_WORD = re.compile(r"[^\W\d_]+")


@lru_cache(maxsize=1)
def common_words() -> frozenset[str]:
    """Return the list of ``COMMON_WORDS``."""
    return frozenset(COMMON_WORDS.read_text(encoding="utf-8").split())


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Yield the sentences of ``text``, and the parts of those that are too long, as character offsets."""
    for start, end in split_sentences(text):
        while end - start > LONG:
            low, high = start + PART // 2, start + PART
            border = max((match.end() for match in _ITEM_END.finditer(text, low, high)), default=0)
            border = border or max(text.rfind(space, low, high) for space in " \n\t") + 1 or high
            yield start, border
            start = border
        yield start, end


def may_hold_name(sentence: str, common: frozenset[str] | None = None) -> bool:
    """Return whether a capitalised word is not a common one or, where none is capitalised, any word is not."""
    words = _WORD.findall(sentence)
    capitalised = [word.lower() for word in words if not word.islower()]
    return not (common_words() if common is None else common).issuperset(capitalised or words)
