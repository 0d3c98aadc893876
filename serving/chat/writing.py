"""Answers as the text of a message, and messages as questions with what was said before them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from headwater.injection import clean_question
from headwater.types import Citation, Sentence, Turn
from serving.chat.models import Annotation, ChatMessage, UrlCitation
from serving.models.answers import MAX_TURN, MAX_TURNS
from serving.models.fields import MAX_QUERY

SOURCES = "Sources:"

AGAIN = "\n\nThe answer above is not complete and does not count; it begins again here.\n\n"
"""What a stream says when the model failed midway: what was sent can't be taken back."""

# Clients show content as Markdown, where an image is fetched from wherever a document says, and raw HTML is live. A
# backslash before "<" would not do: a document may have one there already, and two are none.
_LIVE = re.compile(r"(?<=!)\[|<(?=[A-Za-z/!?])")
_HARMLESS = {"[": "\\[", "<": "&lt;"}
_MARKUP = re.compile(r"[\[\]<>()!`*\\\x00-\x1f\x7f]+")
_MARKERS = re.compile(r" ?\[\d{1,3}\]")


class Writing:
    """Writes sentences one after the other. ``url_of`` gives the address of a citation's span."""

    def __init__(self, url_of: Callable[[Citation], str]) -> None:
        self._url_of = url_of
        self._sources: dict[tuple[str, int, int], Citation] = {}
        self._length = 0

    def sentence(self, sentence: Sentence) -> tuple[str, list[Annotation]]:
        """Return the text to append for one sentence, and its citations at their places in the whole text."""
        numbers = dict.fromkeys(self._number(citation) for citation in sentence.citations)
        words = _LIVE.sub(lambda found: _HARMLESS[found[0]], sentence.text)
        lead = " " if self._length else ""
        text = f"{lead}{words}{''.join(f' [{number}]' for number in numbers)}"
        start = self._length + len(lead)
        annotations = [
            Annotation(
                url_citation=UrlCitation(
                    url=self._url_of(citation),
                    title=_plain(citation.title),
                    start_index=start,
                    end_index=start + len(words),
                )
            )
            for citation in sentence.citations
        ]
        self._length += len(text)
        return text, annotations

    def again(self) -> str:
        """Return the text that takes back what was written."""
        self._length += len(AGAIN)
        return AGAIN

    def sources(self) -> str:
        """Return the list of the sources, by the numbers in the text; empty without any."""
        lines = [f"[{number}] {_place(citation)}" for number, citation in enumerate(self._sources.values(), start=1)]
        return "\n".join([f"\n\n{SOURCES}", *lines]) if lines else ""

    def _number(self, citation: Citation) -> int:
        span = (citation.doc, citation.start, citation.end)
        self._sources.setdefault(span, citation)
        return list(self._sources).index(span) + 1


def question_of(messages: Sequence[ChatMessage]) -> tuple[str, tuple[Turn, ...]]:
    """Return the last message of the user, and the exchanges before it, oldest first."""
    turns: list[Turn] = []
    asked: str | None = None
    for message in messages[:-1]:
        if message.role == "user":
            if asked is not None:
                turns.append(_turn(asked, ""))
            asked = message.text
        elif message.role == "assistant" and asked is not None:
            turns.append(_turn(asked, message.text))
            asked = None
    if asked is not None:
        turns.append(_turn(asked, ""))
    return messages[-1].text, tuple([turn for turn in turns if turn.question][-MAX_TURNS:])


def _turn(question: str, answer: str) -> Turn:
    said = answer.partition(f"\n\n{SOURCES}")[0]
    try:
        asked = clean_question(question[:MAX_QUERY])
    except ValueError:  # nothing that can be read, so nothing to understand a later question by
        asked = ""
    return Turn(asked, _MARKERS.sub("", said).strip()[:MAX_TURN])


def _place(citation: Citation) -> str:
    page = f", {_pages(citation)}" if citation.page is not None else ""
    section = f", {_plain(citation.section[-1])}" if citation.section else ""
    return f"{_plain(citation.title)}{section}{page} ({_plain(citation.key)})"


def _pages(citation: Citation) -> str:
    if citation.last_page in (None, citation.page):
        return f"page {citation.page}"
    return f"pages {citation.page}–{citation.last_page}"


def _plain(text: str) -> str:
    return _MARKUP.sub(" ", text).strip()
