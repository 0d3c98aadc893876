"""A corpus whose answers are told event by event as a test says, to reach what no index and no model does on demand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from headwater.answering.events import AnswerEvent, Finished, Restarted, SentenceDropped, SentenceReady, Started
from headwater.ledger import Pointer
from headwater.policies import CorpusPolicy, SourcePolicy
from headwater.types import Answer, Citation, Passage, Sentence, Usage

WORDS = "Thirty-one herons\u2028nest at the weir."
"""With a character that some clients take for the end of a line."""

STARTED = Started("a1", 1, "generated/1", "herons", "answer@3", "tiny", ())


def cited(text: str = WORDS, start: int = 0, **where: Any) -> Sentence:
    """A sentence with one citation."""
    place = {"key": "birds.md", "title": "Birds", "section": ("Weir",), "page": 2, "revision": "r", "chunk_id": "c"}
    citation = Citation(doc="d", start=start, end=start + len(text), quote=text, **(place | where))
    return Sentence(text, (citation,), 0.9)


def answer(*sentences: Sentence, **fields: Any) -> Answer:
    """An answer of these sentences."""
    given = {"refused": not sentences, "reason": None if sentences else "The documents don't say."} | fields
    return Answer(
        id="a1",
        question="How many herons?",
        sentences=sentences,
        release=1,
        method="generated/1",
        searched="herons",
        prompt="answer@3",
        model="tiny",
        usage=Usage(120, 17, 0.002),
        timings={"search": 0.01, "write": 0.4},
        **given,
    )


class Scripted:
    """``script()`` gives the events of every answer; how many were begun and ended early is counted."""

    policy = CorpusPolicy(source=SourcePolicy(uri="documents"), description="Scripted.")
    name = "works"

    def __init__(self, script: Callable[[], Iterator[AnswerEvent]]) -> None:
        self.script = script
        self.asked: list[dict[str, Any]] = []
        self.closed = threading.Event()

    def live(self) -> int:
        return 1

    def refresh(self) -> None:
        pass

    def check_passed(self, release: int) -> None:
        pass

    @contextmanager
    def searcher(self, release: int) -> Iterator[None]:
        yield

    @property
    def ledger(self) -> Scripted:
        return self

    def pointer(self, _: str) -> Pointer:
        return Pointer(1, 0)

    def search(self, *_: Any, **__: Any) -> list[Passage]:
        return []

    def answer_events(self, question: str, **given: Any) -> Iterator[AnswerEvent]:
        self.asked.append({"question": question, **given})
        try:
            yield from self.script()
        except GeneratorExit:
            self.closed.set()
            raise

    def answer(self, question: str, **given: Any) -> Answer:
        *_, last = self.answer_events(question, **given)
        assert isinstance(last, Finished)
        return last.answer


def restarted_answer() -> Iterator[AnswerEvent]:
    """A model writes a sentence, another is dropped, it fails; the sentences are quoted then."""
    yield STARTED
    yield SentenceReady(cited("Forty herons nest."))
    yield SentenceDropped("number")
    yield Restarted("The language model broke off; the sentences are quoted.")
    yield SentenceReady(cited())
    yield Finished(answer(cited(), fallback="The language model broke off; the sentences are quoted."))
