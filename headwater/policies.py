"""What each stage may be told, as one pydantic model per stage.

Every field has a default and a description; unknown fields are errors. A policy is part of its stage's
fingerprint: change a field and exactly the rows of that stage, and what hangs on them, are recomputed.
"""

from __future__ import annotations

import os
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator


class Policy(BaseModel):
    """Base of all policies: immutable, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SourcePolicy(Policy):
    """Where the documents are and which of them belong to the corpus."""

    uri: str = Field(
        description="Folder path or bucket URI: ./documents, file:///data, s3://bucket/prefix, gs://, az://."
    )
    include: list[str] = Field(default=["**"], description="Glob patterns of keys to take; ** crosses folders.")
    exclude: list[str] = Field(
        default=["**/.git/**", "**/.headwater/**", "**/.DS_Store", "**/*.acl.json"],
        description="Glob patterns of keys to leave out; wins over include.",
    )
    max_removed_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="A listing that lost more than this share of the known objects stops the run before anything is removed.",
    )
    write_receipts: bool = Field(
        default=False,
        description="Write what became of every object beside the documents, under .headwater/receipts/; needs write access.",
    )


class WatchPolicy(Policy):
    """The sensor that looks for changes in the bucket and asks for a reindex."""

    enabled: bool = Field(default=True, description="Whether the sensor runs once Dagster has loaded the corpus.")
    interval_seconds: int = Field(default=5, ge=1, description="Pause between two looks at the bucket.")
    budget_seconds: float = Field(
        default=20.0,
        gt=0,
        le=40,
        description="Time one look may take; a larger bucket is listed over several looks. Dagster gives a sensor a minute.",
    )
    quiet_seconds: float = Field(
        default=1.0, ge=0, description="A bulk upload is waited out: nothing may have been written for this long."
    )
    max_wait_seconds: float = Field(
        default=60.0, ge=0, description="... but a bucket that never rests is reindexed after this long."
    )
    queue: str | None = Field(
        default=None,
        description="URL of an SQS queue that gets the bucket's event notifications: a faster trigger than listing.",
    )


class ParserChoice(Policy):
    """Which parser reads a format, where there is a choice. The figures behind the defaults are in docs/parsing.md."""

    html: Literal["auto", "main_content", "full", "unstructured"] = Field(
        default="auto",
        description="main_content leaves menus, teasers and comments of web pages out; full keeps all a reader sees; auto takes the main content of pages that are web pages, and all of the others; unstructured is its partition_html.",
    )
    markdown: Literal["headwater", "unstructured"] = Field(
        default="headwater", description="markdown-it-py (CommonMark and tables), or unstructured's partition_md."
    )
    docx: Literal["headwater", "unstructured"] = Field(
        default="headwater", description="A walk over the document's XML, or unstructured's partition_docx."
    )
    pptx: Literal["headwater", "unstructured"] = Field(
        default="headwater",
        description="A walk over the slides' XML, or unstructured's partition_pptx.",
    )
    xlsx: Literal["headwater", "unstructured"] = Field(
        default="headwater", description="openpyxl, cells as Excel shows them, or unstructured's partition_xlsx."
    )
    csv: Literal["headwater", "unstructured"] = Field(
        default="headwater",
        description="The standard library's reader, values as written, or unstructured's partition_csv.",
    )
    text: Literal["headwater", "unstructured"] = Field(
        default="headwater",
        description="Paragraphs, items and headings by their setting, or unstructured's partition_text.",
    )
    email: Literal["headwater", "unstructured"] = Field(
        default="headwater", description="The standard library's mail parser, or unstructured's partition_email."
    )


class ParsePolicy(Policy):
    """Bytes to elements, in a worker process under limits."""

    max_bytes: int = Field(default=64 * 2**20, gt=0, description="Objects larger than this are quarantined, in bytes.")
    max_pages: int = Field(
        default=5000,
        gt=0,
        description="Documents with more pages, slides, sheets or chapters than this are quarantined.",
    )
    timeout_seconds: float = Field(default=60.0, gt=0, description="Wall-clock limit for one document.")
    cpu_seconds: float = Field(
        default=60.0,
        gt=0,
        description="Processor time for one document; holds even where the wall clock is not watched.",
    )
    memory_mb: int = Field(
        default=2048, ge=512, description="Address-space limit of a parser process above its start size, in MiB."
    )
    max_expanded_bytes: int = Field(
        default=512 * 2**20,
        gt=0,
        description="Archives (Office files, EPUB) and mails that expand to more than this are quarantined, in bytes.",
    )
    max_attachments: int = Field(
        default=200, gt=0, description="Mails with more attachments than this are not taken apart."
    )
    max_nesting: int = Field(
        default=3, ge=1, description="How deep mails within mails are taken apart; deeper ones are left where they are."
    )
    passwords: list[str] = Field(
        default=[],
        description="Names of ENVIRONMENT VARIABLES that hold passwords to try on encrypted PDF and Office files; never the passwords themselves.",
    )
    parsers: ParserChoice = Field(default=ParserChoice(), description="Which parser reads which format.")
    ocr: bool = Field(
        default=False,
        description="Recognise text in pictures and in PDF pages without a text layer, with Tesseract (Debian's tesseract-ocr).",
    )
    ocr_languages: list[str] = Field(
        default=["eng"], description="Tesseract's names of the languages to recognise; each needs its package."
    )
    ocr_dpi: int = Field(
        default=200,
        ge=72,
        le=600,
        description="Resolution at which PDF pages are drawn for OCR (Tesseract's guide: 300).",
    )
    sentence_model: str | None = Field(
        default=None,
        description="spaCy pipeline that unstructured uses to tell prose from headings; default: en_core_web_sm if installed, else the rules the install carries.",
    )

    @field_validator("passwords")
    @classmethod
    def _passwords_are_names(cls, value: list[str]) -> list[str]:
        for name in value:
            if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
                # The value is not repeated: it may be the password itself.
                raise ValueError("must hold names of environment variables (A-Z, 0-9 and _), not passwords")
        return value

    @field_validator("ocr_languages")
    @classmethod
    def _languages_are_names(cls, value: list[str]) -> list[str]:
        for name in value:
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_/-]*", name):
                raise ValueError(f"{name!r} is no name of a Tesseract language, such as eng or deu")
        if not value:
            raise ValueError("must name at least one language, such as eng")
        return value


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
        return _compiled(value)


class DedupPolicy(Policy):
    """Which documents say the same as another one, and which passages say nothing because many documents have them."""

    enabled: bool = Field(default=True, description="False keeps every copy.")
    threshold: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="Exact Jaccard of word 5-shingles at which two documents are near-duplicates.",
    )
    survivor: Literal["longest", "first_key", "first_seen", "best_quality"] = Field(
        default="longest",
        description="Which copy is kept: the longest, the first key in order, the one whose object was last written "
        "first, or the one with the best quality signals; ties go to the first key.",
    )
    preferred_prefixes: list[str] = Field(
        default=[],
        description="Key prefixes whose documents are kept before all others, most preferred first, such as policies/.",
    )
    boilerplate: Literal["remove", "count", "keep"] = Field(
        default="remove",
        description="Paragraphs that many documents share: removed from the text, counted only, or not looked for.",
    )
    boilerplate_min_documents: int = Field(
        default=10,
        ge=0,
        description="A paragraph found in at least this many documents is boilerplate; 0 turns removal off.",
    )
    boilerplate_min_share: float = Field(
        default=0.3, ge=0, le=1, description="... and in at least this share of the documents."
    )
    sentences: Literal["keep", "count", "remove"] = Field(
        default="keep",
        description="Runs of sentences that a better-ranked document with the same readers has, too: not looked for, "
        "counted only, or removed (C4: Raffel et al. 2020).",
    )
    sentence_window: int = Field(
        default=3, ge=1, description="Sentences in such a run; those of fewer than five words don't count (C4: 3)."
    )
    exclude_corpora: list[str] = Field(
        default=[],
        description="Other corpora of the project: a document that one of them holds for the same readers is left out.",
    )
    exclude_questions: str | None = Field(
        default=None,
        description="JSON Lines file of evaluation questions, relative to the corpus file: documents that contain one "
        "are left out.",
    )
    exclude_ngram: int = Field(
        default=13,
        ge=5,
        description="Words in a row that a document may share with a longer question (GPT-3: 13, Brown et al. 2020); "
        "a shorter question must be there whole.",
    )

    @model_validator(mode="after")
    def _other_corpora_are_compared_with(self) -> DedupPolicy:
        if self.exclude_corpora and not self.enabled:
            raise ValueError("exclude_corpora needs enabled: true; without it no documents are compared")
        return self


PrivacyAction = Literal["replace", "mask", "hash", "pseudonym", "encrypt", "keep", "reject_document"]
_Entity = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]


class PrivacyRecognizer(Policy):
    """A recogniser of one's own: regular expressions for one entity."""

    entity: _Entity = Field(description="Name of what is found, in capitals; one of Presidio's or a new one.")
    patterns: list[str] = Field(min_length=1, description="Regular expressions (Python's `regex` module), any case.")
    score: float = Field(
        default=0.6, gt=0, le=1, description="Confidence of a match; below min_score it needs context."
    )
    context: list[str] = Field(
        default=[], description="Words of which one before a match adds 0.35 to its score (Presidio's own figure)."
    )

    @field_validator("patterns")
    @classmethod
    def _patterns_compile(cls, value: list[str]) -> list[str]:
        return _compiled(value)


class PrivacyPolicy(Policy):
    """Which personal data is found, and what becomes of it, before anything is chunked."""

    enabled: bool = Field(default=True, description="False lets personal data into the index.")
    profile: Literal["standard", "strict"] = Field(
        default="standard",
        description="What holds where `actions` says nothing: standard keeps LOCATION, ORGANIZATION and NRP in the text (found and counted, but no personal data by themselves) and applies default_action to the rest; strict applies it to all.",
    )
    default_action: PrivacyAction = Field(
        default="replace",
        description="replace writes <ENTITY>; mask writes asterisks of the same length; hash, pseudonym and encrypt write a keyed hash, a name that is the same all over the corpus, or a token that `headwater reveal` opens; keep leaves it; reject_document keeps the whole document out.",
    )
    deny: dict[_Entity, list[str]] = Field(
        default={}, description="Strings that always are personal data, by entity: {PERSON: [Ilse Varga]}."
    )
    recognizers: list[PrivacyRecognizer] = Field(default=[], description="Recognisers of one's own.")
    actions: dict[_Entity, PrivacyAction] = Field(
        default={}, description="What is done with single entities: {EMAIL_ADDRESS: hash, US_SSN: reject_document}."
    )
    key_env: str = Field(
        default="HEADWATER_PRIVACY_KEY",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Name of the environment variable with the secret of hash, pseudonym and encrypt: 16 characters or more. Never the secret itself.",
    )
    entities: list[_Entity] | None = Field(
        default=None,
        description="Entities to look for, by Presidio's names; default: names, and all that has a pattern except DATE_TIME, URL, UUID and what only other countries have.",
    )
    countries: list[str] | None = Field(
        default=None,
        description="Countries whose numbers are looked for (us, uk, de, es, in, au, ...): all of Presidio's recognisers for them; default: those that Presidio switches on itself (us and uk, the common ones).",
    )
    phone_regions: list[str] | None = Field(
        default=None,
        description="Regions (ISO 3166-1) whose phone numbers are found without a country code or a label; default: Presidio's US, GB, DE, FR, IL, IN, CA, BR.",
    )
    names: bool = Field(
        default=True, description="False looks for no names of people, places and organisations: patterns only."
    )
    spacy_model: str | None = Field(
        default=None,
        description="spaCy pipeline for names, a package or a folder, in place of the bundled model.",
    )
    transformers_model: str | None = Field(
        default=None,
        description="Folder of a Hugging Face token-classification model for names, in place of the bundled model.",
    )
    names_min_score: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="How sure the model has to be of a name; its score is a probability. Lower finds more, also of what is none. min_score holds, too.",
    )
    language: str = Field(default="en", description="Language of the recognisers' context words, and of names.")
    min_score: float = Field(
        default=0.4, ge=0, le=1, description="Findings below this confidence are ignored (presidio-research uses 0.4)."
    )
    allow: list[str] = Field(
        default=[], description="Exact strings that are never personal data (a support address, say)."
    )
    allow_patterns: list[str] = Field(
        default=[], description="Regular expressions; a finding that one matches as a whole is no personal data."
    )
    keep_identifiers: bool = Field(
        default=True,
        description="Leave digit runs inside http links and licence numbers inside longer words: they name pages and records. False replaces them too.",
    )

    @field_validator("allow_patterns")
    @classmethod
    def _patterns_compile(cls, value: list[str]) -> list[str]:
        return _compiled(value)

    @field_validator("countries")
    @classmethod
    def _countries_are_known(cls, value: list[str] | None) -> list[str] | None:
        if value is None:
            return None
        from headwater.privacy.entities import COUNTRIES

        unknown = sorted({country.lower() for country in value} - COUNTRIES.keys())
        if unknown:
            raise ValueError(f"unknown {', '.join(unknown)}. Known: {', '.join(sorted(COUNTRIES))}.")
        return [country.lower() for country in value]

    @field_validator("actions", "entities")
    @classmethod
    def _entities_are_known(cls, value: Any, info: ValidationInfo) -> Any:
        from headwater.privacy.entities import check_known

        own = set(info.data.get("deny", ())).union(item.entity for item in info.data.get("recognizers", ()))
        check_known(value or (), own)
        return value

    @model_validator(mode="after")
    def _one_model_of_names(self) -> PrivacyPolicy:
        if self.spacy_model is not None and self.transformers_model is not None:
            raise ValueError("spacy_model and transformers_model: set one of them, or neither")
        return self

    @property
    def own_entities(self) -> frozenset[str]:
        """The entities of the policy's own recognisers and deny lists."""
        return frozenset(self.deny).union(item.entity for item in self.recognizers)


def _compiled(patterns: list[str]) -> list[str]:
    """Return the regular expressions; ValueError when one can't be compiled or matches nothing at all."""
    import regex  # type: ignore[import-untyped]

    for pattern in patterns:
        try:
            if regex.compile(pattern).fullmatch(""):
                raise ValueError(f"the regular expression {pattern!r} matches an empty text")
        except regex.error as error:
            raise ValueError(f"not a regular expression: {pattern!r} ({error})") from error
    return patterns


class ChunkPolicy(Policy):
    """How a document is cut into passages."""

    max_tokens: int = Field(
        default=254,
        ge=16,
        description="Hard cap per chunk in tokens of the embedding model, special tokens, title and section included.",
    )
    min_tokens: int = Field(
        default=32, ge=0, description="A section's last piece shorter than this joins its neighbour if the cap allows."
    )
    context: bool = Field(
        default=True, description="Embed each chunk together with its document's title and section path."
    )
    max_context_tokens: int = Field(default=48, ge=0, description="At most this many tokens of title and section path.")
    overlap_tokens: int = Field(
        default=0,
        ge=0,
        description="A chunk repeats up to this many tokens of the one before in its section, in whole sentences where they fit; half of max_tokens at most. 0 by measurement: 32 and 64 found no more of the gold passages (docs/chunking.md).",
    )

    @model_validator(mode="after")
    def _overlap_leaves_room(self) -> ChunkPolicy:
        if self.overlap_tokens > self.max_tokens // 2:
            raise ValueError("overlap_tokens must be half of max_tokens at most")
        return self


class EmbedPolicy(Policy):
    """How chunks become vectors."""

    model: str | None = Field(
        default=None,
        description="sentence-transformers model: a folder or a name; default: the bundled all-MiniLM-L6-v2. With url: the name that the endpoint knows it by.",
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        description="Where to compute: auto takes all GPUs, else the CPU; cpu, mps, cuda (all GPUs) or cuda:1 (one).",
    )
    tokens_per_batch: int | None = Field(
        default=None,
        gt=0,
        description="Token budget of one forward pass; default: 1024 on a CPU, 32768 on a GPU. Longest chunks go first; halved by itself when memory runs out.",
    )
    url: str | None = Field(
        default=None,
        pattern=r"^https?://[^@?#\s]+$",
        description="OpenAI-compatible endpoint, such as http://vllm:8000/v1 (its key: EMBEDDINGS_API_KEY); default: the model runs in this process.",
    )
    tokenizer: str | None = Field(
        default=None,
        description="Folder or name of the model whose tokenizer counts; default: that of model. Needed with url when the endpoint's name for the model is neither.",
    )
    document_prompt: str = Field(
        default="", description="With url: put before every chunk (E5: 'passage: '). A local model brings its own."
    )
    query_prompt: str = Field(default="", description="With url: put before every query (E5: 'query: ').")
    requests: int = Field(default=4, ge=1, description="With url: requests under way at once.")
    texts_per_request: int = Field(
        default=32, ge=1, description="With url: most texts of one request; 32 is what Text Embeddings Inference takes."
    )
    timeout_seconds: float = Field(
        default=60.0, gt=0, description="With url: time the endpoint may take for a request."
    )
    bm25_k: float = Field(
        default=0.9,
        ge=0,
        description="BM25 term-frequency saturation; 0.9 with b 0.4 is Anserini's tuning (Yang et al. 2017).",
    )
    bm25_b: float = Field(default=0.4, ge=0, le=1, description="BM25 length normalisation.")
    bm25_language: str = Field(
        default="auto",
        description="Stemmer and stop words of the sparse vectors: german, say, or none; auto: those of the language that at least half of the documents are in, else English.",
    )

    @model_validator(mode="after")
    def _endpoint_has_a_model(self) -> EmbedPolicy:
        if self.url is not None and not self.model:
            raise ValueError("url needs model: the model's name as the endpoint knows it")
        return self


class IndexPolicy(Policy):
    """The Qdrant releases."""

    url: str | None = Field(
        default=None,
        description="Qdrant server, such as http://qdrant:6333 (its key: QDRANT_API_KEY); default: embedded, in process.",
    )
    retain: int = Field(default=5, ge=1, description="How many releases before the live one are kept for rollback.")
    rrf_k: int = Field(
        default=60,
        ge=1,
        description="Constant of reciprocal rank fusion (Cormack et al. 2009: 60), for retrieval.fusion ranks.",
    )
    candidates: int = Field(default=100, ge=10, description="How many results each retriever hands to the fusion.")
    grpc_port: int = Field(
        default=6334,
        ge=1,
        le=65535,
        description="Server: port for gRPC; where it does not answer, url is used for all.",
    )
    timeout_seconds: int = Field(
        default=60, ge=1, description="Server: limit of one request that writes; tried again up to four times."
    )
    search_timeout_seconds: int = Field(
        default=10, ge=1, description="Server: limit of one request that searches, after which none is tried again."
    )
    shards: int | None = Field(
        default=None,
        ge=1,
        description="Server: shards per collection; default: the server's. A change makes a new collection.",
    )
    replication: int = Field(
        default=1, ge=1, description="Server: copies of every shard. A change makes a new collection."
    )
    write_consistency: int | None = Field(
        default=None,
        ge=1,
        description="Server: copies that must have a write before it counts; default: more than half of them.",
    )
    read_consistency: Literal["one", "majority", "quorum", "all"] = Field(
        default="one",
        description="Server: copies that a search asks; more than one is safe against a copy that lags behind, and slower.",
    )
    quantization: Literal["none", "int8"] = Field(
        default="none",
        description="Server: int8 keeps a quarter of the vectors' bytes in memory; the best are rescored with the full vectors.",
    )
    quantile: float = Field(
        default=0.99, ge=0.5, le=1, description="Server: share of the values that int8's range covers; the rest is cut."
    )
    oversampling: float = Field(
        default=2.0, ge=1, le=10, description="Server: how many times the results are rescored where int8 is used."
    )
    vectors_on_disk: bool = Field(
        default=False, description="Server: read full vectors from disk; with int8, only rescoring reads them."
    )
    payload_on_disk: bool = Field(default=True, description="Server: read texts and other payload from disk.")
    hnsw_on_disk: bool = Field(default=False, description="Server: read the graph from disk.")
    hnsw_m: int = Field(default=16, ge=4, le=128, description="Server: links per point of the graph.")
    hnsw_ef_construct: int = Field(
        default=128, ge=4, description="Server: points looked at when one is put into the graph."
    )
    hnsw_ef: int = Field(default=256, ge=10, description="Server: points looked at when the graph is searched.")

    @model_validator(mode="after")
    def _consistent(self) -> IndexPolicy:
        if self.write_consistency is not None and self.write_consistency > self.replication:
            raise ValueError(
                f"write_consistency ({self.write_consistency}) can't be more than replication ({self.replication})"
            )
        return self

    @property
    def write_copies(self) -> int:
        """Copies of a shard that must have a write before it counts."""
        return self.write_consistency or self.replication // 2 + 1


class RetrievalPolicy(Policy):
    """How a query becomes passages. What a query asks for itself goes before it. Figures: docs/retrieval.md."""

    fusion: Literal["learnt", "ranks"] = Field(
        default="learnt",
        description="How dense and BM25 results become one list: learnt blends their scores with the weight that the release learnt from its own chunks; ranks is reciprocal rank fusion.",
    )
    dense_weight: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Weight of the dense scores, in place of the learnt one; BM25 has the rest.",
    )
    learning_queries: int = Field(
        default=200,
        ge=0,
        description="Queries made from the chunks of a release to learn its weights; 0 learns none, and 0.6 is taken.",
    )
    merge: bool = Field(
        default=True,
        description="Search results that follow one another in one section and page of a document become one passage.",
    )
    merge_characters: int = Field(default=4000, ge=1, description="No merged passage is longer than this.")
    collapse: bool = Field(
        default=True,
        description="Of results with the same or nearly the same text the best one is shown, and names the documents of the others.",
    )
    diversity: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share that being unlike the results above has in the order (maximal marginal relevance, Carbonell and Goldstein 1998); 0 is off.",
    )
    rerank_model: str | None = Field(
        default=None, description="Folder of a sentence-transformers CrossEncoder that orders the best results anew."
    )
    rerank_top: int = Field(default=30, ge=1, le=1000, description="How many results are reranked.")
    rerank_batch: int = Field(default=16, ge=1, description="Pairs of query and passage per forward pass.")


class GatePolicy(Policy):
    """What a candidate must show before it goes live."""

    known_item_queries: int = Field(
        default=50, ge=0, description="Chunks sampled as queries that must find their own document."
    )
    min_known_item_recall: float = Field(
        default=0.9, ge=0, le=1, description="Share of known-item queries that find their document in the first 10."
    )
    golden: str | None = Field(
        default=None, description="JSON Lines file of golden questions, relative to the corpus file."
    )
    min_golden_recall: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of answerable golden questions whose quote is in the first 10 passages.",
    )
    max_golden_drop: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="How far nDCG@10, averaged over the golden questions, may fall below the live release's.",
    )
    min_refusal_accuracy: float = Field(
        default=0.0, ge=0, le=1, description="Share of golden questions without an answer that must be refused."
    )
    max_refusal_drop: float = Field(
        default=0.25, ge=0, le=1, description="How far the refusal accuracy may fall below the live release's."
    )
    max_leaks: int = Field(default=0, ge=0, description="Findings of personal data in chunks that are let through.")
    canary_chunks: int = Field(
        default=16, ge=0, description="Chunks embedded anew to see whether the stored vectors are the model's."
    )
    min_canary_cosine: float = Field(
        default=0.99,
        ge=-1,
        le=1,
        description="Lowest cosine between a stored and a fresh vector (bfloat16 against float32: above 0.999).",
    )
    max_shrink: float = Field(
        default=0.4, ge=0, le=1, description="Share of live's documents that a candidate may have lost."
    )
    max_growth: float | None = Field(
        default=None, gt=0, description="How many times live's chunks a candidate may have; default: any number."
    )
    max_quarantined_share: float = Field(
        default=0.5, ge=0, le=1, description="More quarantined objects than this share stop the release."
    )


class LlmPolicy(Policy):
    """The language model that writes answers: any server of OpenAI's chat protocol with JSON schemas, vLLM first."""

    url: str = Field(
        pattern=r"^https?://[^@?#\s]+$", description="Base of the server's interface, such as http://vllm:8000/v1."
    )
    model: str = Field(min_length=1, description="The model's name as the server knows it.")
    prompt: str = Field(
        default="answer",
        pattern=r"^answer(\.[a-z0-9][a-z0-9_-]{0,39})?$",
        description="Name of its system prompt: answer, or a variant such as answer.legal (headwater prompts list).",
    )
    key_env: str = Field(
        default="LLM_API_KEY",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Name of the environment variable with the server's key, if it wants one. Never the key itself.",
    )
    temperature: float = Field(default=0.0, ge=0, le=2, description="0 writes the likeliest words.")
    seed: int | None = Field(default=0, description="Of the sampling; null sends none.")
    max_tokens: int = Field(default=512, ge=16, description="Longest answer in the model's tokens, JSON included.")
    max_sentences: int = Field(default=6, ge=1, le=50, description="At most this many sentences are written.")
    max_sentence_characters: int = Field(default=400, ge=40, le=4000, description="Longest sentence.")
    context_tokens: int = Field(
        default=8192,
        ge=256,
        description="Tokens of prompt and answer together; passages are cut, whole sentences, to fit. A server that says it takes less is believed.",
    )
    connect_seconds: float = Field(default=3.0, gt=0, description="Time to connect.")
    first_token_seconds: float = Field(
        default=20.0, gt=0, description="Time to the first token of an attempt; no further one is made after it."
    )
    total_seconds: float = Field(default=60.0, gt=0, description="Time for the whole answer, attempts and pauses too.")
    attempts: int = Field(
        default=3, ge=1, le=10, description="Tries before the first token: the server is busy, away or failing."
    )
    breaker_failures: int = Field(
        default=5, ge=1, description="After this many failed attempts in a row the server is left alone for a while."
    )
    breaker_seconds: float = Field(
        default=30.0, gt=0, description="... for this long; then one request tries it again."
    )
    rewrite: bool = Field(
        default=True, description="The model makes a follow-up question stand alone; false leaves it to a plain rule."
    )
    prompt_price: float | None = Field(default=None, ge=0, description="Price of a million tokens read.")
    completion_price: float | None = Field(default=None, ge=0, description="Price of a million tokens written.")
    extra: dict[str, Any] = Field(
        default={},
        description="Further fields of every request, such as {chat_template_kwargs: {enable_thinking: false}}.",
    )

    @field_validator("extra")
    @classmethod
    def _extra_leaves_the_request_whole(cls, value: dict[str, Any]) -> dict[str, Any]:
        taken = sorted(value.keys() & {"model", "messages", "stream", "stream_options", "response_format", "n"})
        if taken:
            raise ValueError(f"{', '.join(taken)} can't be set: the answerer depends on it")
        return value

    @model_validator(mode="after")
    def _prompt_has_room(self) -> LlmPolicy:
        if self.max_tokens > self.context_tokens // 2:
            raise ValueError("max_tokens must be half of context_tokens at most, so that there is room for passages")
        return self


class AnswerPolicy(Policy):
    """How questions are answered: by a language model where one is named, else by quoting."""

    llm: LlmPolicy | None = Field(
        default=None, description="The model that writes answers; without one they are quoted."
    )
    passages: int = Field(default=10, ge=1, description="Passages read for one answer.")
    max_sentences: int = Field(default=3, ge=1, description="At most this many sentences are quoted.")
    min_support: float = Field(
        default=0.6,
        ge=0,
        le=1,
        description="Without a model: a sentence below this support is no answer, and the question is refused. A lower value answers more (benchmarks/answers.py --sweep).",
    )
    further_support: float = Field(
        default=0.95,
        ge=0,
        le=1,
        description="Without a model: sentences after the best one need this support.",
    )
    draft_support: float = Field(
        default=0.6,
        ge=0,
        le=1,
        description="A sentence that a language model wrote needs this support by the spans that it cites, or is dropped.",
    )
    entailment_model: str | None = Field(
        default=None,
        description="Folder of a sentence-transformers CrossEncoder with the labels of natural language inference: "
        "a second opinion on sentences that a language model wrote.",
    )
    retention_days: int | None = Field(
        default=90,
        ge=1,
        description="How long answers and what people said of them are kept in the ledger; null keeps them. What is older goes with the daily answer_log asset and with headwater gc.",
    )
    cache_mb: int = Field(
        default=16,
        ge=0,
        description="Answers remembered by a process, in MiB: the same question of people with the same groups is not worked out again until the release changes; 0 remembers none.",
    )
    cache_seconds: float = Field(default=3600.0, gt=0, description="... and for no longer than this.")


class InjectionPolicy(Policy):
    """Documents that carry instructions to a language model. Figures: docs/injection.md."""

    action: Literal["flag", "quarantine", "ignore"] = Field(
        default="flag",
        description="flag indexes such a document, says so in its receipt and never quotes the instruction; quarantine keeps the whole document out; ignore doesn't scan.",
    )
    threshold: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Scores from here on count. 0.5 flags some 0.5 % of a company handbook; from 0.9 on are only instructions that say so outright, and hidden text.",
    )


class MonitorPolicy(Policy):
    """What is watched of answers and of what people say of them, once a day."""

    enabled: bool = Field(
        default=True, description="Whether the daily schedule runs once Dagster has loaded the corpus."
    )
    window_days: int = Field(default=7, ge=1, description="The period that is looked at, up to now.")
    reference_days: int = Field(default=28, ge=1, description="The period before it that it is compared with.")
    weak_support: float = Field(
        default=0.6,
        ge=0,
        le=1,
        description="An answer whose best sentence has less support counts as one without a good passage, as a refusal does.",
    )
    same_question: float = Field(
        default=0.75,
        ge=0,
        le=1,
        description="Cosine at which two questions are listed as one in the list of what is missing (own choice).",
    )
    max_drift: float = Field(
        default=0.25,
        gt=0,
        description="Population stability index of the questions' topics above which they are said to have drifted (Siddiqi 2006: 0.25).",
    )
    min_questions: int = Field(default=50, ge=10, description="Fewer questions in either period say nothing of drift.")


class CostPolicy(Policy):
    """Prices, for the money that headwater costs and headwater plan show; without any they show none."""

    cpu_hour: float | None = Field(default=None, ge=0, description="Price of one CPU for an hour of use.")
    gpu_hour: float | None = Field(default=None, ge=0, description="Price of one GPU for an hour of use.")
    gb_month: float | None = Field(default=None, ge=0, description="Price of storing 10^9 bytes for a month.")
    thousand_tokens: float | None = Field(
        default=None, ge=0, description="Price of 1,000 tokens embedded by an endpoint (embed.url)."
    )
    currency: str = Field(default="USD", min_length=1, max_length=8, description="What the prices are in.")


_CPU = r"^(\d+(\.\d{1,3})?|\d+m)$"
_BYTES = r"^\d+(\.\d+)?(Ki|Mi|Gi|Ti)$"
_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_BESIDE_A_PARSER = 2**30
"""Memory of the step's own process, with Dagster, Arrow and Polars in it; own choice."""


class PodToleration(Policy):
    """A taint of nodes that a pod puts up with, as Kubernetes has it."""

    key: str = Field(description="The taint's key.")
    operator: Literal["Exists", "Equal"] = Field(default="Exists", description="Whether the taint's value counts.")
    value: str | None = Field(default=None, description="The taint's value, for Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default="NoSchedule", description="The taint's effect; null is any."
    )


class PodShape(Policy):
    """What one step's pod asks for. Requests and limits are the same, so that such pods are evicted last."""

    cpu: str = Field(default="1", pattern=_CPU, description="Processors, such as 4, 0.5 or 500m.")
    memory: str = Field(default="2Gi", pattern=_BYTES, description="Memory, such as 512Mi or 8Gi.")
    scratch: str = Field(default="4Gi", pattern=_BYTES, description="Local disk for temporary files, such as 10Gi.")
    gpus: int = Field(default=0, ge=0, description="Whole GPUs.")
    gpu_resource: str = Field(
        default="nvidia.com/gpu",
        pattern=r"^[a-z0-9.\-]+/[A-Za-z0-9._\-]+$",
        description="What the cluster calls a GPU.",
    )
    node_selector: dict[str, str] = Field(default={}, description="Labels that a node must have.")
    tolerations: list[PodToleration] = Field(default=[], description="Taints of nodes that the pod puts up with.")

    @property
    def memory_bytes(self) -> int:
        """The memory in bytes."""
        return int(float(self.memory[:-2]) * _UNITS[self.memory[-2:]])


class PodsPolicy(Policy):
    """The pods of a reindex' steps, with HEADWATER_EXECUTOR=k8s; see docs/kubernetes.md. Results don't depend on it."""

    light: PodShape = Field(default=PodShape(), description="Steps that list, compare, switch and report.")
    parse: PodShape = Field(
        default=PodShape(cpu="4", memory="12Gi", scratch="20Gi"),
        description="parsed_documents: one parser per processor, each of up to parse.memory_mb.",
    )
    text: PodShape = Field(
        default=PodShape(cpu="4", memory="8Gi"),
        description="quality_documents, deduplicated_documents, anonymized_documents and chunks.",
    )
    embed: PodShape = Field(
        default=PodShape(
            cpu="4",
            memory="8Gi",
            gpus=1,
            node_selector={"nvidia.com/gpu.present": "true"},
            tolerations=[PodToleration(key="nvidia.com/gpu")],
        ),
        description="embeddings: one GPU on a node that has one. Without GPUs: gpus 0, node_selector {}. With embed.url, where another machine computes, it is as light is.",
    )
    search: PodShape = Field(
        default=PodShape(cpu="2", memory="4Gi", scratch="20Gi"),
        description="index_candidate and retrieval_evaluation.",
    )
    retries: int = Field(
        default=2,
        ge=0,
        description="How often a step is started again whose pod was evicted or killed, or that failed for a reason that may pass.",
    )
    retry_seconds: int = Field(
        default=65,
        ge=0,
        description="Pause before that. A killed pod can't give back the right to write the corpus, which runs out after 60 s.",
    )


class ComputePolicy(Policy):
    """Where batches of rows are computed: on this machine or on a Ray cluster, see docs/ray.md. Results don't depend on it."""

    engine: Literal["local", "ray"] = Field(
        default="local",
        description="local: processes on the machine of the run; ray: tasks and actors on a Ray cluster.",
    )
    address: str | None = Field(
        default=None,
        pattern=r"^(auto|(ray://)?[^@/?#\s]+:\d{1,5})$",
        description="The cluster: ray://HOST:10001 (from outside), HOST:6379 or auto (on a machine of the cluster); default: RAY_ADDRESS, else a Ray on this machine.",
    )
    cpus_per_task: float = Field(default=1.0, gt=0, description="Processors that one batch of documents reserves.")
    memory_per_task_mb: int | None = Field(
        default=None,
        gt=0,
        description="Memory that one batch reserves, in MiB, so that no node gets more batches than it can hold; default: none.",
    )
    in_flight: int | None = Field(
        default=None,
        ge=1,
        description="Batches that are out at a time, running or waiting; default: twice what the cluster can run.",
    )
    in_flight_mb: int = Field(
        default=512, ge=1, description="Size of the batches that are out at a time, in MiB; one larger batch may be."
    )
    retries: int = Field(
        default=3, ge=0, description="How often a batch is sent again after its node or worker was lost."
    )
    wait_seconds: float = Field(
        default=600.0,
        gt=0,
        description="How long to wait for a node that can take a batch at all (an autoscaler may be starting one) before the run stops.",
    )
    actors: int = Field(
        default=1,
        ge=0,
        description="Copies of the embedding model on the cluster; 0 embeds in the process of the run. With embed.url the endpoint is asked by the run.",
    )
    cpus_per_actor: float = Field(default=1.0, gt=0, description="Processors that one of them reserves and uses.")
    gpus_per_actor: float = Field(
        default=0.0, ge=0, description="GPUs that one of them reserves: 1, or a share such as 0.5; 0 embeds on CPUs."
    )

    @field_validator("cpus_per_task", "cpus_per_actor", "gpus_per_actor")
    @classmethod
    def _ray_takes_shares_of_one_only(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError("must be a whole number, or less than 1")
        return value


class AccessRule(Policy):
    """Who may read the keys under a prefix; the longest matching prefix decides."""

    prefix: str = Field(description="Key prefix, such as hr/; the empty prefix matches all.")
    groups: list[str] = Field(description="Groups that may read; * is everyone; an empty list is nobody.")


_OWNER = re.compile(r"team:[\w.\-/]+|[^@\s]+@[^@\s]+\.[^@\s]+")


class CorpusPolicy(Policy):
    """One corpus: the attributes of its ``defs.yaml``."""

    source: SourcePolicy = Field(description="Where the documents are.")
    watch: WatchPolicy = Field(default=WatchPolicy(), description="When to look for changes.")
    description: str = Field(default="", description="What this body of documents is, for people.")
    owners: list[str] = Field(default=["team:data"], description="Dagster owners: team:name or an e-mail address.")
    parse: ParsePolicy = Field(default=ParsePolicy(), description="Bytes to elements.")
    quality: QualityPolicy = Field(default=QualityPolicy(), description="What is worth indexing.")
    injection: InjectionPolicy = Field(
        default=InjectionPolicy(), description="Instructions to a language model in documents."
    )
    dedup: DedupPolicy = Field(default=DedupPolicy(), description="Exact and near-duplicates, boilerplate.")
    privacy: PrivacyPolicy = Field(default=PrivacyPolicy(), description="Personal data.")
    chunk: ChunkPolicy = Field(default=ChunkPolicy(), description="Passages.")
    embed: EmbedPolicy = Field(default=EmbedPolicy(), description="Vectors.")
    index: IndexPolicy = Field(default=IndexPolicy(), description="Releases.")
    retrieval: RetrievalPolicy = Field(default=RetrievalPolicy(), description="Search.")
    gate: GatePolicy = Field(default=GatePolicy(), description="Checks between a candidate and live.")
    answer: AnswerPolicy = Field(default=AnswerPolicy(), description="Answers.")
    monitor: MonitorPolicy = Field(default=MonitorPolicy(), description="What is watched of answers.")
    costs: CostPolicy = Field(default=CostPolicy(), description="Prices.")
    pods: PodsPolicy = Field(default=PodsPolicy(), description="Pods on Kubernetes.")
    compute: ComputePolicy = Field(default=ComputePolicy(), description="This machine, or a Ray cluster.")
    access: list[AccessRule] = Field(
        default=[], description="Who may read what; without rules everyone may read everything."
    )

    @model_validator(mode="after")
    def _a_parser_fits_its_pod(self) -> CorpusPolicy:
        # Where there are no pods, what they would be like is no reason to refuse a parser its memory.
        if "pods" not in self.model_fields_set and os.environ.get("HEADWATER_EXECUTOR") != "k8s":
            return self
        needed = self.parse.memory_mb * 2**20 + _BESIDE_A_PARSER
        if self.pods.parse.memory_bytes < needed:
            raise ValueError(
                f"pods.parse.memory ({self.pods.parse.memory}) has no room for one parser of parse.memory_mb "
                f"({self.parse.memory_mb} MiB) and what runs beside it: give it {-(-needed // 2**30)}Gi or more"
            )
        return self

    @field_validator("owners")
    @classmethod
    def _owners_are_known_to_dagster(cls, owners: list[str]) -> list[str]:
        for owner in owners:
            if not _OWNER.fullmatch(owner):
                raise ValueError(f"{owner!r} is neither team:NAME nor an e-mail address")
        return owners
