"""A text and its tokens: one pass of the model's tokenizer, then counts and cuts by character offsets."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CHARACTERS_PER_TOKEN = 16
"""Text with more characters per token than this counts by its length: a tokenizer may read a word of any length as one
unknown token, and a chunk should stay readable. English has about 4.5 characters per token."""


class TokenizedText:
    """``text`` with the character offsets at which its tokens begin."""

    def __init__(self, text: str, tokenizer: Tokenizer) -> None:
        self.text = text
        self._tokenizer = tokenizer
        self._starts = [start for start, _ in tokenizer.encode(text, add_special_tokens=False).offsets]
        self._starts.sort()
        # BERT's tokenizer splits at white space before all else, so counts add up across it. Others may not.
        self._splits_at_space = type(tokenizer.pre_tokenizer).__name__ == "BertPreTokenizer"

    def count(self, start: int, end: int) -> int:
        """Return how many of the text's tokens begin in ``text[start:end]``."""
        return bisect_left(self._starts, end) - bisect_left(self._starts, start)

    def weight(self, start: int, end: int) -> int:
        """Return the size of ``text[start:end]`` in tokens, or by its length where tokens are oddly long."""
        return max(self.count(start, end), -((start - end) // CHARACTERS_PER_TOKEN))

    def count_embedded(self, text: str) -> int:
        """Return the tokens of ``text`` as the model sees it, special tokens included."""
        return len(self._tokenizer.encode(text))

    def is_exact(self, start: int, end: int) -> bool:
        """Return whether ``text[start:end]`` alone has exactly ``count(start, end)`` tokens."""
        return self._splits_at_space and self._is_border(start) and self._is_border(end)

    def _is_border(self, offset: int) -> bool:
        around = self.text[max(0, offset - 1) : offset + 1]
        return offset in (0, len(self.text)) or any(map(str.isspace, around))

    def cut(self, start: int, end: int, room: int) -> int:
        """Return where to end a piece that begins at ``start`` and weighs at most ``room``: between words, else tokens."""
        high = min(end, start + room * CHARACTERS_PER_TOKEN)
        index = bisect_left(self._starts, start) + room
        if index < len(self._starts):
            high = min(high, self._starts[index])
        low = start + (high - start) // 2
        space = max(self.text.rfind(" ", low, high), self.text.rfind("\n", low, high))
        if space > start:
            return space + 1
        border = self._starts[max(0, bisect_right(self._starts, high) - 1)] if self._starts else high
        return border if low < border <= high else max(high, start + 1)
