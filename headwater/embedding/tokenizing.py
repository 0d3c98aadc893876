"""Token ids of texts, exactly the model's tokenizer's, with a memory of the words seen.

A WordPiece tokenizer in BERT's manner normalises character by character and splits at white space before anything
else, so a text's ids are those of its words put together, and a word has to be tokenised once. Measured on 6 MB of
Markdown, beginning with nothing: chunking with it takes between a third and a half of the tokenizer's own time for the
texts. Any other kind of tokenizer is called on the whole text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_MAX_WORDS = 400_000
"""Words remembered; a corpus of ten million words has about as many. Some 100 MB, and emptied when it is full."""

_LONG_WORD = 48
"""Characters (with the white space after it) from which a word's tokens are placed one by one: links, table rules, and
scripts without spaces. They are cut within and seldom come twice, so they aren't remembered."""

# Not every white space: the normaliser of BERT drops some of it (form feed, say), which joins the words around it.
_WORD = re.compile(r"[^ \t\r\n]+[ \t\r\n]{0,2}|[ \t\r\n]{1,32}")
_SPACE = " \t\r\n"
# BERT makes a token of every ASCII sign, whatever stands around it.
_PART = re.compile(r"[!-/:-@\[-`{-~]|[^!-/:-@\[-`{-~]+")


class TextTokenizer:
    """Ids and places of tokens, equal to ``tokenizer.encode``'s. Safe to use from several threads.

    ``prefix`` and ``suffix`` are the ids of the special tokens around a text; ``splits_at_space`` says whether
    tokens never reach across a space, tab or line break, and never depend on what stands beyond one.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.prefix, self.suffix = _special_ids(tokenizer)
        added = tokenizer.get_added_tokens_decoder().values()
        names = [token.content for token in added]
        self.splits_at_space = (
            type(tokenizer.pre_tokenizer).__name__ == "BertPreTokenizer"
            and type(tokenizer.normalizer).__name__ in ("BertNormalizer", "NoneType")
            and not any(token.lstrip or token.rstrip or set(token.content) & set(_SPACE) for token in added)
        )
        self._added = re.compile("|".join(map(re.escape, names)) or r"(?!)", re.IGNORECASE)
        self._words: dict[str, tuple[int, ...]] = {}
        self._parts_known: dict[str, tuple[int, ...]] = {}

    def ids(self, text: str) -> list[int]:
        """Return the text's token ids, without special tokens."""
        return self.places(text)[2]

    def model_ids(self, text: str, limit: int | None = None) -> list[int]:
        """Return the ids as the model sees them, special tokens included; of too long a text the first ``limit``."""
        ids = self.ids(text)
        if limit is not None:
            del ids[max(0, limit - len(self.prefix) - len(self.suffix)) :]
        return [*self.prefix, *ids, *self.suffix]

    def places(self, text: str) -> tuple[list[int], list[int], list[int]]:
        """Return ``(starts, counts, ids)``: where tokens begin, and how many of ``ids`` do up to each of these places.

        ``starts`` ascend; ``counts`` has one more entry, from 0 to the number of ids: ``ids[counts[i]:counts[i + 1]]``
        begin in the stretch at ``starts[i]``, which is a short word, or less of anything longer.
        """
        if not self.splits_at_space:
            encoded = self.tokenizer.encode(text, add_special_tokens=False)
            return _sorted_starts(encoded.offsets), list(range(len(encoded.ids) + 1)), list(encoded.ids)
        words = _WORD.findall(text)
        sizes = list(map(len, words))
        if max(sizes, default=0) >= _LONG_WORD:
            words = [part for word in words for part in ((word,) if len(word) < _LONG_WORD else self._cut(word))]
            sizes = list(map(len, words))
            if max(sizes) >= _LONG_WORD:
                return self._with_long_words(words, sizes)
        starts = list(accumulate(sizes, initial=0))
        starts.pop()
        found = self._lookup(words)
        return starts, list(accumulate(map(len, found), initial=0)), list(chain.from_iterable(found))

    def _cut(self, word: str) -> list[str]:
        """Return a word in parts that are tokenised apart, the white space after it with the last one."""
        parts = self._parts(word)
        parts[-1] += word[sum(map(len, parts)) :]
        return parts

    def _with_long_words(self, words: Sequence[str], sizes: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
        """Return :meth:`places` of words of which some are long and have their tokens placed one by one."""
        long = [word for word, size in zip(words, sizes, strict=True) if size >= _LONG_WORD]
        encoded = iter(self.tokenizer.encode_batch(long, add_special_tokens=False))
        short = iter(self._lookup([word for word, size in zip(words, sizes, strict=True) if size < _LONG_WORD]))
        starts: list[int] = []
        counts = [0]
        ids: list[int] = []
        position = 0
        for size in sizes:
            if size < _LONG_WORD:
                starts.append(position)
                ids += next(short)
                counts.append(len(ids))
            else:
                word = next(encoded)
                starts += [position + offset for offset in _sorted_starts(word.offsets)]
                counts += range(len(ids) + 1, len(ids) + len(word.ids) + 1)
                ids += word.ids
            position += size
        return starts, counts, ids

    def _lookup(self, words: Sequence[str]) -> list[tuple[int, ...]]:
        """Return the ids of every word (white space after it does not count); new ones are tokenised in one batch."""
        known = self._words
        try:
            return [known[word] for word in words]
        except KeyError:
            new = {word for word in words if word not in known}
        if len(known) + len(new) > _MAX_WORDS:
            known, self._parts_known, new = {}, {}, set(words)
        known |= self._tokenize(list(new))
        self._words = known
        return [known[word] for word in words]

    def _tokenize(self, words: Sequence[str]) -> dict[str, tuple[int, ...]]:
        """Return the ids of new words by those of their parts, of which fewer are new."""
        known = self._parts_known
        parts = {word: self._parts(word) for word in words}
        new = [part for part in {part for some in parts.values() for part in some} if part not in known]
        encoded = self.tokenizer.encode_batch(new, add_special_tokens=False)
        known |= {part: tuple(one.ids) for part, one in zip(new, encoded, strict=True)}
        return {
            word: known[some[0]] if len(some) == 1 else tuple(chain.from_iterable(known[part] for part in some))
            for word, some in parts.items()
        }

    def _parts(self, word: str) -> list[str]:
        bare = word.rstrip(_SPACE)
        return [bare] if self._added.search(bare) else _PART.findall(bare)


@lru_cache(maxsize=8)
def text_tokenizer(tokenizer: Tokenizer) -> TextTokenizer:
    """Return the one :class:`TextTokenizer` of a tokenizer, with what it remembers."""
    return TextTokenizer(tokenizer)


def _special_ids(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Return the ids that the tokenizer puts before and after a single text."""
    encoded = tokenizer.encode("a")
    special = list(encoded.special_tokens_mask)
    first = special.index(0) if 0 in special else len(special)
    last = len(special) - special[::-1].index(0) if 0 in special else len(special)
    return list(encoded.ids[:first]), list(encoded.ids[last:])


def _sorted_starts(offsets: Sequence[tuple[int, int]]) -> list[int]:
    # A tokenizer may place a token that it made of nothing before the one ahead of it.
    return sorted(start for start, _ in offsets)
