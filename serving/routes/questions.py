"""GET /v1/unanswered-questions: what people ask and the documents don't say, for the owners of documents."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, TypeVar

import anyio.to_thread
from anyio import CapacityLimiter
from cachetools import TTLCache
from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field
from starlette.exceptions import HTTPException

from headwater.answer_log.gaps import Gap, find_gaps
from headwater.corpus import Corpus, readers_of_principal
from headwater.ledger import Pointer
from serving.access import Caller, caller
from serving.logs import note
from serving.models import CorpusName, QueryGroups, Response
from serving.places import Places, TooManyAnswers
from serving.problems import RESPONSES
from serving.shelf import Shelf

MOST_GROUPS = 200
"""Groups that are looked at, the largest: a page is for people, and each takes a search for its nearest document."""

_SECONDS = 60.0
"""How long a list is kept: its pages are parts of one, and many readers cost one comparison of questions."""

_LISTS = 8
"""Lists kept per corpus, for different periods and readers."""

_THREADS = 2
"""Lists that are worked out at once: comparing thousands of questions takes seconds of a core, and searches go on."""

_MOST, _MOST_OF_ONE = 8, 4
"""Requests for lists that are at work or wait, of all callers and of one; others are asked to come back."""

_RETRY_SECONDS = 5

T = TypeVar("T")

Place = Annotated[
    str | None,
    Query(pattern="^[0-9]{1,9}~[A-Za-z0-9_-]{1,64}$", max_length=80, description="The `after` of the page before."),
]


class UnansweredQuestionOut(Response):
    """Questions about the same that got no good answer."""

    question: str = Field(description="The one most like all of them, without the personal data found in it.")
    answer_id: str = Field(description="Id of the answer that it got.")
    terms: list[str] = Field(description="Words that tell these questions from others.")
    asked: int = Field(description="How often it was asked.")
    refused: int = Field(description="How often that was refused.")
    best_support: float | None = Field(description="Best support that an answer had; null when all were refused.")
    last_asked: datetime
    nearest: str | None = Field(
        description="Key of the document that comes nearest, of those that the end user may read."
    )
    similarity: float | None = Field(description="Cosine of the question and the nearest passage of that document.")


class UnansweredQuestionsResponse(Response):
    """Groups of questions, the one that was asked most often first."""

    corpus: str
    days: int = Field(description="The period that was looked at, up to now.")
    questions: list[UnansweredQuestionOut]
    after: str | None = Field(description="Pass it as `after` for the next page; null on the last.")


def question_routes(shelf: Shelf) -> APIRouter:
    """Return the endpoint over the corpora of ``shelf``."""
    router = APIRouter(prefix="/v1", responses=RESPONSES, tags=["questions"])
    lists = _Lists()
    desk = _Desk()

    @router.get("/unanswered-questions", summary="List what people ask and the documents don't say")
    async def unanswered(
        request: Request,
        who: Annotated[Caller, Depends(caller("questions"))],
        corpus: CorpusName,
        days: Annotated[
            int | None, Query(ge=1, le=3650, description="Only the last so many days; default: `monitor.window_days`.")
        ] = None,
        limit: Annotated[int, Query(ge=1, le=MOST_GROUPS, description="At most this many groups.")] = 50,
        after: Place = None,
        groups: Annotated[QueryGroups | None, Query()] = None,
    ) -> UnansweredQuestionsResponse:
        """Questions that were refused, or answered with little support, those about the same together.

        They are everybody's questions, whoever asked them, so this takes a scope of its own. Personal data was taken out
        before they were stored; what could not be stored is left out. At most 200 groups, and up to a minute old.
        """
        name, readers = who.corpus(corpus), readers_of_principal(who.principal(groups))

        def listed() -> tuple[int, list[Gap]]:
            opened = shelf.get(name)
            period = days or opened.policy.monitor.window_days
            return period, lists.get(opened, period, readers)

        period, gaps = await desk.work(who.id, listed)
        found = [gap for gap in gaps if after is None or _order(gap) > _place(after)]
        page = found[:limit]
        note(request, corpus=corpus, limit=limit, results=len(page))
        who.record("questions.read", corpus=corpus, counts={"questions": len(page)})
        return UnansweredQuestionsResponse(
            corpus=corpus,
            days=period,
            questions=[UnansweredQuestionOut.model_validate(gap) for gap in page],
            after=f"{page[-1].asked}~{page[-1].answer_id}" if len(found) > limit else None,
        )

    return router


class _Desk:
    """Works in threads of its own, so that what is slow here holds none of those that everything else goes through."""

    def __init__(self) -> None:
        self._places = Places(_MOST, _MOST_OF_ONE)
        self._threads: CapacityLimiter | None = None

    async def work(self, who: str, task: Callable[[], T]) -> T:
        """Return ``task()``. Raises HTTPException 503 when too many wait, those of the caller or all."""
        if self._threads is None:
            self._threads = CapacityLimiter(_THREADS)
        try:
            with self._places.taken(who):
                return await anyio.to_thread.run_sync(task, limiter=self._threads)
        except TooManyAnswers:
            detail = "As many of these lists are being worked out as this service takes on at once. Try again."
            raise HTTPException(503, detail, {"Retry-After": str(_RETRY_SECONDS)}) from None


class _Lists:
    """The lists that were worked out lately, of the releases that are live now. Thread-safe; one at a time of a corpus."""

    def __init__(self) -> None:
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._held: dict[str, tuple[Pointer, TTLCache[tuple[int, frozenset[str]], list[Gap]]]] = {}

    def get(self, corpus: Corpus, days: int, readers: frozenset[str]) -> list[Gap]:
        """Return the groups of questions in the order of pages."""
        with self._locks[corpus.name]:
            pointer = corpus.pointer()
            known = self._held.get(corpus.name)
            # It moves when a document is erased or a permission taken away, too: what was held of before goes with it.
            if known is None or known[0] != pointer:
                known = self._held[corpus.name] = (pointer, TTLCache(_LISTS, _SECONDS))
            kept = known[1]
            found = kept.get((days, readers))
            if found is None:
                found = sorted(find_gaps(corpus, days=days, limit=MOST_GROUPS, readers=readers), key=_order)
                kept[days, readers] = found
            return found


def _order(gap: Gap) -> tuple[int, str]:
    return -gap.asked, gap.answer_id


def _place(after: str) -> tuple[int, str]:
    asked, _, answer = after.partition("~")
    return -int(asked), answer
