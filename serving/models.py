"""What the endpoints take and return. Offsets count Unicode code points of a document's cleaned text."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MAX_QUERY = 2000
MAX_GROUPS = 200
MAX_DOCUMENT_SPAN = 100_000
"""Characters of a document returned at once."""

MAX_NUMBER = 2**31 - 1
"""Release numbers and offsets above this can't exist, and databases refuse them."""


def has_no_nul(value: str) -> str:
    """Return ``value``; ValueError for what neither database nor file system takes."""
    if "\x00" in value:
        raise ValueError("must not contain NUL characters")
    return value


def _has_words(value: str) -> str:
    has_no_nul(value)
    if not value.strip():
        raise ValueError("must not be blank")
    return value


Text = Annotated[str, Field(min_length=1, max_length=MAX_QUERY), AfterValidator(_has_words)]
CorpusName = Annotated[str, Field(min_length=1, max_length=64, description="Name of a corpus.", examples=["handbook"])]
Number = Annotated[int, Field(ge=1, le=MAX_NUMBER)]
Group = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_has_words)]
Groups = Annotated[
    list[Group],
    Field(
        max_length=MAX_GROUPS,
        description="Groups of the end user, as the calling application vouches for them. "
        "Without any, only documents that everyone may read are found.",
        examples=[["staff"]],
    ),
]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Filters(_Request):
    """Only passages that match every given field; a list means any of its values."""

    doc_id: str | Annotated[list[str], Field(min_length=1, max_length=100)] | None = None
    key: str | Annotated[list[str], Field(min_length=1, max_length=100)] | None = None
    content_type: str | Annotated[list[str], Field(min_length=1, max_length=100)] | None = None
    page: Number | Annotated[list[Number], Field(min_length=1, max_length=100)] | None = None


class RetrieveRequest(_Request):
    """A search."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"corpus": "handbook", "query": "notice period", "k": 5, "filters": {"key": "leave.md"}}]
        },
    )
    corpus: CorpusName
    query: Text = Field(description="What to look for, in plain words.")
    k: int = Field(default=10, ge=1, le=100, description="At most this many passages.")
    filters: Filters = Field(default_factory=Filters)
    release: Number | None = Field(default=None, description="A retained release; default: the live one.")
    groups: Groups = Field(default_factory=list)


class AnswerRequest(_Request):
    """A question."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"corpus": "handbook", "question": "How long is the notice period?"}]},
    )
    corpus: CorpusName
    question: Text = Field(description="The question, in plain words.")
    groups: Groups = Field(default_factory=list)


class Response(BaseModel):
    """Base of what is made from an object of the library."""

    model_config = ConfigDict(from_attributes=True)


class PassageOut(Response):
    """One passage found; ``text`` is ``cleaned_text[start:end]`` of the document."""

    chunk_id: str
    doc_id: str
    key: str = Field(description="Key of the object in the bucket.", examples=["leave.md"])
    revision: str = Field(description="Digest of the object's bytes.")
    release: int
    title: str
    section: list[str] = Field(description="Headings above, outermost first.")
    page: int | None
    start: int
    end: int
    text: str
    score: float = Field(description="Orders this list; means nothing across queries.")


class RetrieveResponse(Response):
    """The passages found, best first, all from one release."""

    corpus: str
    release: int
    passages: list[PassageOut]


class CitationOut(Response):
    """Where a sentence comes from: ``quote`` is ``cleaned_text[start:end]`` of document ``doc``, word for word."""

    doc: str
    key: str = Field(examples=["leave.md"])
    title: str
    section: list[str]
    page: int | None
    revision: str
    chunk_id: str
    start: int
    end: int
    quote: str


class SentenceOut(Response):
    """One sentence of an answer with what supports it."""

    text: str
    support: float = Field(description="How well the source supports it, from 0 to 1.")
    citations: list[CitationOut]


class AnswerResponse(Response):
    """An answer, or a refusal with its reason."""

    id: str = Field(description="Under this id the ledger keeps what it takes to reproduce the answer.")
    release: int
    refused: bool
    reason: str | None = Field(description="Why the question was refused, in plain words.")
    method: str
    text: str
    sentences: list[SentenceOut]


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


class CheckOut(Response):
    """One check of the gate. Its details name documents, so they are for the people who run the corpus."""

    name: str
    passed: bool
    figure: float
    threshold: float
    description: str


class ReleaseOut(Response):
    """One release of a corpus."""

    number: int
    state: Literal["building", "candidate", "rejected", "live", "retained", "dropped"]
    parent: int | None
    created_at: datetime
    published_at: datetime | None
    reason: str | None
    counts: dict[str, int]
    checks: list[CheckOut]


class ReleasesResponse(Response):
    """All releases, newest first."""

    corpus: str
    releases: list[ReleaseOut]


class CorpusOut(BaseModel):
    """One corpus that can be asked."""

    name: str
    description: str
    live: int | None = Field(description="Number of the live release; null before the first.")


class CorporaResponse(BaseModel):
    """All corpora of this service."""

    corpora: list[CorpusOut]


class Health(BaseModel):
    """The process is up."""

    status: Literal["ok"] = "ok"


class CorpusReadiness(BaseModel):
    """Whether one corpus can be searched."""

    ready: bool
    release: int | None
    reason: str | None


class Readiness(BaseModel):
    """Whether every corpus can be searched."""

    status: Literal["ready", "warming", "not ready"]
    reason: str | None
    corpora: dict[str, CorpusReadiness]


class FieldProblem(BaseModel):
    """What is wrong with one field of the request."""

    field: str
    message: str


class Problem(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Not Found",
                    "status": 404,
                    "detail": "There is no corpus 'handbok'.",
                    "request_id": "3f0c9c1e5b7d4f0a8f6f1f2d3c4b5a69",
                }
            ]
        }
    )
    type: str = "about:blank"
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[FieldProblem] | None = None
