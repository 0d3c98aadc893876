"""The published rules for web pages, each family with its paper's limits."""

from __future__ import annotations

from pydantic import Field

from headwater.policies.base import Policy


class GopherRules(Policy):
    """Gopher's rules for web pages (Rae et al. 2021, appendix A.1.1 and table A1); words are spaCy's, as in datatrove."""

    min_words: int = Field(default=50, ge=0, description="Words that are more than symbols, at least.")
    max_words: int = Field(default=100_000, ge=0, description="... and at most.")
    min_mean_word_length: float = Field(default=3.0, ge=0, description="Mean characters per word, at least.")
    max_mean_word_length: float = Field(default=10.0, ge=0, description="... and at most.")
    max_hash_ratio: float = Field(default=0.1, ge=0, description="Hash signs per token.")
    max_ellipsis_ratio: float = Field(default=0.1, ge=0, description="Ellipses per token.")
    max_bullet_line_share: float = Field(default=0.9, ge=0, le=1, description="Lines that start with a bullet.")
    max_ellipsis_line_share: float = Field(default=0.3, ge=0, le=1, description="Lines that end in an ellipsis.")
    min_alpha_word_share: float = Field(default=0.8, ge=0, le=1, description="Tokens with a letter.")
    min_stop_words: int = Field(
        default=2, ge=0, description="How many of the, be, to, of, and, that, have, with must occur."
    )
    max_duplicate_paragraph_share: float = Field(default=0.3, ge=0, le=1, description="Paragraphs that repeat.")
    max_duplicate_paragraph_characters: float = Field(default=0.2, ge=0, le=1, description="Characters in those.")
    max_duplicate_line_share: float = Field(default=0.3, ge=0, le=1, description="Lines that repeat.")
    max_duplicate_line_characters: float = Field(default=0.2, ge=0, le=1, description="Characters in those.")
    max_top_2_gram: float = Field(default=0.2, ge=0, description="Characters in the most frequent 2-gram.")
    max_top_3_gram: float = Field(default=0.18, ge=0, description="... 3-gram.")
    max_top_4_gram: float = Field(default=0.16, ge=0, description="... 4-gram.")
    max_duplicate_5_grams: float = Field(default=0.15, ge=0, le=1, description="Characters in 5-grams that repeat.")
    max_duplicate_6_grams: float = Field(default=0.14, ge=0, le=1, description="... 6-grams.")
    max_duplicate_7_grams: float = Field(default=0.13, ge=0, le=1, description="... 7-grams.")
    max_duplicate_8_grams: float = Field(default=0.12, ge=0, le=1, description="... 8-grams.")
    max_duplicate_9_grams: float = Field(default=0.11, ge=0, le=1, description="... 9-grams.")
    max_duplicate_10_grams: float = Field(default=0.1, ge=0, le=1, description="... 10-grams.")


class C4Rules(Policy):
    """C4's rules for web pages (Raffel et al. 2020, section 2.2): what counts is the lines that it would keep."""

    terminal_punctuation: bool = Field(
        default=True, description="A line counts when it ends in . ? ! or a quotation mark (FineWeb: false)."
    )
    min_sentences: int = Field(default=5, ge=0, description="Sentences in the lines that count (C4: 5).")
    max_lorem_lines: int = Field(default=0, ge=0, description="Lines with the words lorem ipsum (C4: none).")
    max_bracket_lines: int = Field(default=0, ge=0, description="Lines with a curly bracket (C4: none).")


class FineWebRules(Policy):
    """FineWeb's rules for web pages (Penedo et al. 2024, section 3.6)."""

    min_terminal_line_share: float = Field(
        default=0.12, ge=0, le=1, description="Lines that end in terminal punctuation."
    )
    max_short_line_share: float = Field(default=0.67, ge=0, le=1, description="Lines of at most 30 characters.")
    max_duplicate_line_share: float = Field(
        default=0.01, ge=0, le=1, description="Characters in lines that occurred before (the paper: 0.1)."
    )
    max_newline_ratio: float = Field(default=0.3, ge=0, description="Newlines per token (as datatrove has it).")
