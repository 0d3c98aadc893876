"""POST /v1/retrieve."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from serving.access import Caller, caller
from serving.models import RetrieveRequest, RetrieveResponse
from serving.models.filters import plain
from serving.problems import RESPONSES
from serving.searching import Search, search
from serving.shelf import Shelf


def search_routes(shelf: Shelf) -> APIRouter:
    """Return the endpoint over the corpora of ``shelf``."""
    router = APIRouter(prefix="/v1", responses=RESPONSES, tags=["search"])

    @router.post("/retrieve", summary="Find passages")
    def retrieve(
        request: Request, body: RetrieveRequest, who: Annotated[Caller, Depends(caller("search"))]
    ) -> RetrieveResponse:
        """Passages that the end user may read, best first, all from one release."""
        wanted = Search(
            corpus=body.corpus,
            query=body.query,
            k=body.k,
            groups=body.groups,
            filters=plain(body.filters),
            release=body.release,
            mode=body.mode,
            merge=body.merge,
            explain=body.explain,
        )
        return search(shelf, who, wanted, request)

    return router
