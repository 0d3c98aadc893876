"""POST /v1/retrieve."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from serving.access import Caller, caller
from serving.models import RetrieveRequest, RetrieveResponse
from serving.models.filters import plain
from serving.problems import RESPONSES
from serving.searching import Search, search
from serving.shelf import Shelf


def search_routes(shelf: Shelf) -> APIRouter:
    """Return the endpoint over the corpora of ``shelf``."""
    router = APIRouter(prefix="/v1", responses=RESPONSES, tags=["search"])

    @router.post("/retrieve", summary="Find passages", response_model=RetrieveResponse)
    def retrieve(
        request: Request, body: RetrieveRequest, who: Annotated[Caller, Depends(caller("search"))]
    ) -> Response:
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
        # Written out here, in this thread: FastAPI would check once more what was checked when it was made.
        found = search(shelf, who, wanted, request)
        return Response(found.model_dump_json(), media_type="application/json")

    return router
