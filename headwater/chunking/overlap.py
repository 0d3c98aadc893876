"""Overlap: a chunk that was cut off from the one before begins with the last sentences of that one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from headwater.chunking.packing import Passage
from headwater.chunking.tokens import CHARACTERS_PER_TOKEN, TokenizedText
from headwater.sentences import split_sentences


def with_overlap(passages: Sequence[Passage], text: TokenizedText, tokens: int) -> list[Passage]:
    """Return the passages, each begun up to ``tokens`` tokens earlier where the one before is of the same section.

    The overlap is whole sentences if one fits, else whole words; it never reaches back beyond the passage before.
    """
    result = list(passages[:1])
    for before, passage in pairwise(passages):
        start = _start(before, passage, text, tokens) if before.section == passage.section else passage.start
        result.append(replace(passage, start=start, own_start=passage.start) if start < passage.start else passage)
    return result


def _start(before: Passage, passage: Passage, text: TokenizedText, tokens: int) -> int:
    # Not all of the passage before: the two would begin at the same place.
    earliest = max(text.reach_back(passage.start, tokens), before.start + 1)
    earliest = max(earliest, passage.start - tokens * CHARACTERS_PER_TOKEN)
    piece = text.text[before.start : before.end]
    for start, _ in split_sentences(piece):
        if before.start + start >= earliest:
            return before.start + start
    while earliest < before.end and not text.text[earliest - 1].isspace():
        earliest += 1
    while earliest < before.end and text.text[earliest].isspace():
        earliest += 1
    return earliest if earliest < before.end else passage.start
