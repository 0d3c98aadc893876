"""What the ledger gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

ReleaseState = Literal["building", "candidate", "rejected", "live", "retained", "dropped"]


@dataclass(frozen=True, slots=True)
class ReleaseInfo:
    """One release of a corpus. Times are UTC and timezone-aware; ``published_at`` is when it last went live.

    ``table_versions`` maps a lake table to the Delta version it was built from; ``checks`` are the gate's checks
    (the fields of :class:`headwater.reports.GateCheck`); ``reason`` says why it is in its state.
    """

    corpus: str
    number: int
    state: ReleaseState
    parent: int | None
    spec: str
    created_at: datetime
    published_at: datetime | None
    reason: str | None
    table_versions: Mapping[str, int]
    counts: Mapping[str, int]
    checks: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class AnswerRecord:
    """What is needed to reproduce one answer, without any document text.

    ``passages`` are the passages read, best first: ``chunk_id, doc_id, key, revision, start, end, score``.
    ``sentences`` are the answer: ``support``, ``digest`` (of the sentence's text) and ``citations``, each with
    ``doc, key, revision, chunk_id, start, end, page``. The span of the revision in the release gives the words back.
    """

    id: str
    corpus: str
    release: int
    question: str
    asked_at: datetime
    principal: str
    groups: tuple[str, ...]
    method: str
    parameters: Mapping[str, Any]
    passages: tuple[Mapping[str, Any], ...]
    sentences: tuple[Mapping[str, Any], ...]
    refused: bool
    reason: str | None
    seconds: float
