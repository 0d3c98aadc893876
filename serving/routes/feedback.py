"""POST and GET /v1/feedback."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.exceptions import HTTPException

from headwater.dates import in_utc
from headwater.ledger.records import AnswerRecord, FeedbackRecord, FeedbackState
from serving.access import Caller, caller
from serving.idempotency import IdempotencyKey, Responses
from serving.idempotency import Request as KeyedRequest
from serving.logs import note, note_feedback
from serving.models import CorpusName, FeedbackListResponse, FeedbackOut, FeedbackRequest, FeedbackResponse
from serving.models.fields import Cursor
from serving.problems import CONFLICT, RESPONSES
from serving.routes.answers import record_of
from serving.shelf import Shelf


def feedback_routes(shelf: Shelf) -> APIRouter:
    """Return the endpoints over the corpora of ``shelf``."""
    router = APIRouter(prefix="/v1", responses=RESPONSES, tags=["feedback"])
    responses = Responses()

    @router.post("/feedback", summary="Say how an answer was", response_model=FeedbackResponse, responses=CONFLICT)
    def give(
        request: Request,
        body: FeedbackRequest,
        who: Annotated[Caller, Depends(caller("feedback"))],
        key: IdempotencyKey = None,
    ) -> FeedbackResponse | Response:
        """A vote, a correction or a wrong citation, by the caller who asked for the answer.

        What a caller says of an answer again replaces what it said before. Personal data is taken out of the text
        before it is stored. A person reviews it; what is right becomes a question of the golden set.
        """
        record = record_of(shelf, who, body.answer)

        def respond() -> FeedbackResponse:
            _check(body, record)
            corpus = shelf.get(record.corpus)
            name = corpus.ledger.record_feedback(
                body.answer,
                body.kind,
                by=who.id,
                sentence=body.sentence,
                citation=body.citation,
                text=None if body.text is None else corpus.scrub(body.text),
            )
            note(request, answer=body.answer, feedback=name)
            note_feedback(request, record.corpus, body.kind)
            who.record("feedback", corpus=record.corpus, release=record.release, target=body.answer)
            return FeedbackResponse(id=name, answer=body.answer, kind=body.kind)

        if key is None:
            return respond()
        return responses.once(KeyedRequest.of(who.id, "feedback", key, body), (record.corpus, None), respond)

    @router.get("/feedback", summary="List feedback")
    def feedback(
        request: Request,
        who: Annotated[Caller, Depends(caller("admin"))],
        corpus: CorpusName,
        state: Annotated[FeedbackState | None, Query(description="Only what is in this state.")] = None,
        limit: Annotated[int, Query(ge=1, le=1000, description="At most this many.")] = 100,
        after: Annotated[Cursor | None, Query(description="The `after` of the page before.")] = None,
    ) -> FeedbackListResponse:
        """What was said of a corpus' answers, newest first, for the people who run it."""
        ledger = shelf.get(who.corpus(corpus)).ledger
        found = ledger.feedback(corpus, state=state, before=_place(after), limit=limit + 1)
        page = found[:limit]
        note(request, corpus=corpus, limit=limit, results=len(page))
        return FeedbackListResponse(
            corpus=corpus,
            feedback=[FeedbackOut.model_validate(record) for record in page],
            after=_cursor(page[-1]) if len(found) > limit else None,
        )

    return router


def _check(body: FeedbackRequest, record: AnswerRecord) -> None:
    """Raise 422 for a sentence or citation that the answer doesn't have."""
    if body.sentence is None:
        return
    if body.sentence >= len(record.sentences):
        raise HTTPException(422, "The answer has no sentence of that number; they count from 0.")
    if body.citation is not None and body.citation >= len(record.sentences[body.sentence]["citations"]):
        raise HTTPException(422, "The sentence has no citation of that number; they count from 0.")


def _cursor(record: FeedbackRecord) -> str:
    return f"{record.given_at.isoformat()}~{record.id}"


def _place(cursor: str | None) -> tuple[datetime, str] | None:
    """Return the place that a cursor stands for; 422 for one that this service never gave."""
    if cursor is None:
        return None
    at, _, name = cursor.partition("~")
    try:
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is not None and name.isalnum():
            return in_utc(moment), name
    except ValueError:
        pass
    raise HTTPException(422, "`after` is not the cursor of a page; take it from the page before.")
