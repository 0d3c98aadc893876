"""What the ledger gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

ReleaseState = Literal["building", "candidate", "rejected", "live", "retained", "dropped", "restoring"]


@dataclass(frozen=True, slots=True)
class ReleaseInfo:
    """One release of a corpus. Times are UTC and timezone-aware; ``published_at`` is when it last went live.

    ``table_versions`` maps a lake table to the Delta version it was built from; ``checks`` are the gate's checks
    (the fields of :class:`headwater.reports.GateCheck`); ``reason`` says why it is in its state.

    ``settings`` is what a reader needs to search the release. ``readers_version`` is the Delta version of
    ``source_objects`` up to which permission changes have reached it. ``redacted``: its points were changed in place,
    so a release staged from it must be compared with what the engine holds, not with the manifest.
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
    settings: Mapping[str, Any]
    readers_version: int | None
    redacted: bool


@dataclass(frozen=True, slots=True)
class Pointer:
    """What a reader follows: the live release (None before the first), and a number that grows when releases that
    may be open were changed in place."""

    live: int | None
    generation: int


@dataclass(frozen=True, slots=True)
class Pin:
    """The release that a rollback went to, why and when (UTC); while there is one, nothing else goes live by itself."""

    release: int
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class ErasureRecord:
    """One erased document: the tombstone of its object, and the receipt of what was removed.

    ``etag``, ``size`` and ``last_modified`` are the object's as it was listed when it was erased, None where unknown.
    ``lifted_at`` is when the object was found gone or changed, so that its key may be indexed again.
    """

    id: str
    corpus: str
    key: str
    doc_id: str
    revision: str | None
    etag: str | None
    size: int | None
    last_modified: datetime | None
    receipt: Mapping[str, Any]
    erased_at: datetime
    lifted_at: datetime | None


@dataclass(frozen=True, slots=True)
class RevealRecord:
    """One time that encrypted personal data was opened: who did, when (UTC), why, in which documents (their ids), and
    how many values of each entity; never the values."""

    id: str
    corpus: str
    revealed_at: datetime
    who: str
    reason: str
    entities: Mapping[str, int]
    documents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnswerRecord:
    """What is needed to reproduce one answer, without any document text.

    ``passages`` are the passages read, best first: ``chunk_id, doc_id, key, revision, start, end, score``.
    ``sentences`` are the answer: ``support``, ``verdict``, ``digest`` and ``characters`` (of the sentence's text),
    ``alignments`` (``start, end, citation, source_start, source_end``) and ``citations``, each with ``doc, key,
    revision, chunk_id, start, end, page``. The span of the revision in the release gives the words back.

    ``question`` and ``searched`` are free of personal data. The rest is as in :class:`headwater.types.Answer`; tokens
    and cost are None where no language model was asked.
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
    searched: str = ""
    prompt: str | None = None
    model: str | None = None
    fallback: str | None = None
    dropped: tuple[str, ...] = ()
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost: float | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    conversation: str | None = None
    turn: int = 0
    cached: bool = False


FeedbackKind = Literal["thumbs_up", "thumbs_down", "correction", "wrong_citation"]
FeedbackState = Literal["open", "promoted", "dismissed"]


@dataclass(frozen=True, slots=True)
class FeedbackRecord:
    """What a caller (``given_by``, an id) said of an answer, and what a reviewer made of it.

    ``sentence`` and ``citation`` count from 0, None where the whole answer is meant. ``text`` is free of personal data.
    ``state``: ``open`` waits for review, ``promoted`` became a golden question, ``dismissed`` did not; ``note`` says why.
    """

    id: str
    answer_id: str
    corpus: str
    kind: FeedbackKind
    sentence: int | None
    citation: int | None
    text: str | None
    given_by: str
    given_at: datetime
    state: FeedbackState
    reviewed_by: str | None
    reviewed_at: datetime | None
    note: str | None
