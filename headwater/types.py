"""The values that stages take and return. Plain, frozen, and free of any framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Element:
    """One parsed piece of a document.

    ``kind`` is unstructured's category name (``Title``, ``NarrativeText``, ``ListItem``, ``Table``, ``Text`` ...).
    ``page`` counts from 1, None where the format has no pages. ``section`` is the path of headings above,
    outermost first. ``start`` and ``end`` are character offsets into the document's text:
    ``document.text[element.start:element.end] == element.text``.
    """

    kind: str
    text: str
    page: int | None
    section: tuple[str, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """A document's text, its elements in reading order (never overlapping), and its metadata.

    Metadata keys used by later stages: ``title`` (str or None), ``content_type`` (str), ``pages`` (int or None),
    ``parser`` (str), ``notes`` (list of str, such as a mismatch of extension and content).
    """

    text: str
    elements: tuple[Element, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PiiSpan:
    """Personal data found at ``text[start:end]``; ``entity`` is Presidio's name for it, ``score`` lies in 0..1."""

    start: int
    end: int
    entity: str
    score: float


@dataclass(frozen=True, slots=True)
class Replacement:
    """``original[start:end]`` was replaced by ``text``. The original value is not kept."""

    start: int
    end: int
    text: str
    entity: str


@dataclass(frozen=True, slots=True)
class AnonymizedText:
    """A text with personal data dealt with, and what was replaced where (offsets into the original).

    ``found`` counts the findings by entity, also those that were left in the text. ``rejected`` are the entities for
    which the policy accepts no document; ``text`` is empty then.
    """

    text: str
    replacements: tuple[Replacement, ...]
    found: Mapping[str, int] = field(default_factory=dict)
    rejected: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PageBreak:
    """From character ``start`` of the cleaned text on a document stands on ``page``."""

    page: int
    start: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """What is embedded and retrieved: ``text == document.text[start:end]``.

    ``page`` is the one that it begins on, ``page_breaks`` are those that begin inside it. ``table_header`` is the header
    row of the table that it begins within, below that row: embedded with the chunk, and no part of its text.

    ``tokens`` is the length of the *embedded* text (title, section path and table header prepended, special tokens
    included) as the embedding model's own tokenizer counts it; ``ids`` are these tokens, for the model.
    """

    text: str
    start: int
    end: int
    section: tuple[str, ...]
    page: int | None
    tokens: int
    ids: tuple[int, ...] = field(default=(), repr=False, compare=False)
    page_breaks: tuple[PageBreak, ...] = ()
    table_header: str | None = None


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A document that was left out for another one; ``similarity`` is the exact Jaccard of their word 5-shingles."""

    doc_id: str
    key: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Passage:
    """One search result: a chunk of one revision of a document, as one release holds it.

    ``start`` and ``end`` are character offsets into the document's cleaned text. ``score`` is the fused score;
    it orders one result list and means nothing across queries. What follows it is what the document says of itself:
    ``language`` is an ISO 639-1 code, ``date`` and ``modified`` are ISO 8601, ``meta`` is front matter. ``duplicates``
    are the documents that this one stands for in the release and that the searcher may read now, most similar first.

    ``chunks`` are the ids of the chunks that the passage was put together from, in reading order (``chunk_id`` is the best
    of them); ``text`` is the document's ``cleaned_text[start:end]`` either way. ``page`` is the one that it begins on,
    ``page_breaks`` are those that begin inside it. ``table_header`` is the header row of the table that it begins within,
    where that row is above it: for who reads the passage, and no part of ``text``. A release that was made before there
    were these has neither.
    """

    chunk_id: str
    doc_id: str
    key: str
    revision: str
    release: int
    title: str
    section: tuple[str, ...]
    page: int | None
    start: int
    end: int
    text: str
    score: float
    content_type: str = ""
    language: str | None = None
    date: str | None = None
    modified: str | None = None
    authors: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    meta: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    duplicates: tuple[Duplicate, ...] = ()
    chunks: tuple[str, ...] = ()
    page_breaks: tuple[PageBreak, ...] = ()
    table_header: str | None = None

    def page_at(self, offset: int) -> int | None:
        """Return the page on which character ``offset`` of the cleaned text stands."""
        return next((one.page for one in reversed(self.page_breaks) if one.start <= offset), self.page)


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a sentence of an answer comes from: ``quote`` is the verbatim ``cleaned_text[start:end]`` of ``doc``.

    It begins on ``page`` and ends on ``last_page``; both are None where the format has no pages.
    """

    doc: str
    start: int
    end: int
    quote: str
    key: str
    title: str
    section: tuple[str, ...]
    page: int | None
    revision: str
    chunk_id: str
    last_page: int | None = None


@dataclass(frozen=True, slots=True)
class Alignment:
    """``sentence.text[start:end]`` is supported by ``cleaned_text[source_start:source_end]`` of a citation's document.

    ``citation`` counts the sentence's citations from 0.
    """

    start: int
    end: int
    citation: int
    source_start: int
    source_end: int


@dataclass(frozen=True, slots=True)
class Sentence:
    """One verified sentence of an answer and the spans that support it; ``support`` lies in 0..1.

    ``verdict`` is ``verbatim`` (the words stand in a cited span) or ``supported`` (the verifier aligned all that it
    claims with cited spans). ``alignments`` say which part of it stands where.
    """

    text: str
    citations: tuple[Citation, ...]
    support: float
    verdict: Literal["verbatim", "supported"] = "verbatim"
    alignments: tuple[Alignment, ...] = ()


DropReason = Literal["citation", "number", "date", "name", "negation", "quote", "unsupported", "unsafe"]
"""Why a sentence that a model wrote was left out: it cites nothing that it was given; a number, date, name or negation
in it, or what it puts in quotation marks, is not in the cited passages; too little of it is; it carries a link, an image
or a part of the instructions."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a language model was charged for: tokens read and written; ``cost`` is in the price list's currency."""

    prompt_tokens: int
    completion_tokens: int
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer whose every sentence is tied to spans of its sources, or a refusal (no sentences, ``reason`` set).

    ``searched`` is what was searched for: the question, or what a conversation made of it. ``prompt`` is name and
    version of the template (``answer@3``), ``model`` what wrote the sentences; both are None for an extractive
    answer. ``fallback`` says why sentences were quoted although a model is configured. ``dropped`` are the reasons of
    the sentences that the verifier left out, without their text. ``timings`` are seconds by step. ``conversation`` is the
    caller's name for the conversation that it belongs to, ``turn`` counts the exchanges before it. ``cached`` says that
    it was given before, to somebody with the same groups, and that no model was asked again.
    """

    id: str
    question: str
    sentences: tuple[Sentence, ...]
    refused: bool
    reason: str | None
    release: int
    method: str
    searched: str = ""
    prompt: str | None = None
    model: str | None = None
    fallback: str | None = None
    dropped: tuple[DropReason, ...] = ()
    usage: Usage | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    conversation: str | None = None
    turn: int = 0
    cached: bool = False

    @property
    def text(self) -> str:
        """The sentences as one string; empty for a refusal."""
        return " ".join(sentence.text for sentence in self.sentences)


@dataclass(frozen=True, slots=True)
class Turn:
    """One earlier exchange of a conversation."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. A document is visible when one of its readers is ``*`` or one of these groups."""

    groups: frozenset[str] = frozenset()
    name: str = "anonymous"
