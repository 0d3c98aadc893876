"""GET /v1/receipts: what became of the objects of a corpus, for whoever may read them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field

from headwater.corpus import readers_of_principal
from headwater.errors import NotFoundError
from headwater.receipts import page_of_receipts
from serving.access import Caller, caller
from serving.logs import note
from serving.models import CorpusName, QueryGroups, Response
from serving.models.fields import Key
from serving.problems import RESPONSES
from serving.shelf import Shelf

State = Literal["indexed", "duplicate", "rejected", "quarantined", "pending"]


class ReceiptOut(Response):
    """What became of one object."""

    key: str = Field(description="Key of the object in the bucket.", examples=["leave.md"])
    doc_id: str
    state: State = Field(description="The end state; pending until a reindex has finished with this revision.")
    reason: str = Field(description="Why, as a stable code.", examples=["exact_duplicate"])
    message: str = Field(description="Why, in plain words.")
    advice: str = Field(description="What to do about it; empty when there is nothing to do.")
    since: datetime | None = Field(description="When this end state was first reached for this revision.")
    modified: datetime = Field(description="When the object was last written.")
    revision: str = Field(description="Digest of the object's bytes.")
    size: int = Field(description="Size of the object in bytes.")
    release: int | None = Field(description="The live release if it holds this revision; else `message` says why.")
    chunks: int
    survivor: str | None = Field(description="Key of the copy that was kept instead of this duplicate.")
    similarity: float | None = Field(description="Jaccard similarity with the survivor, from 0 to 1.")
    requeued: str | None = Field(description="When and why the object was asked to be processed again.")
    parent: str | None = Field(description="Key of the mail that it is attached to.")
    attachments: list[str] = Field(description="Keys of what is attached to it, for a mail.")
    duplicates: list[str] = Field(description="Keys of the copies that were left out for it; the first 100.")


class ReceiptsResponse(Response):
    """Receipts in order of key, and how many objects the end user may see in each state, under the prefix if any."""

    corpus: str
    release: int | None = Field(description="Number of the live release; null before the first.")
    states: dict[State, int]
    receipts: list[ReceiptOut]
    after: str | None = Field(description="Pass it as `after` for the next page; null on the last.")


def receipt_routes(shelf: Shelf) -> APIRouter:
    """Return the endpoint over the corpora of ``shelf``."""
    router = APIRouter(prefix="/v1", responses=RESPONSES)

    @router.get("/receipts", summary="Read receipts", tags=["documents"])
    def receipts(
        request: Request,
        who: Annotated[Caller, Depends(caller("receipts"))],
        corpus: CorpusName,
        key: Annotated[Key | None, Query(description="One object; 404 when there is none.")] = None,
        prefix: Annotated[Key | None, Query(description="Only keys that start so.")] = None,
        state: Annotated[State | None, Query(description="Only objects in this state.")] = None,
        limit: Annotated[int, Query(ge=1, le=1000, description="At most this many receipts.")] = 100,
        after: Annotated[Key | None, Query(description="Only keys behind this one; for the next page.")] = None,
        groups: Annotated[QueryGroups | None, Query()] = None,
    ) -> ReceiptsResponse:
        """What became of the objects of a corpus: searchable, duplicate, rejected or quarantined, why, and what to do.

        Only of objects that the end user may read, in order of key.
        """
        opened = shelf.get(who.corpus(corpus))
        page = page_of_receipts(
            opened.name,
            opened.tables,
            opened.ledger,
            key=key,
            prefix=prefix or "",
            state=state,
            after=after,
            limit=limit,
            readers=readers_of_principal(who.principal(groups)),
        )
        if key is not None and not sum(page.states.values()):
            raise NotFoundError("There is no object of that key that the caller may see.")
        note(request, corpus=corpus, release=page.release, limit=limit, results=len(page.receipts))
        who.record("receipts.read", corpus=corpus, release=page.release, counts={"receipts": len(page.receipts)})
        return ReceiptsResponse(
            corpus=corpus,
            release=page.release,
            states=dict(page.states),
            receipts=[ReceiptOut.model_validate(receipt) for receipt in page.receipts],
            after=page.after,
        )

    return router
