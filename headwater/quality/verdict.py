"""Keep or reject, and why: column expressions over the signals, so a changed threshold never re-reads a text."""

from __future__ import annotations

import polars as pl

from headwater.policies import QualityPolicy
from headwater.quality.rules import chosen, profiled

OK = "ok"

_WEB = {
    "gopher_short_doc": "There are too few words in this document.",
    "gopher_long_doc": "There are too many words in this document.",
    "gopher_below_avg_threshold": "The words of this document are too short to be running text.",
    "gopher_above_avg_threshold": "The words of this document are too long to be running text.",
    "gopher_too_many_hashes": "There are too many hash signs in this document.",
    "gopher_too_many_ellipsis": "There are too many ellipses in this document.",
    "gopher_too_many_bullets": "Nearly every line of this document is a list item.",
    "gopher_too_many_end_ellipsis": "Too many lines of this document break off with an ellipsis.",
    "gopher_below_alpha_threshold": "Too many words of this document have no letter.",
    "gopher_enough_stop_words": "The commonest words of English are missing in this document.",
    "gopher_dup_para_frac": "Too many paragraphs of this document repeat an earlier one.",
    "gopher_dup_para_char_frac": "Too much of this document is in paragraphs that repeat an earlier one.",
    "gopher_dup_line_frac": "Too many lines of this document repeat an earlier one.",
    "gopher_dup_line_char_frac": "Too much of this document is in lines that repeat an earlier one.",
    **{f"gopher_top_{n}_gram": f"The same {n} words make up too much of this document." for n in (2, 3, 4)},
    **{
        f"gopher_duplicated_{n}_n_grams": f"Too much of this document is in runs of {n} words that occurred before."
        for n in range(5, 11)
    },
    "c4_lorem_ipsum": "There is placeholder text (lorem ipsum) in this document.",
    "c4_curly_bracket": "There is a curly bracket in this document: it looks like program code.",
    "c4_too_few_sentences": "There are too few whole sentences in this document.",
    "fineweb_line_punct_ratio": "Too few lines of this document end like a sentence.",
    "fineweb_short_line_ratio": "Too many lines of this document are very short.",
    "fineweb_char_dup_ratio": "Too much of this document is in lines that repeat an earlier one.",
    "fineweb_list_ratio": "This document has too many lines for its words: it looks like a list.",
}
_WEB_ADVICE = "This rule is made for web pages; change its limit, or take its group out of quality.rules."

# Plain words for the owner, then what to do. The order is that of the rules.
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
    "blocked": (
        "This document holds a word or pattern that is kept out of this corpus.",
        "Take it out of the document, or change quality.block_keywords and quality.block_patterns.",
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
    **{code: (message, _WEB_ADVICE) for code, message in _WEB.items()},
}


def decide(frame: pl.DataFrame, policy: QualityPolicy) -> pl.DataFrame:
    """Return ``keep`` (bool) and ``reason`` (a code of ``REASONS``, or ``ok``) for each row of signals.

    A column ``content_type``, where there is one, helps to tell tables and code from prose.
    """
    broken = [pl.when(rule.broken(policy)).then(pl.lit(rule.reason)) for rule in chosen(policy)]
    decided = profiled(frame, policy).select(reason=pl.coalesce(*broken, pl.lit(OK)))
    return decided.select(keep=pl.col("reason") == OK, reason="reason")
