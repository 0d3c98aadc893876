"""GET /v1/corpora and /v1/releases."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from headwater.api_keys import SCOPES
from headwater.errors import NotFoundError
from headwater.ledger import ReleaseInfo
from serving.access import Caller, caller
from serving.logs import note
from serving.models import CallerCorporaResponse, CorpusName, CorpusOut, Number, ReleaseOut, ReleasesResponse
from serving.problems import RESPONSES
from serving.shelf import NotSearchable, Shelf


def corpus_routes(shelf: Shelf) -> APIRouter:
    """Return the endpoints over the corpora of ``shelf``."""
    router = APIRouter(prefix="/v1", responses=RESPONSES, tags=["corpora"])

    @router.get("/corpora", summary="List the corpora")
    def corpora(who: Annotated[Caller, Depends(caller("search"))]) -> CallerCorporaResponse:
        """Every corpus of this service that the caller may use, with its live release; and what the caller may do."""
        return CallerCorporaResponse(
            corpora=[_corpus(shelf, name) for name in who.visible(shelf.names())],
            scopes=[scope for scope in SCOPES if who.has(scope)],
        )

    @router.get("/releases", summary="List the releases of a corpus")
    def releases(
        request: Request,
        who: Annotated[Caller, Depends(caller("search"))],
        corpus: CorpusName,
        limit: Annotated[int, Query(ge=1, le=1000, description="At most this many releases.")] = 100,
        after: Annotated[
            Number | None, Query(description="Only releases older than this one; for the next page.")
        ] = None,
    ) -> ReleasesResponse:
        """Releases, newest first. Counts, the gate's checks and its reasons are over everybody's documents: they are
        for the scopes ``vouch`` and ``admin``, and empty without.
        """
        found = [info for info in shelf.get(who.corpus(corpus)).releases() if after is None or info.number < after]
        page = found[:limit]
        note(request, corpus=corpus, results=len(page))
        return ReleasesResponse(
            corpus=corpus,
            releases=[_release(info, who) for info in page],
            after=page[-1].number if len(found) > limit else None,
        )

    return router


def _release(info: ReleaseInfo, who: Caller) -> ReleaseOut:
    shown = ReleaseOut.model_validate(info)
    whole = who.has("vouch") or who.has("admin")
    return shown if whole else shown.model_copy(update={"counts": {}, "checks": [], "reason": None})


def _corpus(shelf: Shelf, name: str) -> CorpusOut:
    try:
        corpus = shelf.get(name)
        return CorpusOut(name=name, description=corpus.policy.description, live=corpus.live())
    except (NotSearchable, NotFoundError):
        return CorpusOut(name=name, description="", live=None)
