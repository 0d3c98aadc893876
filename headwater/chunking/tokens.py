"""A text and its tokens: one pass of the model's tokenizer, then counts, ids and cuts by character offsets."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headwater.embedding.tokenizing import TextTokenizer

CHARACTERS_PER_TOKEN = 16
"""Text with more characters per token than this counts by its length: a tokenizer may read a word of any length as one
unknown token, and a chunk should stay readable. English has about 4.5 characters per token."""

_SPACE = " \t\r\n"


class TokenizedText:
    """``text`` with its tokens and the character offsets at which they begin, short words as one."""

    def __init__(self, text: str, tokenizer: TextTokenizer) -> None:
        self.text = text
        self._splits_at_space = tokenizer.splits_at_space
        self._starts, self._counts, self._ids = tokenizer.places(text)

    def count(self, start: int, end: int) -> int:
        """Return how many of the text's tokens begin in ``text[start:end]``."""
        return self._counts[bisect_left(self._starts, end)] - self._counts[bisect_left(self._starts, start)]

    def ids(self, start: int, end: int) -> list[int]:
        """Return the ids of the tokens that begin in ``text[start:end]``."""
        return self._ids[self._counts[bisect_left(self._starts, start)] : self._counts[bisect_left(self._starts, end)]]

    def weight(self, start: int, end: int) -> int:
        """Return the size of ``text[start:end]`` in tokens, or by its length where tokens are oddly long."""
        return max(self.count(start, end), -((start - end) // CHARACTERS_PER_TOKEN))

    def is_exact(self, start: int, end: int) -> bool:
        """Return whether ``text[start:end]`` alone has exactly the tokens that it has here."""
        return self._splits_at_space and self._is_border(start) and self._is_border(end)

    def _is_border(self, offset: int) -> bool:
        text = self.text
        return offset in (0, len(text)) or text[offset] in _SPACE or text[offset - 1] in _SPACE

    def reach(self, start: int, tokens: int) -> int:
        """Return the furthest offset up to which at most ``tokens`` tokens begin, from ``start`` on."""
        last = self._counts[bisect_left(self._starts, start)] + tokens
        index = bisect_right(self._counts, last) - 1
        return self._starts[index] if index < len(self._starts) else len(self.text)

    def reach_back(self, end: int, tokens: int) -> int:
        """Return the earliest offset from which at most ``tokens`` tokens begin before ``end``."""
        first = self._counts[bisect_left(self._starts, end)] - tokens
        index = bisect_left(self._counts, first)
        return self._starts[index] if index < len(self._starts) else len(self.text)

    def cut(self, start: int, end: int, room: int) -> int:
        """Return where to end a piece that begins at ``start`` and weighs at most ``room``: between words, else within."""
        high = min(end, start + room * CHARACTERS_PER_TOKEN, self.reach(start, room))
        if high <= start:  # a short word with more tokens than there is room
            following = bisect_right(self._starts, start)
            stop = min(end, self._starts[following] if following < len(self._starts) else end)
            return max(start + 1, (start + stop) // 2)
        low = start + (high - start) // 2
        space = max(self.text.rfind(" ", low, high), self.text.rfind("\n", low, high))
        if space > start:
            return space + 1
        border = self._starts[max(0, bisect_right(self._starts, high) - 1)] if self._starts else high
        return border if low < border <= high else max(high, start + 1)
