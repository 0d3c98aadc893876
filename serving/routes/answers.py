"""POST /v1/answer and /v1/answer/stream, GET /v1/answers/{id}."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel

from headwater.answering.events import AnswerEvent, Finished, Restarted, SentenceDropped, SentenceReady, Started
from headwater.corpus import Corpus, readers_of_principal
from headwater.documents import readable_documents
from headwater.errors import NotFoundError
from headwater.hashing import digest
from headwater.ledger import AnswerRecord
from headwater.types import Principal
from serving.access import Caller, caller
from serving.asking import Asked, answer, answer_events
from serving.idempotency import IdempotencyKey, Responses
from serving.idempotency import Request as KeyedRequest
from serving.logs import note
from serving.models import (
    AnswerRecordOut,
    AnswerRequest,
    AnswerResponse,
    DroppedOut,
    Problem,
    RestartOut,
    SentenceOut,
    StartOut,
)
from serving.models.fields import AnswerId
from serving.models.filters import plain
from serving.places import in_place
from serving.problems import CONFLICT, RESPONSES, answer_to, request_id_of
from serving.shelf import Shelf
from serving.streaming import HEARTBEAT, EventStream, Followed, described, event

EVENTS: dict[str, type[BaseModel]] = {
    "start": StartOut,
    "sentence": SentenceOut,
    "dropped": DroppedOut,
    "restart": RestartOut,
    "done": AnswerResponse,
    "error": Problem,
}


def answer_routes(shelf: Shelf) -> APIRouter:
    """Return the endpoints over the corpora of ``shelf``."""
    router = APIRouter(prefix="/v1", responses=RESPONSES, tags=["answers"])
    responses = Responses()

    @router.post("/answer", summary="Answer a question", response_model=AnswerResponse, responses=CONFLICT)
    async def answer_once(
        request: Request,
        body: AnswerRequest,
        who: Annotated[Caller, Depends(caller("answer"))],
        key: IdempotencyKey = None,
    ) -> AnswerResponse | Response:
        """An answer whose every sentence is tied to spans of documents that the end user may read, or a refusal."""

        def respond() -> AnswerResponse:
            return AnswerResponse.model_validate(answer(shelf, who, asked(body), request))

        def respond_once() -> AnswerResponse | Response:
            if key is None:
                return respond()
            who.principal(body.groups)  # a replay is for those who may ask, too
            # Its groups belong to who a caller is: one that was taken out of a group must not be given what it read
            # there.
            reader = digest(who.id, *sorted(who.groups))
            corpus = shelf.get(who.corpus(body.corpus))
            state = (body.corpus, corpus.ledger.pointer(body.corpus).generation)
            return responses.once(KeyedRequest.of(reader, "answer", key, body), state, respond)

        return await in_place(who.id, respond_once)

    @router.post(
        "/answer/stream",
        summary="Answer a question, sentence by sentence",
        response_class=EventStream,
        responses=described(EVENTS),
    )
    async def answer_stream(
        request: Request, body: AnswerRequest, who: Annotated[Caller, Depends(caller("answer"))]
    ) -> EventStream:
        """The answer as server-sent events: `start`, then `sentence` and `dropped`, then `done` with the answer as
        /v1/answer gives it.

        A `restart` takes back the sentences sent so far. An `error` ends the stream without an answer; it is the only
        event where it comes before `start`. Comments keep a quiet connection open, also before `start`. Every sentence
        was verified before it is sent; closing the connection ends the work.
        """
        followed = Followed(who.id, answer_events(shelf, who, asked(body), request))
        first = await followed.first()
        return EventStream.of(followed, _sent(followed, first, request_id_of(request)))

    @router.get("/answers/{answer_id}", summary="Read the record of an answer")
    def record(
        request: Request,
        answer_id: Annotated[AnswerId, Path()],
        who: Annotated[Caller, Depends(caller("answer"))],
    ) -> AnswerRecordOut:
        """What the ledger keeps of an answer, for the caller who asked for it, and for administrators.

        Passages and citations of documents that may not be read any more are left out, except for administrators.
        """
        found = record_of(shelf, who, answer_id)
        if not who.has("admin"):
            found = _as_readable_now(shelf.get(found.corpus), found)
        note(request, corpus=found.corpus, release=found.release, answer=found.id)
        return AnswerRecordOut.model_validate(found)

    return router


def asked(body: AnswerRequest) -> Asked:
    """Return a request's question as the library takes it."""
    return Asked(
        corpus=body.corpus,
        question=body.question,
        groups=body.groups,
        history=tuple(turn.turn() for turn in body.history),
        filters=plain(body.filters),
        conversation=body.conversation,
        release=body.release,
    )


def record_of(shelf: Shelf, who: Caller, answer_id: str) -> AnswerRecord:
    """Return the record of an answer that ``who`` asked for; NotFoundError for any other, unless it administers.

    One that was taken out of a group must not be told what it read there, unless it vouches for end users.
    """
    found = shelf.answer(answer_id)
    if found is None or not who.sees(found.corpus) or not (who.has("admin") or _is_own(found, who)):
        raise NotFoundError("There is no such answer, or it was asked by somebody else.")
    return found


def _is_own(found: AnswerRecord, who: Caller) -> bool:
    return found.principal == who.id and (who.has("vouch") or who.groups.issuperset(found.groups))


def _as_readable_now(corpus: Corpus, found: AnswerRecord) -> AnswerRecord:
    """Return the record without what points to documents that the groups it was asked with may not read now."""
    cited = {citation["doc"] for sentence in found.sentences for citation in sentence["citations"]}
    read = cited.union(passage["doc_id"] for passage in found.passages)
    readers = readers_of_principal(Principal(groups=frozenset(found.groups)))
    readable = readable_documents(corpus, read, readers, found.release)
    return replace(
        found,
        passages=tuple(passage for passage in found.passages if passage["doc_id"] in readable),
        sentences=tuple(of_documents(sentence, readable) for sentence in found.sentences),
    )


def of_documents(sentence: Mapping[str, Any], readable: Collection[str]) -> Mapping[str, Any]:
    """Return a record's sentence with its citations of these documents alone."""
    kept = [number for number, citation in enumerate(sentence["citations"]) if citation["doc"] in readable]
    return {
        **sentence,
        "citations": [sentence["citations"][number] for number in kept],
        "alignments": [
            {**part, "citation": kept.index(part["citation"])}
            for part in sentence.get("alignments", ())
            if part["citation"] in kept
        ],
    }


async def _sent(followed: Followed[AnswerEvent], first: AnswerEvent | None, request_id: str) -> AsyncIterator[bytes]:
    try:
        async for found in followed.events(first):
            yield HEARTBEAT if found is None else _event(found)
    except Exception as error:
        yield event("error", bytes(answer_to(error, request_id).body).decode())


def _event(found: AnswerEvent) -> bytes:
    match found:
        case Started():
            return event("start", StartOut.model_validate(found))
        case SentenceReady():
            return event("sentence", SentenceOut.model_validate(found.sentence))
        case SentenceDropped():
            return event("dropped", DroppedOut.model_validate(found))
        case Restarted():
            return event("restart", RestartOut.model_validate(found))
        case Finished():
            return event("done", AnswerResponse.model_validate(found.answer))
