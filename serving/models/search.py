"""What a search takes and gives."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from headwater.retrieval.explain import Outcome
from serving.models.fields import CorpusName, Groups, Release, Request, Response, Text
from serving.models.filters import AnyFilters, Filters


class RetrieveRequest(Request):
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
    filters: AnyFilters = Field(default_factory=Filters)
    release: Release = None
    groups: Groups | None = None
    mode: Literal["hybrid", "dense", "sparse"] = Field(default="hybrid", description="Which retrievers to use.")
    merge: bool | None = Field(
        default=None, description="Join neighbouring results of a document; default: as the corpus is configured."
    )
    explain: bool = Field(default=False, description="Say how the passages were found.")


class DuplicateOut(Response):
    """A document that was left out because another one says the same."""

    doc_id: str
    key: str = Field(description="Key of the object in the bucket.", examples=["drafts/leave.md"])
    similarity: float = Field(description="Exact Jaccard similarity of the two, from 0 to 1.")


class PageBreakOut(Response):
    """From character ``start`` of the cleaned text on, the document stands on ``page``."""

    page: int
    start: int


class PassageOut(Response):
    """One passage found; ``text`` is ``cleaned_text[start:end]`` of the document."""

    chunk_id: str
    doc_id: str
    key: str = Field(description="Key of the object in the bucket.", examples=["leave.md"])
    revision: str = Field(description="Digest of the object's bytes.")
    release: int
    title: str
    section: list[str] = Field(description="Headings above, outermost first.")
    page: int | None = Field(description="The page that it begins on.")
    page_breaks: list[PageBreakOut] = Field(description="The pages that begin inside it.")
    start: int
    end: int
    text: str
    table_header: str | None = Field(
        description="Header row of the table that it begins within, where that row is above it; no part of `text`."
    )
    score: float = Field(description="Orders this list; means nothing across queries.")
    content_type: str
    language: str | None = Field(description="ISO 639-1 code.")
    date: str | None = Field(description="Date that the document states, ISO 8601.")
    modified: str | None = Field(description="Last change that the document states of itself, ISO 8601.")
    authors: list[str] = Field(description="As the privacy policy left them.")
    keywords: list[str]
    meta: dict[str, bool | int | float | str] = Field(description="Front matter.")
    chunks: list[str] = Field(description="Ids of the chunks that the passage was put together from.")
    duplicates: list[DuplicateOut] = Field(
        description="Documents that this one stands for and that the end user may read, most similar first."
    )


class PlaceOut(BaseModel):
    """Where a retriever has a result."""

    rank: int = Field(description="From 1.")
    score: float


class ExplainedHitOut(Response):
    """One result in the order of the fusion, and what became of it."""

    chunk_id: str
    key: str
    page: int | None
    score: float = Field(description="The fused one.")
    dense: PlaceOut | None
    sparse: PlaceOut | None
    rerank_score: float | None
    outcome: Outcome
    into: str | None = Field(description="The chunk that leads its passage, or whose text it has.")

    @field_validator("dense", "sparse", mode="before")
    @classmethod
    def _named(cls, place: Any) -> Any:
        return {"rank": place[0], "score": place[1]} if isinstance(place, tuple) else place


class ExplanationOut(Response):
    """How a search came to its passages."""

    mode: str
    fusion: Literal["scores", "ranks", "none"]
    dense_weight: float | None
    weight_source: str | None
    filters: dict[str, Any] = Field(description="The expression that was searched with.")
    candidates: int
    rerank_model: str | None
    diversity: float
    hits: list[ExplainedHitOut]
    timings: dict[str, float] = Field(description="Seconds by step.")


class RetrieveResponse(Response):
    """The passages found, best first, all from one release."""

    corpus: str
    release: int
    passages: list[PassageOut]
    explanation: ExplanationOut | None = None
