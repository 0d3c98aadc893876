"""What administers, under /v1/admin: releases, keys and the audit log, for callers with the scope ``admin`` alone."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from headwater import releases
from headwater.api_keys import KeyLimits, Scope
from headwater.audit import audited
from headwater.dates import in_utc
from headwater.errors import ReleaseError
from headwater.ledger import Ledger
from headwater.ledger.audit import Outcome
from serving.access.access import Access
from serving.access.callers import Caller, Forbidden
from serving.access.dependency import caller
from serving.models import CorpusName, Number, has_no_nul
from serving.problems import RESPONSES
from serving.shelf import Shelf

Admin = Annotated[Caller, Depends(caller("admin"))]
Reason = Annotated[
    str,
    Field(min_length=1, max_length=500, description="Why; kept with the release.", examples=["Wrong pay bands."]),
    AfterValidator(has_no_nul),
]
Corpus = Annotated[str, Path(min_length=1, max_length=64)]
Moment = Annotated[AwareDatetime, AfterValidator(in_utc)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RollbackRequest(_Body):
    """Which release to go back to."""

    release: Number | None = Field(default=None, description="A retained release; default: the newest before live.")
    reason: Reason


class PromoteRequest(_Body):
    """Which release to make live."""

    release: Number
    reason: Reason
    force: bool = Field(default=False, description="Although it failed the gate.")


class LiveResponse(BaseModel):
    """Which release answers now, and which did before."""

    corpus: str
    live: int
    previous: int | None


class AuditEntryOut(BaseModel):
    """One action."""

    model_config = ConfigDict(from_attributes=True)
    id: str
    at: datetime
    who: str
    action: str = Field(examples=["release.promote"])
    corpus: str | None
    release: int | None
    target: str | None = Field(description="Id of what it was done to.")
    outcome: Outcome
    counts: dict[str, int]
    request_id: str | None


class AuditResponse(BaseModel):
    """Entries of the audit log, newest first."""

    entries: list[AuditEntryOut]


class KeyOut(BaseModel):
    """An API key, without its secret."""

    model_config = ConfigDict(from_attributes=True)
    id: str
    name: str
    scopes: list[Scope]
    groups: list[str]
    corpora: list[str] | None = Field(description="Null: every corpus.")
    limits: KeyLimits
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    previous_until: datetime | None = Field(description="Until when the secret from before the last rotation works.")
    last_used_at: datetime | None = Field(description="May lag by a minute.")


class KeysResponse(BaseModel):
    """Every key that ever was, newest first."""

    keys: list[KeyOut]


def admin_routes(shelf: Shelf, access: Access) -> APIRouter:
    """Return the endpoints over the corpora of ``shelf`` and the keys and audit log of ``access``."""
    conflict: dict[int | str, dict[str, Any]] = {
        409: {**RESPONSES[404], "description": "The release can't be made live; `detail` says why."}
    }
    router = APIRouter(prefix="/v1/admin", tags=["administration"], responses=RESPONSES)

    @router.post("/corpora/{corpus}/rollback", summary="Go back to an older release", responses=conflict)
    def rollback(corpus: Corpus, body: RollbackRequest, who: Admin) -> LiveResponse:
        """Make a retained release live at once. Reindexes then leave live alone until a release is promoted."""
        opened = shelf.get(who.corpus(corpus))
        before = opened.ledger.live(opened.name)
        try:
            live = releases.rollback(opened, body.release, reason=body.reason, who=who.id)
        except ReleaseError as error:
            raise HTTPException(409, str(error)) from error
        return LiveResponse(corpus=corpus, live=live, previous=before)

    @router.post("/corpora/{corpus}/promote", summary="Make a release live", responses=conflict)
    def promote(corpus: Corpus, body: PromoteRequest, who: Admin) -> LiveResponse:
        """Make live a release that a rollback held back, or (with ``force``) one that failed the gate."""
        opened = shelf.get(who.corpus(corpus))
        before = opened.ledger.live(opened.name)
        try:
            releases.promote(opened, body.release, reason=body.reason, force=body.force, who=who.id)
        except ReleaseError as error:
            raise HTTPException(409, str(error)) from error
        return LiveResponse(corpus=corpus, live=body.release, previous=before)

    @router.get("/audit", summary="Read the audit log")
    def audit(
        who: Admin,
        corpus: CorpusName | None = None,
        since: Annotated[Moment | None, Query(description="Only from then on; with a time zone.")] = None,
        action: Annotated[
            str | None,
            Query(max_length=64, pattern="^[a-z.]+$", description="Such as answer, or release for all of them."),
        ] = None,
        caller_id: Annotated[
            str | None, Query(max_length=300, description="Only of this caller."), AfterValidator(has_no_nul)
        ] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> AuditResponse:
        """Who did what, when, to which corpus and release, and how much. Never any text."""
        if corpus is not None:
            who.corpus(corpus)
        elif not who.sees_all:
            raise HTTPException(422, "These credentials are for some corpora only: name one with ?corpus=NAME.")
        found = _ledger(access).audit_entries(corpus=corpus, since=since, who=caller_id, action=action, limit=limit)
        return AuditResponse(entries=[AuditEntryOut.model_validate(entry) for entry in found])

    @router.get("/keys", summary="List the API keys")
    def keys(who: Admin) -> KeysResponse:
        """Every key that ever was, without secrets."""
        _require_all(who)
        return KeysResponse(keys=[KeyOut.model_validate(key) for key in _ledger(access).api_keys()])

    @router.post("/keys/{key}/revoke", summary="End an API key")
    def revoke(
        key: Annotated[str, Path(min_length=1, max_length=200), AfterValidator(has_no_nul)], who: Admin
    ) -> KeyOut:
        """End a key, by id or name, for good: within a second nothing accepts it any more."""
        _require_all(who)
        ledger = _ledger(access)
        with audited(ledger, "key.revoke", who=who.id) as noted:
            revoked = ledger.revoke_api_key(key)
            noted.add(target=revoked.id)
        return KeyOut.model_validate(revoked)

    return router


def _ledger(access: Access) -> Ledger:
    if access.ledger is None:
        raise HTTPException(503, "This service runs without a ledger of its own: it has no API keys and no audit log.")
    return access.ledger


def _require_all(who: Caller) -> None:
    if not who.sees_all:
        raise Forbidden("Keys are administered by credentials for every corpus.", "admin")
