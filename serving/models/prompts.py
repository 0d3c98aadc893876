"""Prompts and their versions."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from serving.models.fields import Response


class PromptVersionOut(Response):
    """One version of a prompt; it never changes."""

    version: int
    text: str
    source: str = Field(description="Where the text is from.")
    added_by: str
    added_at: datetime


class PromptLabelOut(Response):
    """What a label points to. ``live`` is served, or, during an A/B test, every label with a weight to that share."""

    label: str
    version: int
    weight: float | None
    who: str
    reason: str
    at: datetime


class PromptOut(BaseModel):
    """One prompt."""

    name: str
    versions: list[PromptVersionOut] = Field(description="Oldest first.")
    labels: list[PromptLabelOut]


class PromptsResponse(BaseModel):
    """All prompts of a corpus."""

    corpus: str
    prompts: list[PromptOut]
