"""Keep or reject, and why: column expressions over the signals, so a changed threshold never re-reads a text."""

from __future__ import annotations

import polars as pl

from headwater.policies import QualityPolicy

OK = "ok"

# In order of precedence: the first that applies is the reason. Plain words for the owner, then what to do.
REASONS: dict[str, tuple[str, str]] = {
    "no_text": (
        "There is no text in this document.",
        "If it is a scan, run text recognition on it; otherwise upload a version with content.",
    ),
    "too_short": (
        "There are too few words in this document to answer anything from.",
        "Add content, or lower quality.min_words if such short notes matter.",
    ),
    "garbled": (
        "Many characters of this document could not be read; its encoding is probably wrong.",
        "Save it again as UTF-8 (or export it again from the program that made it) and upload it.",
    ),
    "not_language": (
        "This does not read like written language; it looks like encoded data or random characters.",
        "Upload the readable original. If this is real content, loosen the word and letter limits under quality.",
    ),
    "mostly_symbols": (
        "There are more symbols than words in this document.",
        "Upload a version with running text, or raise quality.max_symbol_word_ratio.",
    ),
    "mostly_numbers": (
        "There are hardly any words in this document, mostly numbers or signs.",
        "Add headings or labels that say what the numbers are, or lower quality.min_alpha_word_share.",
    ),
    "machine_log": (
        "This is a machine log whose messages repeat.",
        "Upload a summary instead, or raise quality.max_log_line_share if logs should be searchable.",
    ),
    "repetitive": (
        "Most of this document repeats the same words or lines.",
        "Remove the repetition, or raise the limits on repeated lines, phrases and words under quality.",
    ),
    "placeholder": (
        "This is placeholder text (lorem ipsum).",
        "Upload the finished document.",
    ),
    "foreign_language": (
        "This document is not in one of the languages of this corpus.",
        "Add its language to quality.languages, or upload a translation.",
    ),
}

# Shares of a few letters or words say little; these are the least that a rule looks at.
_LETTERS_FOR_SPELLING = 40
_WORDS_FOR_SHARES = 50
# In tables, and below this many letters, the detector must be nearly certain: names look like any language.
_LETTERS_FOR_LANGUAGE = 200
_DOUBTFUL_TEXT_SCORE = 0.9
# From this share of table lines on, rows of numbers and recurring cells are what one expects.
_TABLE = 0.5


def decide(frame: pl.DataFrame, policy: QualityPolicy) -> pl.DataFrame:
    """Return ``keep`` (bool) and ``reason`` (a code of ``REASONS``, or ``ok``) for each row of signals."""
    column = pl.col
    table = column("table_line_share") >= _TABLE
    spelled = column("ascii_letters") >= _LETTERS_FOR_SPELLING
    many = column("spaced_words") >= _WORDS_FOR_SHARES
    certain = (
        pl.when(table | (column("letters") < _LETTERS_FOR_LANGUAGE))
        .then(pl.lit(max(policy.min_language_score, _DOUBTFUL_TEXT_SCORE)))
        .otherwise(pl.lit(policy.min_language_score))
    )
    rules: dict[str, pl.Expr] = {
        "no_text": column("characters") == 0,
        "too_short": column("words") < policy.min_words,
        "garbled": column("unknown_character_share") > policy.max_unknown_character_share,
        "not_language": (column("mean_word_length") > policy.max_mean_word_length)
        | (~table & many & (column("mixed_word_share") > policy.max_mixed_word_share))
        | (spelled & (column("vowel_share") < policy.min_vowel_share))
        | (spelled & (column("consonant_run_share") > policy.max_consonant_run_share)),
        "mostly_symbols": many & (column("symbol_word_ratio") > policy.max_symbol_word_ratio),
        "mostly_numbers": ~table & (column("alpha_word_share") < policy.min_alpha_word_share),
        "machine_log": many & (column("log_line_share") > policy.max_log_line_share),
        "repetitive": many
        & (
            (column("duplicate_line_share") > policy.max_duplicate_line_share)
            | (~table & (column("repeated_phrase_share") > policy.max_repeated_phrase_share))
            | (~table & (column("top_word_share") > policy.max_top_word_share))
        ),
        "placeholder": column("placeholder_share") > policy.max_placeholder_share,
        "foreign_language": pl.lit(bool(policy.languages))
        & (column("language") != "und")
        & ~column("language").is_in(policy.languages)
        & (column("language_score") >= certain),
    }
    reason = pl.coalesce(*(pl.when(rules[code]).then(pl.lit(code)) for code in REASONS), pl.lit(OK))
    return frame.select(reason=reason).select(keep=column("reason") == OK, reason="reason")
