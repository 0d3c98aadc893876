"""Which documents are worth indexing."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from headwater.policies.base import Policy, compiled
from headwater.policies.web_rules import C4Rules, FineWebRules, GopherRules

RuleFamily = Literal["business", "gopher_quality", "gopher_repetition", "c4", "fineweb"]
"""A group of quality rules that is switched on or off together."""


class QualityPolicy(Policy):
    """Which documents are worth indexing. Defaults follow Gopher (Rae et al. 2021), loosened for short business documents."""

    rules: list[RuleFamily] = Field(
        default=["business"],
        description="Groups of rules that apply: business (the limits below), and for web pages gopher_quality, "
        "gopher_repetition (gopher is both), c4 and fineweb. Without text, blocked and foreign-language documents are "
        "rejected whatever is chosen.",
    )
    block_keywords: list[str] = Field(
        default=[],
        description="Words or phrases that keep a document out, whole words, whatever the case (such as 'strictly confidential').",
    )
    block_patterns: list[str] = Field(
        default=[], description="Regular expressions that keep a document out where one is found in it."
    )
    urls: Literal["keep", "shorten", "remove"] = Field(
        default="keep",
        description="What cleaning does to http and www links: leave them, leave the host name, or take them out.",
    )
    max_symbol_run: int = Field(
        default=0,
        ge=0,
        description="Cleaning cuts longer runs of one sign (-----, *****) to this many; 0 leaves them.",
    )
    languages: list[str] = Field(
        default=["en"], description="ISO 639-1 codes to keep; an empty list keeps every language."
    )
    min_language_score: float = Field(
        default=0.5, ge=0, le=1, description="Below this the language counts as unknown and the document is kept."
    )
    min_words: int = Field(default=5, ge=0, description="Fewer words than this is nothing to answer from.")
    max_unknown_character_share: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Share of replacement characters (U+FFFD); more means a wrongly decoded file (own choice).",
    )
    max_mean_word_length: float = Field(
        default=15.0,
        gt=0,
        description="Mean word length above this is encoded data (Gopher: 10; base64 has 20 and more).",
    )
    min_vowel_share: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="Share of vowels among ASCII letters; random letters have 0.19, English prose about 0.38.",
    )
    max_consonant_run_share: float = Field(
        default=0.15,
        ge=0,
        le=1,
        description="Share of ASCII letters in runs of five consonants and more; random letters have 0.5, prose 0.01.",
    )
    max_mixed_word_share: float = Field(
        default=0.4,
        ge=0,
        le=1,
        description="Share of words with letters and digits, outside tables; hexadecimal dumps have 0.47 and more.",
    )
    max_symbol_word_ratio: float = Field(
        default=0.3, ge=0, description="Hash signs and ellipses per word (Gopher: 0.1, without Markdown headings)."
    )
    min_alpha_word_share: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Share of words with a letter, outside tables (Gopher: 0.8; sheets of figures go below 0.2).",
    )
    max_log_line_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of text in log lines that repeat an earlier one but for its numbers (own choice).",
    )
    max_duplicate_line_share: float = Field(
        default=0.85,
        ge=0,
        le=1,
        description="Share of text in lines (20 characters and more) that repeat an earlier line "
        "(Gopher: 0.2; pages whose tabs repeat examples have up to 0.7).",
    )
    max_repeated_phrase_share: float = Field(
        default=0.9,
        ge=0,
        le=1,
        description="Share of word 5-shingles that repeat an earlier one, outside tables "
        "(Gopher: 0.15 of characters; technical pages have up to 0.85).",
    )
    max_top_word_share: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="Share of the most frequent word, outside tables (own choice; English prose: below 0.1).",
    )
    max_placeholder_share: float = Field(
        default=0.4,
        ge=0,
        le=1,
        description="Share of lorem ipsum words (C4 drops any page with the phrase; a form may hold a sample).",
    )
    min_code_line_share: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="Share of lines that read like code from which a document is judged as code (own measurement: pages and licences have at most 0.26, three of four Python files more than 0.3).",
    )
    min_table_line_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of lines with as many cell separators as the line before from which it is judged as a table (own choice).",
    )
    gopher: GopherRules = Field(default=GopherRules(), description="Limits of gopher_quality and gopher_repetition.")
    c4: C4Rules = Field(default=C4Rules(), description="Limits of c4.")
    fineweb: FineWebRules = Field(default=FineWebRules(), description="Limits of fineweb.")

    @field_validator("rules", mode="before")
    @classmethod
    def _gopher_is_both(cls, value: object) -> object:
        if not isinstance(value, list):
            return value
        named = [["gopher_quality", "gopher_repetition"] if name == "gopher" else [name] for name in value]
        return list(dict.fromkeys(name for names in named for name in names))

    @field_validator("block_keywords")
    @classmethod
    def _keywords_say_something(cls, value: list[str]) -> list[str]:
        if not all(keyword.strip() for keyword in value):
            raise ValueError("an empty keyword would block every document")
        return value

    @field_validator("block_patterns")
    @classmethod
    def _patterns_compile(cls, value: list[str]) -> list[str]:
        return compiled(value)
