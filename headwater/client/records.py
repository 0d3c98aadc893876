"""What the service lists and shows, as the client returns it. Times are timezone-aware; offsets count code points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from headwater.types import Passage


@dataclass(frozen=True, slots=True)
class Found:
    """The passages of a search, best first, all from ``release``; ``explanation`` where it was asked for."""

    release: int
    passages: tuple[Passage, ...]
    explanation: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class CorpusEntry:
    """A corpus; ``live`` is the number of its live release, None before the first."""

    name: str
    description: str
    live: int | None


@dataclass(frozen=True, slots=True)
class ReleaseEntry:
    """A release; ``checks`` are the gate's, each with name, passed, figure, threshold and description."""

    number: int
    state: str
    parent: int | None
    created_at: datetime
    published_at: datetime | None
    reason: str | None
    counts: Mapping[str, int]
    checks: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class DocumentEntry:
    """A document of the live release."""

    doc_id: str
    key: str
    title: str
    revision: str
    content_type: str
    size: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class Section:
    """``text[start:end]`` of the whole document stands under these headings, outermost first."""

    section: tuple[str, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Page:
    """``text[start:end]`` of the whole document stands on this page, counted from 1."""

    page: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class DocumentPart:
    """A document, or the part of it that was asked for: ``text`` is its cleaned text from ``start`` to ``end``."""

    doc_id: str
    key: str
    title: str
    revision: str
    release: int
    content_type: str
    length: int
    start: int
    end: int
    text: str
    sections: tuple[Section, ...] = ()
    pages: tuple[Page, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UnansweredQuestion:
    """Questions about the same that got no good answer; see :class:`headwater.answer_log.gaps.Gap`."""

    question: str
    answer_id: str
    terms: tuple[str, ...]
    asked: int
    refused: int
    best_support: float | None
    last_asked: datetime
    nearest: str | None
    similarity: float | None


@dataclass(frozen=True, slots=True)
class ReceiptEntry:
    """What became of one object; see :class:`headwater.receipts.Receipt`."""

    key: str
    doc_id: str
    state: str
    reason: str
    message: str
    advice: str
    since: datetime | None
    modified: datetime
    revision: str
    size: int
    release: int | None
    chunks: int
    survivor: str | None = None
    similarity: float | None = None
    requeued: str | None = None
    parent: str | None = None
    attachments: tuple[str, ...] = ()
    duplicates: tuple[str, ...] = ()
