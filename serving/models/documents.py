"""Documents as they are read."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from serving.models.fields import Response

MAX_DOCUMENT_SPAN = 100_000
"""Characters of a document returned at once."""


class Span(BaseModel):
    """A labelled part of the returned text."""

    start: int
    end: int


class SectionOut(Span):
    """A section; ``section`` are its headings, outermost first."""

    section: list[str]


class PageOut(Span):
    """A page, counted from 1."""

    page: int


class DocumentResponse(BaseModel):
    """A document, or the part of it that was asked for: ``text`` is ``cleaned_text[start:end]``."""

    doc_id: str
    key: str
    title: str
    revision: str
    release: int
    content_type: str
    length: int = Field(description="Length of the whole cleaned text.")
    start: int
    end: int
    text: str
    sections: list[SectionOut] = Field(description="Sections that touch the returned text.")
    pages: list[PageOut] = Field(description="Pages that touch the returned text.")
    metadata: dict[str, Any]


class DocumentOut(Response):
    """A document of a release."""

    doc_id: str
    key: str = Field(description="Key of the object in the bucket.", examples=["leave.md"])
    title: str
    revision: str = Field(description="Digest of the object's bytes.")
    content_type: str
    size: int = Field(description="Size of the object in bytes.")
    modified: datetime = Field(description="When the object was last written.")


class DocumentsResponse(BaseModel):
    """Documents in order of key."""

    corpus: str
    release: int
    documents: list[DocumentOut]
    after: str | None = Field(description="Pass it as `after` for the next page; null on the last.")
