"""Searching a corpus on behalf of a caller: what the HTTP API and the MCP server have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from starlette.requests import HTTPConnection

from serving.asking import Asker
from serving.logs import note, note_steps
from serving.models import PassageOut, RetrieveResponse
from serving.models.search import ExplanationOut
from serving.shelf import Shelf, on_release

Mode = Literal["hybrid", "dense", "sparse"]


@dataclass(frozen=True, slots=True)
class Search:
    """One search of one corpus. ``groups`` None: those of the caller."""

    corpus: str
    query: str
    k: int
    groups: list[str] | None = None
    filters: Mapping[str, Any] | str | None = None
    release: int | None = None
    mode: Mode = "hybrid"
    merge: bool | None = None
    explain: bool = False


def search(shelf: Shelf, who: Asker, wanted: Search, request: HTTPConnection | None) -> RetrieveResponse:
    """Return the passages found, entered in log and audit log."""
    corpus, principal = shelf.get(who.corpus(wanted.corpus)), who.principal(wanted.groups)
    release, found = on_release(
        corpus,
        wanted.release,
        lambda number: corpus.explain(
            wanted.query,
            wanted.k,
            release=number,
            principal=principal,
            filters=wanted.filters,
            mode=wanted.mode,
            merge=wanted.merge,
        ),
    )
    note(request, corpus=wanted.corpus, release=release, k=wanted.k, results=len(found.passages))
    note_steps(request, wanted.corpus, found.timings, "retrieval")
    who.record("search", corpus=wanted.corpus, release=release, counts={"passages": len(found.passages)})
    return RetrieveResponse(
        corpus=wanted.corpus,
        release=release,
        passages=[PassageOut.model_validate(passage) for passage in found.passages],
        explanation=ExplanationOut.model_validate(found) if wanted.explain else None,
    )
