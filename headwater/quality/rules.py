"""The rules: each asks one signal of a document to stay on one side of a limit, and names the reason when it does not.

A rule is data. What decides (``verdict``), what reviews (``review``) and what reports (``report``) all read this table,
so a limit is compared in one place only. Limits are named by their path in ``QualityPolicy``; sources are said there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import polars as pl

from headwater.policies import QualityPolicy, RuleFamily

Profile = Literal["prose", "table", "code"]
"""What a document is judged as."""

# Shares of a few letters or words say little; these are the least that a rule looks at.
_LETTERS_FOR_SPELLING = ("ascii_letters", 40)
_WORDS_FOR_SHARES = ("spaced_words", 50)
# In tables and code, and below this many letters, the detector must be nearly certain: names look like any language.
_LETTERS_FOR_LANGUAGE = 200
_DOUBTFUL_TEXT_SCORE = 0.9

_EVERY: tuple[Profile, ...] = ("prose", "table", "code")
# Rows of numbers and recurring cells are what one expects of a table, and of code its signs and short names.
_NO_TABLE: tuple[Profile, ...] = ("prose", "code")
_PROSE: tuple[Profile, ...] = ("prose",)

_TABLES = {
    "text/csv",
    "text/tab-separated-values",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/vnd.ms-excel",
}
_CODE = {
    "application/json",
    "application/x-ndjson",
    "application/xml",
    "application/javascript",
    "text/javascript",
    "text/css",
}

Value = Callable[[QualityPolicy], pl.Expr]


@dataclass(frozen=True, slots=True)
class Rule:
    """``reason`` where ``signal`` is above (``max``), below (``min``) or not below (``below``) the limit.

    ``signal`` is a column, or what makes an expression of the policy; ``name`` says which signal it is. ``limit`` is a
    path in the policy, a number, or what makes an expression. The rule asks documents of ``profiles`` that have at
    least ``least`` of a signal, when its family is chosen; None is every policy's.
    """

    reason: str
    name: str
    side: Literal["min", "max", "below"]
    limit: str | float | Value
    family: RuleFamily | None = "business"
    profiles: tuple[Profile, ...] = _EVERY
    least: tuple[str, int] | None = None
    signal: Value | None = None

    def value(self, policy: QualityPolicy) -> pl.Expr:
        """Return the signal as an expression."""
        return self.signal(policy) if self.signal else pl.col(self.name)

    def bound(self, policy: QualityPolicy) -> pl.Expr:
        """Return the limit as an expression."""
        if callable(self.limit):
            return self.limit(policy)
        return pl.lit(self.limit if isinstance(self.limit, float) else threshold(policy, self.limit))

    def asked(self) -> pl.Expr:
        """Return whether the rule asks a document."""
        asked = pl.lit(True) if self.profiles == _EVERY else pl.col("profile").is_in(self.profiles)
        return asked & (pl.col(self.least[0]) >= self.least[1]) if self.least else asked

    def broken(self, policy: QualityPolicy) -> pl.Expr:
        """Return whether a document breaks the rule."""
        value, bound = self.value(policy), self.bound(policy)
        broken = {"min": value < bound, "max": value > bound, "below": value >= bound}[self.side]
        return self.asked() & broken

    def slack(self, policy: QualityPolicy) -> pl.Expr:
        """Return how far a document is on the right side of the limit, in units of the limit; negative where it is not.

        Null where the rule does not ask the document. A limit below one counts as one for signals that are counts.
        """
        value, bound = self.value(policy), self.bound(policy)
        unit = pl.max_horizontal(bound.abs(), pl.lit(1.0 if self.name.endswith("_lines") else 1e-3))
        distance = (value - bound if self.side == "min" else bound - value) / unit
        return pl.when(self.asked()).then(distance)


def threshold(policy: QualityPolicy, path: str) -> float:
    """Return the number at a path such as ``min_words`` or ``gopher.min_words``."""
    value: object = policy
    for name in path.split("."):
        value = getattr(value, name)
    assert isinstance(value, (int, float))
    return float(value)


def chosen(policy: QualityPolicy) -> tuple[Rule, ...]:
    """Return the rules that a policy applies, in order of precedence."""
    return tuple(rule for rule in RULES if rule.family is None or rule.family in policy.rules)


def profiled(frame: pl.DataFrame, policy: QualityPolicy) -> pl.DataFrame:
    """Return signals with a column ``profile``: by content type where there is one, else by how the lines look."""
    kind = pl.col("content_type") if "content_type" in frame.columns else pl.lit(None, pl.String)
    table = kind.is_in(_TABLES).fill_null(False) | (pl.col("table_line_share") >= policy.min_table_line_share)
    code = kind.is_in(_CODE).fill_null(False) | (pl.col("code_line_share") >= policy.min_code_line_share)
    profile = pl.when(table).then(pl.lit("table")).when(code).then(pl.lit("code")).otherwise(pl.lit("prose"))
    return frame.with_columns(profile=profile)


def _foreign(policy: QualityPolicy) -> pl.Expr:
    """Return how certain it is that a document is in a language that the corpus does not want; null if it is not."""
    language = pl.col("language")
    foreign = pl.lit(bool(policy.languages)) & (language != "und") & ~language.is_in(policy.languages)
    return pl.when(foreign).then(pl.col("language_score"))


def _certain(policy: QualityPolicy) -> pl.Expr:
    doubtful = (pl.col("profile") != "prose") | (pl.col("letters") < _LETTERS_FOR_LANGUAGE)
    usual, strict = policy.min_language_score, max(policy.min_language_score, _DOUBTFUL_TEXT_SCORE)
    return pl.when(doubtful).then(pl.lit(strict)).otherwise(pl.lit(usual))


def _c4(name: str) -> Value:
    return lambda policy: pl.col(f"c4_{name}" if policy.c4.terminal_punctuation else f"c4_any_{name}")


def _gopher(reason: str, signal: str, side: Literal["min", "max"], limit: str, family: RuleFamily) -> Rule:
    return Rule(f"gopher_{reason}", f"gopher_{signal}", side, f"gopher.{limit}", family)


RULES: tuple[Rule, ...] = (
    Rule("no_text", "characters", "min", 1.0, None),
    Rule("too_short", "words", "min", "min_words"),
    Rule("garbled", "unknown_character_share", "max", "max_unknown_character_share"),
    Rule("blocked", "blocked_matches", "max", 0.0, None),
    Rule("not_language", "mean_word_length", "max", "max_mean_word_length"),
    Rule("not_language", "mixed_word_share", "max", "max_mixed_word_share", "business", _PROSE, _WORDS_FOR_SHARES),
    Rule("not_language", "vowel_share", "min", "min_vowel_share", least=_LETTERS_FOR_SPELLING),
    Rule("not_language", "consonant_run_share", "max", "max_consonant_run_share", least=_LETTERS_FOR_SPELLING),
    Rule("mostly_symbols", "symbol_word_ratio", "max", "max_symbol_word_ratio", "business", _EVERY, _WORDS_FOR_SHARES),
    Rule("mostly_numbers", "alpha_word_share", "min", "min_alpha_word_share", "business", _NO_TABLE),
    Rule("machine_log", "log_line_share", "max", "max_log_line_share", least=_WORDS_FOR_SHARES),
    Rule("repetitive", "duplicate_line_share", "max", "max_duplicate_line_share", least=_WORDS_FOR_SHARES),
    Rule(
        "repetitive", "repeated_phrase_share", "max", "max_repeated_phrase_share", "business", _PROSE, _WORDS_FOR_SHARES
    ),
    Rule("repetitive", "top_word_share", "max", "max_top_word_share", "business", _PROSE, _WORDS_FOR_SHARES),
    Rule("placeholder", "placeholder_share", "max", "max_placeholder_share"),
    Rule("foreign_language", "language_score", "below", _certain, None, signal=_foreign),
    _gopher("short_doc", "words", "min", "min_words", "gopher_quality"),
    _gopher("long_doc", "words", "max", "max_words", "gopher_quality"),
    _gopher("below_avg_threshold", "mean_word_length", "min", "min_mean_word_length", "gopher_quality"),
    _gopher("above_avg_threshold", "mean_word_length", "max", "max_mean_word_length", "gopher_quality"),
    _gopher("too_many_hashes", "hash_ratio", "max", "max_hash_ratio", "gopher_quality"),
    _gopher("too_many_ellipsis", "ellipsis_ratio", "max", "max_ellipsis_ratio", "gopher_quality"),
    _gopher("too_many_bullets", "bullet_line_share", "max", "max_bullet_line_share", "gopher_quality"),
    _gopher("too_many_end_ellipsis", "ellipsis_line_share", "max", "max_ellipsis_line_share", "gopher_quality"),
    _gopher("below_alpha_threshold", "alpha_word_share", "min", "min_alpha_word_share", "gopher_quality"),
    _gopher("enough_stop_words", "stop_words", "min", "min_stop_words", "gopher_quality"),
    _gopher("dup_para_frac", "duplicate_paragraph_share", "max", "max_duplicate_paragraph_share", "gopher_repetition"),
    _gopher(
        "dup_para_char_frac",
        "duplicate_paragraph_characters",
        "max",
        "max_duplicate_paragraph_characters",
        "gopher_repetition",
    ),
    _gopher("dup_line_frac", "duplicate_line_share", "max", "max_duplicate_line_share", "gopher_repetition"),
    _gopher(
        "dup_line_char_frac", "duplicate_line_characters", "max", "max_duplicate_line_characters", "gopher_repetition"
    ),
    *(_gopher(f"top_{n}_gram", f"top_{n}_gram", "max", f"max_top_{n}_gram", "gopher_repetition") for n in (2, 3, 4)),
    *(
        _gopher(
            f"duplicated_{n}_n_grams", f"duplicate_{n}_grams", "max", f"max_duplicate_{n}_grams", "gopher_repetition"
        )
        for n in range(5, 11)
    ),
    Rule("c4_lorem_ipsum", "c4_lorem_lines", "max", "c4.max_lorem_lines", "c4", signal=_c4("lorem_lines")),
    Rule("c4_curly_bracket", "c4_bracket_lines", "max", "c4.max_bracket_lines", "c4", signal=_c4("bracket_lines")),
    Rule("c4_too_few_sentences", "c4_sentences", "min", "c4.min_sentences", "c4", signal=_c4("sentences")),
    Rule(
        "fineweb_line_punct_ratio",
        "fineweb_terminal_line_share",
        "min",
        "fineweb.min_terminal_line_share",
        "fineweb",
    ),
    Rule("fineweb_short_line_ratio", "fineweb_short_line_share", "max", "fineweb.max_short_line_share", "fineweb"),
    Rule(
        "fineweb_char_dup_ratio", "fineweb_duplicate_line_share", "max", "fineweb.max_duplicate_line_share", "fineweb"
    ),
    Rule("fineweb_list_ratio", "fineweb_newline_ratio", "max", "fineweb.max_newline_ratio", "fineweb"),
)
"""In order of precedence: the first broken one is the reason."""
