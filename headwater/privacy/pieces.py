"""Long texts in pieces that overlap, so that the time of a recogniser stays linear and no entity is cut."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

PATTERN_PIECE = 4_000  # characters; pieces in which nothing can be found cost nothing, the overlap of others 7 %
MODEL_PIECE = 20_000  # characters; far below spaCy's limit of 1e6, and the overlap costs 3 % of the pipeline
TRANSFORMER_PIECE = 900  # characters; fewer than 512 tokens of nearly all text, margins included
MARGIN = 300  # characters before and after; more than six context words, more than any pattern matches


@dataclass(frozen=True, slots=True)
class Piece:
    """Analyse ``text[start:end]``, keep what begins in ``text[core_start:core_end]``. Cores cover the text once."""

    start: int
    end: int
    core_start: int
    core_end: int


def split(text: str, size: int) -> Iterator[Piece]:
    """Yield the pieces of ``text``; each core has at most ``size`` characters and ends at a paragraph if it can."""
    position = 0
    while position < len(text):
        border = len(text) if len(text) - position <= size else _border(text, position + size // 2, position + size)
        yield Piece(_left(text, position), _right(text, border), position, border)
        position = border


def _border(text: str, low: int, high: int) -> int:
    for separator in ("\n\n", "\n", " "):
        found = text.rfind(separator, low, high)
        if found >= 0:
            return found + len(separator)
    return high


def _left(text: str, core_start: int) -> int:
    """Return where the context before a core begins: at a line or word where there is one, else MARGIN before."""
    start = max(0, core_start - MARGIN)
    for separator in ("\n", " "):
        found = text.find(separator, start, core_start)
        if start and 0 <= found < start + MARGIN // 2:
            return found + 1
    return start


def _right(text: str, core_end: int) -> int:
    end = min(len(text), core_end + MARGIN)
    for separator in ("\n", " "):
        found = text.rfind(separator, core_end + MARGIN // 2, end)
        if end < len(text) and found >= 0:
            return found
    return end
