"""What can be measured about a text, as one column per signal. Signals judge nothing; see ``verdict``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import polars as pl

from headwater.codepoints import batches, classes
from headwater.policies import QualityPolicy
from headwater.quality.blocking import blocked_matches
from headwater.quality.language import languages
from headwater.quality.web import web_signals

_DEFAULT = QualityPolicy()

# The longer words of the traditional passage (from Cicero, De finibus, mangled by typesetters).
_PLACEHOLDERS = (
    "lorem ipsum dolor amet consectetur consectetuer adipiscing adipisicing elit eiusmod tempor incididunt labore "
    "dolore magna aliqua enim minim veniam quis nostrud exercitation ullamco laboris nisi aliquip commodo consequat "
    "duis aute irure reprehenderit voluptate velit esse cillum fugiat nulla pariatur excepteur sint occaecat "
    "cupidatat proident sunt culpa officia deserunt mollit anim laborum"
)
_LEVELS = "trace debug info notice warn warning error err fatal critical severe"


def signals(texts: Sequence[str], policy: QualityPolicy = _DEFAULT) -> pl.DataFrame:
    """Return one row per (cleaned) text, in order.

    ``characters`` are those that are no white space; ``words`` are ``\\w+`` runs, and each ideograph. Shares lie in
    0..1, of characters, words or letters as the name says, and are 0 where there is nothing to count.

    ==========================  ============================================================================
    characters, words, letters  how many
    spaced_words                \\w+ runs as they are: a clause, where a script does not space its words
    mean_word_length            characters per word
    symbol_word_ratio           runs of hash signs, and ellipses, per word (Gopher)
    alpha_word_share            words with a letter (Gopher)
    mixed_word_share            words with letters and digits; hexadecimal dumps have 0.5 and more
    unknown_character_share     replacement characters (U+FFFD), left by a wrong decoding
    ascii_letters               how many, the base of the next two
    vowel_share                 a, e, i, o, u among ASCII letters; English prose: about 0.38
    consonant_run_share         ASCII letters in runs of five and more consonants; English prose: below 0.02
    top_word_share              the most frequent spaced word among all
    repeated_phrase_share       5-shingles of spaced words that repeat an earlier one
    duplicate_line_share        characters in lines that repeat an earlier line of 20 characters and more
    log_line_share              characters in log lines that repeat an earlier one but for its numbers
    table_line_share            lines with as many cell separators as the line before
    code_line_share             lines that read like program code
    placeholder_share           words of the lorem ipsum vocabulary
    blocked_matches             entries of the policy's block lists that are found
    language, language_score    ISO 639-1 code or ``und``, and the detector's confidence
    ==========================  ============================================================================

    Then those of the rules for web pages: see :func:`headwater.quality.web.web_signals`.
    """
    from headwater.quality import _kernels

    placeholders, levels = _vocabularies()
    counted = [
        _kernels.count(batch.narrow, batch.starts, batch.stops, batch.wide, classes(), placeholders, levels)
        for batch in batches(texts, lower=True)
    ]
    matrix = np.concatenate(counted) if counted else np.empty((0, len(_kernels.COUNTERS)), np.int64)
    counters = pl.DataFrame(matrix, schema=list(_kernels.COUNTERS), orient="row")
    measured = counters.select(
        "characters",
        "words",
        "letters",
        "ascii_letters",
        spaced_words="tokens",
        mean_word_length=_ratio("word_characters", "words"),
        symbol_word_ratio=_ratio("symbols", "words"),
        alpha_word_share=_ratio("alpha_words", "words"),
        mixed_word_share=_ratio("mixed_words", "words"),
        unknown_character_share=_ratio("unknown_characters", "characters"),
        vowel_share=_ratio("vowels", "ascii_letters"),
        consonant_run_share=_ratio("consonant_run_letters", "ascii_letters"),
        top_word_share=_ratio("top_tokens", "tokens"),
        repeated_phrase_share=(1 - _ratio("distinct_shingles", "shingles")) * (pl.col("shingles") > 0),
        duplicate_line_share=_ratio("duplicate_line_characters", "characters"),
        log_line_share=_ratio("log_line_characters", "characters"),
        table_line_share=_ratio("table_lines", "lines"),
        code_line_share=_ratio("code_lines", "lines"),
        placeholder_share=_ratio("placeholder_tokens", "tokens"),
    )
    blocked = pl.Series("blocked_matches", blocked_matches(texts, policy), pl.Int64).to_frame()
    return pl.concat([measured, blocked, languages(texts), web_signals(texts)], how="horizontal")


def _ratio(part: str, whole: str) -> pl.Expr:
    return pl.col(part) / pl.max_horizontal(pl.col(whole), pl.lit(1))


@lru_cache(maxsize=1)
def _vocabularies() -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    return _hashes(_PLACEHOLDERS), _hashes(_LEVELS)


def _hashes(words: str) -> npt.NDArray[np.uint64]:
    """Return the set of the word hashes of a space-separated list, as the kernels look it up."""
    from headwater import _word_kernels
    from headwater.quality import _kernels

    codes = np.frombuffer(words.encode("ascii"), np.uint8)
    found = np.empty(len(codes), np.uint64)
    size = _word_kernels.word_hashes(codes, 0, len(codes), classes(), found)
    result: npt.NDArray[np.uint64] = _kernels.vocabulary(found[:size], (2 * size).bit_length())
    return result
