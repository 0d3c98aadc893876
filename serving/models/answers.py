"""What a question takes, what an answer is, and what is told while it is written."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field

from headwater.types import DropReason, Turn
from serving.models.fields import AnswerId, CorpusName, Groups, Release, Request, Response, Text, has_no_nul
from serving.models.filters import AnyFilters, Filters
from serving.models.search import PassageOut

MAX_TURNS = 20
MAX_TURN = 8000
"""Characters of one earlier answer; what is longer is no conversation."""

Conversation = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9._:-]{1,64}$",
        description="An id that the application gives its conversation: its answers stand together in the log, and are "
        "written with one version of the prompt.",
    ),
]


class TurnIn(Request):
    """One earlier exchange of a conversation."""

    question: Text
    answer: Annotated[str, AfterValidator(has_no_nul)] = Field(
        max_length=MAX_TURN, description="What was answered; empty for a refusal."
    )

    def turn(self) -> Turn:
        """Return it as the library takes it."""
        return Turn(question=self.question, answer=self.answer)


class AnswerRequest(Request):
    """A question, and what was said before it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"corpus": "handbook", "question": "How long is the notice period?"}]},
    )
    corpus: CorpusName
    question: Text = Field(description="The question, in plain words.")
    groups: Groups | None = None
    history: list[TurnIn] = Field(
        default_factory=list, max_length=MAX_TURNS, description="Earlier exchanges, oldest first."
    )
    filters: AnyFilters = Field(default_factory=Filters, description="Only documents that match are read.")
    conversation: Conversation | None = None
    release: Release = None


class CitationOut(Response):
    """Where a sentence comes from: ``quote`` is ``cleaned_text[start:end]`` of document ``doc``, word for word."""

    doc: str
    key: str = Field(examples=["leave.md"])
    title: str
    section: list[str]
    page: int | None = Field(description="The page on which the quote begins.")
    last_page: int | None = Field(description="The page on which the quote ends.")
    revision: str
    chunk_id: str
    start: int
    end: int
    quote: str


class AlignmentOut(Response):
    """``text[start:end]`` of the sentence is supported by ``cleaned_text[source_start:source_end]`` of the document of
    its citation number ``citation``, counted from 0."""

    start: int
    end: int
    citation: int
    source_start: int
    source_end: int


class SentenceOut(Response):
    """One verified sentence of an answer with what supports it."""

    text: str
    support: float = Field(description="How well the source supports it, from 0 to 1.")
    verdict: Literal["verbatim", "supported"] = Field(
        description="`verbatim`: the words stand in a cited span. `supported`: all that it claims stands there."
    )
    citations: list[CitationOut]
    alignments: list[AlignmentOut] = Field(description="Which part of it stands where.")


class UsageOut(Response):
    """What the language model was charged for."""

    prompt_tokens: int
    completion_tokens: int
    cost: float | None = Field(description="In the currency of the price list; null where there is none.")


class AnswerResponse(Response):
    """An answer, or a refusal with its reason."""

    id: str = Field(description="Under this id the ledger keeps what it takes to reproduce the answer.")
    release: int
    refused: bool
    reason: str | None = Field(description="Why the question was refused, in plain words.")
    method: str
    text: str
    sentences: list[SentenceOut]
    searched: str = Field(description="What was searched for: the question, or what a conversation made of it.")
    prompt: str | None = Field(description="Name and version of the prompt.", examples=["answer@3"])
    model: str | None = Field(description="What wrote the sentences; null when they are quoted.")
    fallback: str | None = Field(description="Why sentences were quoted although a model is configured.")
    dropped: list[DropReason] = Field(description="Why sentences of the model were left out, one reason for each.")
    usage: UsageOut | None
    timings: dict[str, float] = Field(description="Seconds by step.")
    conversation: str | None
    turn: int = Field(description="Exchanges of the conversation before this one.")
    cached: bool = Field(description="The same was asked before, by somebody with the same groups.")


class StartOut(Response):
    """Event ``start``: the passages are found and writing begins."""

    id: str
    release: int
    method: str
    searched: str
    prompt: str | None
    model: str | None
    passages: list[PassageOut]


class DroppedOut(Response):
    """Event ``dropped``: a sentence was left out."""

    reason: DropReason


class RestartOut(Response):
    """Event ``restart``: the sentences sent so far don't count, the answer begins again."""

    reason: str


class PassageRef(Response):
    """A passage that was read for an answer."""

    chunk_id: str
    doc_id: str
    key: str
    revision: str
    start: int
    end: int
    score: float


class AnswerRecordOut(Response):
    """What the ledger keeps of an answer. No text of a document, nor of the answer: the spans give it back."""

    id: AnswerId
    corpus: str
    release: int
    question: str = Field(description="Without the personal data that the privacy policy finds in it.")
    asked_at: datetime
    method: str
    refused: bool
    reason: str | None
    seconds: float
    searched: str
    prompt: str | None
    model: str | None
    fallback: str | None
    dropped: list[str]
    prompt_tokens: int | None
    completion_tokens: int | None
    cost: float | None
    conversation: str | None
    turn: int
    cached: bool
    parameters: dict[str, Any] = Field(description="Settings that the answer was made with.")
    passages: list[PassageRef]
    sentences: list[dict[str, Any]] = Field(description="Support, digest and cited spans of each sentence.")
