"""Corpora and their releases."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from headwater.api_keys import Scope
from serving.models.fields import Response


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
    state: Literal["building", "candidate", "rejected", "live", "retained", "dropped", "restoring"]
    parent: int | None
    created_at: datetime
    published_at: datetime | None
    reason: str | None
    counts: dict[str, int]
    checks: list[CheckOut]


class ReleasesResponse(Response):
    """Releases, newest first."""

    corpus: str
    releases: list[ReleaseOut]
    after: int | None = Field(description="Pass it as `after` for the next page; null on the last.")


class CorpusOut(BaseModel):
    """One corpus that can be asked."""

    name: str
    description: str
    live: int | None = Field(description="Number of the live release; null before the first.")


class CorporaResponse(BaseModel):
    """All corpora of this service."""

    corpora: list[CorpusOut]


class CallerCorporaResponse(CorporaResponse):
    """All corpora that a caller may use, and what it may do with them."""

    scopes: list[Scope] = Field(description="What the caller's credentials may do.")
