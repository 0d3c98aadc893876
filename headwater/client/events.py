"""Server-sent events, and what they mean (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from headwater.answering.events import AnswerEvent, Finished, Restarted, SentenceDropped, SentenceReady, Started
from headwater.client.errors import problem_error
from headwater.client.values import answer_of, decode
from headwater.types import Sentence


def events(chunks: Iterable[bytes]) -> Iterator[tuple[str, str]]:
    """Yield the name and the data of each event; comments, which keep the connection open, are left out.

    Lines end with LF, as the service sends them; other characters that some call line ends may stand in the data.
    """
    name, rest = "", b""
    data: list[str] = []
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            text = line.rstrip(b"\r").decode()
            if not text:
                if data:
                    yield name, "\n".join(data)
                name, data = "", []
                continue
            field, _, value = text.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                name = value
            elif field == "data":
                data.append(value)


def answer_event(name: str, data: str, question: str) -> AnswerEvent | None:
    """Return an event as the library tells it, None for one that this version doesn't know.

    Raises ApiError for the event that says that there will be no answer.
    """
    body: dict[str, Any] = json.loads(data)
    match name:
        case "start":
            return decode(Started, body)
        case "sentence":
            return SentenceReady(decode(Sentence, body))
        case "dropped":
            return decode(SentenceDropped, body)
        case "restart":
            return decode(Restarted, body)
        case "done":
            return Finished(answer_of(body, question))
        case "error":
            raise problem_error(body)
    return None
