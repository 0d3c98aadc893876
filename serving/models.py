"""What the endpoints take and return. Offsets count Unicode code points of a document's cleaned text."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from headwater.dates import period
from headwater.metadata import META, META_NAME

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


def _is_date(value: str) -> str:
    period(value)
    return value


Date = Annotated[str, Field(max_length=64, examples=["2024-05-31"]), AfterValidator(_is_date)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Value = TypeVar("Value")
_Some = Annotated[list[Value], Field(min_length=1, max_length=100)]
Texts = str | _Some[str]


class _Range(_Request):
    """Everything between the limits; at least one of them."""

    @model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("needs gt, gte, lt or lte")
        return self


class NumberRange(_Range):
    """The numbers between the limits; at least one of them."""

    gt: Finite | None = None
    gte: Finite | None = None
    lt: Finite | None = None
    lte: Finite | None = None


class DateRange(_Range):
    """The time between the limits; at least one of them."""

    gt: Date | None = None
    gte: Date | None = None
    lt: Date | None = None
    lte: Date | None = None


class Filters(_Request):
    """Only passages that match every given field; a list means any of its values.

    Dates are ISO 8601, from a year alone to a moment, and mean the whole stretch of time that they name (UTC).
    """

    doc_id: Texts | None = None
    key: Texts | None = None
    content_type: Texts | None = None
    page: Number | _Some[Number] | NumberRange | None = None
    language: Texts | None = Field(default=None, description="ISO 639-1 code.", examples=["en"])
    date: Date | _Some[Date] | DateRange | None = Field(default=None, description="Date that the document states.")
    modified: Date | _Some[Date] | DateRange | None = Field(
        default=None, description="Last change that the document states of itself."
    )
    authors: Texts | None = Field(default=None, description="As the privacy policy left them.")
    keywords: Texts | None = None
    meta: dict[
        Annotated[str, Field(pattern=f"^(?:{META_NAME.pattern})$")],
        bool | Finite | str | _Some[bool | Finite | str] | NumberRange,
    ] = Field(default_factory=dict, max_length=32, description="Front matter, by name.")

    def flat(self) -> dict[str, Any]:
        """Return the filters as :meth:`headwater.Corpus.search` takes them."""
        fields = self.model_dump(exclude_none=True)
        meta = fields.pop("meta")
        return fields | {f"{META}{name}": value for name, value in meta.items()}


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


class DuplicateOut(Response):
    """A document that was left out because another one says the same."""

    doc_id: str
    key: str = Field(description="Key of the object in the bucket.", examples=["drafts/leave.md"])
    similarity: float = Field(description="Exact Jaccard similarity of the two, from 0 to 1.")


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
    content_type: str
    language: str | None = Field(description="ISO 639-1 code.")
    date: str | None = Field(description="Date that the document states, ISO 8601.")
    modified: str | None = Field(description="Last change that the document states of itself, ISO 8601.")
    authors: list[str] = Field(description="As the privacy policy left them.")
    keywords: list[str]
    meta: dict[str, bool | int | float | str] = Field(description="Front matter.")
    duplicates: list[DuplicateOut] = Field(
        description="Documents that this one stands for and that the end user may read, most similar first."
    )


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
