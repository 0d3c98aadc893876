"""What is said of answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from headwater.ledger.records import FeedbackKind, FeedbackState
from serving.models.fields import AnswerId, Request, Response, Text

Position = Annotated[int, Field(ge=0, le=1000)]


class FeedbackRequest(Request):
    """What a caller says of an answer that it asked for."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "answer": "0b0c7f1e5b7d4f0a8f6f1f2d3c4b5a69",
                    "kind": "wrong_citation",
                    "sentence": 0,
                    "citation": 1,
                }
            ]
        },
    )
    answer: AnswerId
    kind: FeedbackKind
    sentence: Position | None = Field(default=None, description="Which sentence, counted from 0; default: all of it.")
    citation: Position | None = Field(default=None, description="Which citation of the sentence, counted from 0.")
    text: Text | None = Field(default=None, description="In the user's words; a correction says what is right.")

    @model_validator(mode="after")
    def _says_enough(self) -> Self:
        if self.kind == "correction" and self.text is None:
            raise ValueError("a correction needs a text")
        if self.kind == "wrong_citation" and self.sentence is None:
            raise ValueError("wrong_citation needs a sentence")
        if self.citation is not None and self.sentence is None:
            raise ValueError("citation needs a sentence")
        return self


class FeedbackResponse(BaseModel):
    """The feedback as it was stored."""

    id: str
    answer: str
    kind: FeedbackKind


class FeedbackOut(Response):
    """One piece of feedback, and what became of it in review."""

    id: str
    answer_id: str
    kind: FeedbackKind
    sentence: int | None
    citation: int | None
    text: str | None = Field(description="Without the personal data that the privacy policy finds in it.")
    given_by: str
    given_at: datetime
    state: FeedbackState
    reviewed_by: str | None
    reviewed_at: datetime | None
    note: str | None


class FeedbackListResponse(BaseModel):
    """Feedback, newest first."""

    corpus: str
    feedback: list[FeedbackOut]
    after: str | None = Field(description="Pass it as `after` for the next page; null on the last.")
