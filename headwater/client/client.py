"""The client."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal, TypeVar
from urllib.parse import quote

import httpx

from headwater.answering.events import AnswerEvent
from headwater.client.connection import Connection
from headwater.client.errors import ConnectionFailed
from headwater.client.events import answer_event, events
from headwater.client.records import (
    CorpusEntry,
    DocumentEntry,
    DocumentPart,
    Found,
    ReceiptEntry,
    ReleaseEntry,
    UnansweredQuestion,
)
from headwater.client.values import answer_of, decode
from headwater.types import Answer, Turn

Filters = Mapping[str, Any] | str
T = TypeVar("T")


class Client:
    """A connection to one service. Thread-safe; close it, or use it in a ``with`` block.

    ``token`` is an API key or token. ``timeout`` is in seconds, for a response or between two events of a stream.
    Requests that fail because the service is busy or away are sent again, ``retries`` times at most, which has no second
    effect: answers and feedback carry an Idempotency-Key. ``groups`` of the methods are those of the end user (none: the
    key's own; empty: what everyone may read); to name others than the key's own takes the scope ``vouch``.

    Methods raise ApiError for what the service refuses, ConnectionFailed when it can't be reached.
    """

    def __init__(
        self,
        base_url: str,
        token: str | None = None,
        *,
        timeout: float = 120.0,
        retries: int = 3,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Connect at the first request. ``transport`` is httpx's, for proxies and certificates of one's own."""
        self._connection = Connection(
            base_url, token, timeout=timeout, retries=retries, transport=transport, sleep=sleep
        )

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- search and answers -----------------------------------------------------------------------------------

    def retrieve(
        self,
        corpus: str,
        query: str,
        k: int = 10,
        *,
        filters: Filters | None = None,
        release: int | None = None,
        groups: Sequence[str] | None = None,
        mode: Literal["hybrid", "dense", "sparse"] | None = None,
        merge: bool | None = None,
        explain: bool = False,
    ) -> Found:
        """Return at most ``k`` passages, best first. ``filters`` is a mapping or a text of the filter grammar.

        ``merge`` joins neighbouring results of a document, or doesn't; None leaves it to the corpus' configuration.
        """
        body = _given(
            corpus=corpus,
            query=query,
            k=k,
            filters=filters,
            release=release,
            groups=groups,
            mode=mode,
            merge=merge,
            explain=explain or None,
        )
        found = self._connection.send("POST", "/v1/retrieve", body)
        return decode(Found, found)

    def answer(
        self,
        corpus: str,
        question: str,
        *,
        history: Sequence[Turn] = (),
        filters: Filters | None = None,
        conversation: str | None = None,
        release: int | None = None,
        groups: Sequence[str] | None = None,
        idempotency_key: str | None = None,
    ) -> Answer:
        """Return an answer whose every sentence is tied to its sources, or a refusal (``answer.refused``).

        Retries carry ``idempotency_key``, or one of the client's making, so that one question is answered once.
        """
        body = _question(corpus, question, history, filters, conversation, release, groups)
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        return answer_of(self._connection.send("POST", "/v1/answer", body, headers=headers), question)

    def stream(
        self,
        corpus: str,
        question: str,
        *,
        history: Sequence[Turn] = (),
        filters: Filters | None = None,
        conversation: str | None = None,
        release: int | None = None,
        groups: Sequence[str] | None = None,
    ) -> Iterator[AnswerEvent]:
        """Yield what happens while a question is answered, as :meth:`headwater.Corpus.answer_events` does.

        Closing the iterator ends the work. A stream that broke off is not begun again: ConnectionFailed.
        """
        body = _question(corpus, question, history, filters, conversation, release, groups)
        response = self._connection.stream("/v1/answer/stream", body)
        try:
            finished = False
            for name, data in events(response.iter_bytes()):
                event = answer_event(name, data, question)
                if event is not None:
                    finished = name == "done"
                    yield event
            if not finished:
                raise ConnectionFailed("The stream ended before the answer was whole.")
        except httpx.HTTPError as error:
            raise ConnectionFailed(f"The stream broke off: {type(error).__name__}") from error
        finally:
            response.close()

    def feedback(
        self,
        answer: str,
        kind: Literal["thumbs_up", "thumbs_down", "correction", "wrong_citation"],
        *,
        sentence: int | None = None,
        citation: int | None = None,
        text: str | None = None,
    ) -> str:
        """Say how an answer (its id) was, and return the feedback's id. Sentences and citations count from 0."""
        body = _given(answer=answer, kind=kind, sentence=sentence, citation=citation, text=text)
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        return str(self._connection.send("POST", "/v1/feedback", body, headers=headers)["id"])

    def answer_record(self, answer: str) -> Mapping[str, Any]:
        """Return what the ledger keeps of an answer that this client asked for: release, spans, model, parameters."""
        return self._connection.send("GET", f"/v1/answers/{quote(answer, safe='')}")

    # --- documents, receipts, releases ------------------------------------------------------------------------

    def document(
        self,
        corpus: str,
        doc_id: str,
        *,
        start: int = 0,
        end: int | None = None,
        release: int | None = None,
        groups: Sequence[str] | None = None,
    ) -> DocumentPart:
        """Return a document's text from ``start`` to ``end``; at most 100,000 characters, ``.end`` says how far."""
        query = _query(corpus=corpus, start=start, end=end, release=release, groups=groups)
        return decode(
            DocumentPart, self._connection.send("GET", f"/v1/documents/{quote(doc_id, safe='')}", params=query)
        )

    def documents(
        self, corpus: str, *, prefix: str | None = None, groups: Sequence[str] | None = None
    ) -> Iterator[DocumentEntry]:
        """Yield the documents of the live release, in order of key."""
        query = _query(corpus=corpus, prefix=prefix, groups=groups)
        return self._pages("/v1/documents", query, "documents", DocumentEntry)

    def receipts(
        self,
        corpus: str,
        *,
        key: str | None = None,
        prefix: str | None = None,
        state: Literal["indexed", "duplicate", "rejected", "quarantined", "pending"] | None = None,
        groups: Sequence[str] | None = None,
    ) -> Iterator[ReceiptEntry]:
        """Yield what became of the objects of a corpus, in order of key."""
        query = _query(corpus=corpus, key=key, prefix=prefix, state=state, groups=groups)
        return self._pages("/v1/receipts", query, "receipts", ReceiptEntry)

    def unanswered_questions(
        self, corpus: str, *, days: int | None = None, groups: Sequence[str] | None = None
    ) -> Iterator[UnansweredQuestion]:
        """Yield what people ask and the documents don't say, most often asked first; takes the scope ``questions``."""
        query = _query(corpus=corpus, days=days, groups=groups)
        return self._pages("/v1/unanswered-questions", query, "questions", UnansweredQuestion)

    def releases(self, corpus: str) -> Iterator[ReleaseEntry]:
        """Yield the releases of a corpus, newest first."""
        return self._pages("/v1/releases", {"corpus": corpus}, "releases", ReleaseEntry)

    def corpora(self) -> list[CorpusEntry]:
        """Return the corpora that the client may use."""
        return [decode(CorpusEntry, item) for item in self._connection.send("GET", "/v1/corpora")["corpora"]]

    def _pages(self, path: str, query: dict[str, Any], name: str, kind: type[T]) -> Iterator[T]:
        after: Any = None
        while True:
            page = self._connection.send("GET", path, params=query | _given(after=after))
            yield from (decode(kind, item) for item in page[name])
            after = page["after"]
            if after is None:
                return


def _given(**fields: Any) -> dict[str, Any]:
    """Return the fields that were given."""
    return {
        name: list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
        for name, value in fields.items()
        if value is not None
    }


def _query(**fields: Any) -> dict[str, Any]:
    """Return the fields that were given as parameters of a query string, where one empty value is an empty list."""
    return {name: "" if value == [] else value for name, value in _given(**fields).items()}


def _question(
    corpus: str,
    question: str,
    history: Sequence[Turn],
    filters: Filters | None,
    conversation: str | None,
    release: int | None,
    groups: Sequence[str] | None,
) -> dict[str, Any]:
    turns = [asdict(turn) for turn in history] or None
    return _given(
        corpus=corpus,
        question=question,
        history=turns,
        filters=filters,
        conversation=conversation,
        release=release,
        groups=groups,
    )
