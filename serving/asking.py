"""Asking a corpus on behalf of a caller: what the HTTP API, the chat API and the MCP server have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.requests import HTTPConnection

from headwater.answering.events import AnswerEvent, Finished, SentenceReady, Started
from headwater.answering.generation import bounded
from headwater.answering.generation.budget import estimate
from headwater.corpus import Corpus
from headwater.types import Answer, Principal, Turn, Usage
from serving.logs import note_answer, note_unfinished
from serving.shelf import Shelf, on_release


class Asker(Protocol):
    """Who asks: :class:`serving.access.Caller`, or whoever started the MCP server on this machine."""

    def principal(self, groups: Iterable[str] | None = None) -> Principal:
        """Return whom to search as."""
        ...

    def corpus(self, name: str) -> str:
        """Return the name of a corpus that the caller may use."""
        ...

    def charge(self, usage: Usage | None) -> None:
        """Count the tokens of an answer."""
        ...

    def record(
        self,
        action: str,
        *,
        corpus: str | None = None,
        release: int | None = None,
        target: str | None = None,
        counts: Mapping[str, int] | None = None,
    ) -> None:
        """Enter in the audit log what was done."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """One question to one corpus. ``groups`` None: those of the caller."""

    corpus: str
    question: str
    groups: list[str] | None = None
    history: tuple[Turn, ...] = ()
    filters: Mapping[str, Any] | str | None = None
    conversation: str | None = None
    release: int | None = None


def answer(shelf: Shelf, who: Asker, asked: Asked, request: HTTPConnection | None) -> Answer:
    """Return the answer, entered in log, audit log and quota."""
    corpus, principal = shelf.get(who.corpus(asked.corpus)), who.principal(asked.groups)

    def ask(release: int) -> Answer:
        return corpus.answer(
            asked.question,
            principal=principal,
            release=release,
            history=asked.history,
            filters=asked.filters,
            conversation=asked.conversation,
        )

    _, found = on_release(corpus, asked.release, ask)
    _enter(who, asked, found, request)
    return found


def answer_events(
    shelf: Shelf, who: Asker, asked: Asked, request: HTTPConnection | None
) -> Callable[[], Iterator[AnswerEvent]]:
    """Return the function that starts the answer's events.

    What is wrong with the request is raised here already, or by that function, before a model is waited for.
    """
    name, principal = who.corpus(asked.corpus), who.principal(asked.groups)

    def start() -> Iterator[AnswerEvent]:
        corpus = shelf.get(name)

        def opened(release: int) -> None:
            with corpus.searcher(release):
                pass

        on_release(corpus, asked.release, opened)
        return events(corpus)

    def events(corpus: Corpus) -> Iterator[AnswerEvent]:
        def begin(release: int) -> tuple[AnswerEvent, Iterator[AnswerEvent]]:
            following = corpus.answer_events(
                asked.question,
                principal=principal,
                release=release,
                history=asked.history,
                filters=asked.filters,
                conversation=asked.conversation,
            )
            return next(following), following

        release, (event, following) = on_release(corpus, asked.release, begin)
        started = event if isinstance(event, Started) else None
        told: list[str] = []
        finished = False
        try:
            while True:
                if isinstance(event, SentenceReady):
                    told.append(event.sentence.text)
                if isinstance(event, Finished):
                    finished = True
                    _enter(who, asked, event.answer, request)
                yield event
                try:
                    event = next(following)
                except StopIteration:
                    return
        finally:
            close: Callable[[], None] | None = getattr(following, "close", None)
            if close is not None:
                close()
            if not finished:  # the caller left, or it failed: what was told is noted and charged all the same
                counts = {"sentences": len(told), "cancelled": 1}
                target = started.id if started is not None else None
                who.record("answer", corpus=asked.corpus, release=release, target=target, counts=counts)
                if started is not None and started.model is not None:
                    who.charge(_about(asked, started, told))
                note_unfinished(request, asked.corpus)

    return start


def _about(asked: Asked, started: Started, told: Sequence[str]) -> Usage:
    """Return about what the model read and wrote for an answer that was not read to its end, which nobody counted."""
    turns = [f"{turn.question}{turn.answer}" for turn in bounded(asked.history)]
    read = [asked.question, *turns, *(passage.text for passage in started.passages)]
    return Usage(sum(map(estimate, read)), sum(map(estimate, told)))


def _enter(who: Asker, asked: Asked, found: Answer, request: HTTPConnection | None) -> None:
    who.charge(found.usage)
    counts = {"sentences": len(found.sentences), "refused": int(found.refused)}
    who.record("answer", corpus=asked.corpus, release=found.release, target=found.id, counts=counts)
    note_answer(request, asked.corpus, found)
