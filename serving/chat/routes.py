"""POST /v1/chat/completions and GET /v1/models."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends, Path, Request
from starlette.exceptions import HTTPException

from headwater.answering.events import AnswerEvent, Finished, Restarted, SentenceReady, Started
from headwater.injection import clean_question
from headwater.types import Answer, Citation
from serving.access import Caller, caller
from serving.asking import Asked, answer, answer_events
from serving.chat.errors import OPENAI_RESPONSES, OpenAiRoute, in_openai_shape
from serving.chat.models import (
    PREFIX,
    AssistantMessage,
    ChatRequest,
    ChatResponse,
    ChatUsage,
    Choice,
    ModelList,
    ModelOut,
    chunk,
)
from serving.chat.writing import Writing, question_of
from serving.groups import named_groups
from serving.models.answers import AnswerResponse
from serving.models.filters import plain
from serving.places import in_place
from serving.problems import answer_to, request_id_of
from serving.shelf import NotSearchable, Shelf
from serving.streaming import EVENT_STREAM, HEARTBEAT, EventStream, Followed, event

STREAMED: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            EVENT_STREAM: {
                "schema": {
                    "type": "object",
                    "properties": {
                        "data": {"type": "string", "description": "A `chat.completion.chunk`, or `[DONE]` at the end."}
                    },
                    "required": ["data"],
                }
            }
        }
    }
}


def chat_routes(shelf: Shelf) -> APIRouter:
    """Return the endpoints over the corpora of ``shelf``."""
    router = APIRouter(prefix="/v1", responses=OPENAI_RESPONSES, tags=["chat"], route_class=OpenAiRoute)

    @router.get("/models", summary="List the corpora as models")
    def models(who: Annotated[Caller, Depends(caller("answer"))]) -> ModelList:
        """One model per corpus that the caller may ask, named `headwater/` and the corpus."""
        return ModelList(data=[_model(shelf, name) for name in who.visible(shelf.names())])

    @router.get("/models/{name:path}", summary="One corpus as a model")
    def model(
        name: Annotated[str, Path(max_length=100)], who: Annotated[Caller, Depends(caller("answer"))]
    ) -> ModelOut:
        """The model of one corpus."""
        corpus = who.corpus(name.removeprefix(PREFIX))
        shelf.get(corpus)
        return _model(shelf, corpus)

    @router.post(
        "/chat/completions",
        summary="Answer a chat",
        response_model=ChatResponse,
        responses=STREAMED,
    )
    async def complete(
        request: Request, body: ChatRequest, who: Annotated[Caller, Depends(caller("answer"))]
    ) -> ChatResponse | EventStream:
        """An answer to the last message, with [1] markers, `annotations`, and the verified structure in `headwater`.

        Earlier messages of user and assistant are the conversation; system messages have no effect. With `stream`,
        every piece is a verified sentence.
        """
        question, history = question_of(body.messages)
        try:
            question = clean_question(question)
        except ValueError as error:
            raise HTTPException(422, f"The last message {error}.") from None
        asked = Asked(
            corpus=body.model.removeprefix(PREFIX),
            question=question,
            groups=body.groups if body.groups is not None else named_groups(request),
            history=history,
            filters=plain(body.filters),
            conversation=body.conversation,
        )
        if body.stream:
            followed = Followed(who.id, answer_events(shelf, who, asked, request))
            first = await followed.first()
            usage = body.stream_options is not None and bool(body.stream_options.include_usage)

            def writing_of(release: int) -> Writing:
                return Writing(_addresses(request, asked.corpus, release))

            sent = _sent(followed, first, body.model, writing_of, request_id_of(request), usage)
            return EventStream.of(followed, sent)
        found = await in_place(who.id, lambda: answer(shelf, who, asked, request))
        return _completion(found, body.model, Writing(_addresses(request, asked.corpus, found.release)))

    return router


def _model(shelf: Shelf, name: str) -> ModelOut:
    try:
        corpus = shelf.get(name)
        live = corpus.live()
        published = corpus.ledger.release(corpus.name, live).published_at if live is not None else None
    except NotSearchable:
        published = None
    return ModelOut(id=f"{PREFIX}{name}", created=int(published.timestamp()) if published else 0)


def _addresses(request: Request, corpus: str, release: int) -> Callable[[Citation], str]:
    """Return the function that gives the address at which the cited span of a document can be read."""
    base = str(request.base_url).rstrip("/")

    def url_of(citation: Citation) -> str:
        span = urlencode({"corpus": corpus, "release": release, "start": citation.start, "end": citation.end})
        return f"{base}/v1/documents/{quote(citation.doc, safe='')}?{span}"

    return url_of


def _completion(found: Answer, model: str, writing: Writing) -> ChatResponse:
    content, annotations = "", []
    for sentence in found.sentences:
        text, cited = writing.sentence(sentence)
        content += text
        annotations += cited
    message = AssistantMessage(
        content=(content + writing.sources()) if not found.refused else found.reason or "",
        refusal=found.reason if found.refused else None,
        annotations=annotations,
        headwater=AnswerResponse.model_validate(found),
    )
    return ChatResponse(
        id=_name(found.id),
        created=int(time.time()),
        model=model,
        choices=[Choice(message=message)],
        usage=_usage(found),
        system_fingerprint=_fingerprint(found),
    )


async def _sent(
    followed: Followed[AnswerEvent],
    first: AnswerEvent | None,
    model: str,
    writing_of: Callable[[int], Writing],
    request_id: str,
    usage: bool,
) -> AsyncIterator[bytes]:
    created = int(time.time())
    name, writing = "", writing_of(0)  # until Started, with which every answer begins

    def piece(delta: dict[str, Any] | None, **more: Any) -> bytes:
        return event(None, json.dumps(chunk(name, created, model, delta, **more)))

    try:
        async for found in followed.events(first):
            match found:
                case None:
                    yield HEARTBEAT
                case Started():
                    name, writing = _name(found.id), writing_of(found.release)
                    yield piece({"role": "assistant", "content": ""})
                case SentenceReady():
                    text, cited = writing.sentence(found.sentence)
                    yield piece({"content": text, "annotations": [mark.model_dump() for mark in cited]})
                case Restarted():
                    yield piece({"content": writing.again()})
                case Finished():
                    done = found.answer
                    if last := (done.reason or "") if done.refused else writing.sources():
                        yield piece({"content": last})
                    structure = AnswerResponse.model_validate(done).model_dump(mode="json")
                    whole = {"headwater": structure} | ({"refusal": done.reason} if done.refused else {})
                    yield piece(whole, finish="stop", system_fingerprint=_fingerprint(done))
                    if usage:
                        yield piece(None, usage=_usage(done).model_dump())
    except Exception as error:
        yield event(None, bytes(in_openai_shape(answer_to(error, request_id)).body).decode())
        return
    yield event(None, "[DONE]")


def _name(answer_id: str) -> str:
    return f"chatcmpl-{answer_id}"


def _fingerprint(found: Answer) -> str:
    return f"release-{found.release}"


def _usage(found: Answer) -> ChatUsage:
    read = found.usage.prompt_tokens if found.usage else 0
    written = found.usage.completion_tokens if found.usage else 0
    return ChatUsage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)
