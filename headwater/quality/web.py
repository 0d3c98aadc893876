"""What the rules for web text ask: the signals of Gopher, C4 and FineWeb, as datatrove measures them.

Gopher: Rae et al. 2021, appendix A. C4: Raffel et al. 2020, section 2.2. FineWeb: Penedo et al. 2024, section 3.6.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from headwater.codepoints import batches
from headwater.quality.english import rules

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
"""Gopher's; a page of running English has at least two of them."""

# The first drops the page, the others the line.
_PHRASES = (
    "lorem ipsum",
    "javascript",
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)


def web_signals(texts: Sequence[str]) -> pl.DataFrame:
    """Return one row per text, in order.

    ============================  ==========================================================================
    gopher_words                  words (spaCy's tokens) that are not of symbols alone
    gopher_mean_word_length       their mean length in characters
    gopher_hash_ratio             hash signs per token
    gopher_ellipsis_ratio         ellipses per token
    gopher_bullet_line_share      lines that start with a bullet or hyphen
    gopher_ellipsis_line_share    lines that end in an ellipsis
    gopher_alpha_word_share       tokens with a letter
    gopher_stop_words             how many of eight common words occur
    gopher_duplicate_...          paragraphs and lines that occurred before: share of them, and of characters
    gopher_top_N_gram             characters in the most frequent N-gram, N = 2 to 4
    gopher_duplicate_N_grams      characters in N-grams that occurred before, N = 5 to 10
    c4_sentences                  sentences of the lines that C4 keeps: three words, terminal punctuation, ...
    c4_lorem_lines                lines with lorem ipsum, of those
    c4_bracket_lines              lines with a curly bracket, of those
    c4_any_...                    the same where a line needs no terminal punctuation
    fineweb_terminal_line_share   lines that end in terminal punctuation
    fineweb_short_line_share      lines of at most 30 characters
    fineweb_duplicate_line_share  characters in lines that occurred before
    fineweb_newline_ratio         newlines per token
    ============================  ==========================================================================
    """
    from headwater.quality import _web_kernels

    tables = _tables()
    counted = [
        _web_kernels.count(batch.narrow, batch.starts, batch.stops, batch.wide, *tables)
        for batch in batches(texts, lower=False)
    ]
    matrix = np.concatenate(counted) if counted else np.empty((0, len(_web_kernels.COUNTERS)), np.int64)
    counters = pl.DataFrame(matrix, schema=list(_web_kernels.COUNTERS), orient="row")
    visible = pl.col("length") - pl.col("newlines")
    return counters.select(
        gopher_words="word_tokens",
        gopher_mean_word_length=_ratio("word_token_characters", "word_tokens"),
        gopher_hash_ratio=_ratio("hashes", "tokens"),
        gopher_ellipsis_ratio=_ratio("ellipses", "tokens"),
        gopher_bullet_line_share=_ratio("bullet_lines", "text_lines"),
        gopher_ellipsis_line_share=_ratio("ellipsis_lines", "text_lines"),
        gopher_alpha_word_share=_ratio("letter_tokens", "tokens"),
        gopher_stop_words="stop_words",
        gopher_duplicate_paragraph_share=_ratio("duplicate_blocks", "blocks"),
        gopher_duplicate_paragraph_characters=_ratio("duplicate_block_characters", "length"),
        gopher_duplicate_line_share=_ratio("duplicate_runs", "runs"),
        gopher_duplicate_line_characters=_ratio("duplicate_run_characters", "length"),
        **{f"gopher_top_{size}_gram": _ratio(f"top_{size}_gram", "length") for size in (2, 3, 4)},
        **{f"gopher_duplicate_{size}_grams": _ratio(f"duplicate_{size}_grams", "length") for size in range(5, 11)},
        c4_sentences="sentences",
        c4_lorem_lines="lorem_lines",
        c4_bracket_lines="bracket_lines",
        c4_any_sentences="any_sentences",
        c4_any_lorem_lines="any_lorem_lines",
        c4_any_bracket_lines="any_bracket_lines",
        fineweb_terminal_line_share=_ratio("terminal_lines", "full_lines"),
        fineweb_short_line_share=_ratio("short_lines", "full_lines"),
        fineweb_duplicate_line_share=pl.col("duplicate_line_characters") / pl.max_horizontal(visible, pl.lit(1)),
        fineweb_newline_ratio=_ratio("newlines", "tokens"),
    )


def _ratio(part: str, whole: str) -> pl.Expr:
    return pl.col(part) / pl.max_horizontal(pl.col(whole), pl.lit(1))


@lru_cache(maxsize=1)
def _tables() -> tuple[npt.NDArray[Any], ...]:
    """Return what the kernel takes beside the texts: classes, map of special cases and units, phrases, stop words."""
    from headwater._word_kernels import mix64
    from headwater.quality._token_kernels import spelled

    def hashed(word: str) -> np.uint64:
        return np.uint64(spelled(np.array(list(map(ord, word)), np.uint32), 0, len(word)))

    found = rules()
    entries = {
        int(mix64(hashed(word))): _ends(cut) | _ends(plain) << 16 for word, (cut, plain) in found.specials.items()
    }
    entries |= {int(mix64(~hashed(unit))): 1 for unit in found.after_digit}
    size = 1 << (4 * len(entries)).bit_length()
    keys, values = np.zeros(size, np.uint64), np.zeros(size, np.int64)
    for key, value in entries.items():
        slot = key & (size - 1)
        while keys[slot]:
            slot = (slot + 1) & (size - 1)
        keys[slot], values[slot] = key, value
    phrases = np.zeros((len(_PHRASES), 1 + max(map(len, _PHRASES))), np.uint32)
    for row, phrase in enumerate(_PHRASES):
        phrases[row, : 1 + len(phrase)] = [len(phrase), *map(ord, phrase)]
    stop_words = np.array([hashed(word) for word in STOP_WORDS], np.uint64)
    return found.classes, keys, values, phrases, stop_words


def _ends(lengths: Sequence[int]) -> int:
    """Return the ends of tokens of these lengths as bits."""
    bits = position = 0
    for length in lengths:
        position += length
        bits |= 1 << (position - 1)
    return bits
