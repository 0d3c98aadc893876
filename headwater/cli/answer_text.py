"""How an answer looks on a terminal: sentences with numbered citations, then the places they come from.

Works on the JSON form of :class:`headwater.types.Answer`, which is also what the HTTP endpoint sends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from rich.text import Text

from headwater.answering.events import AnswerEvent, Finished, Restarted, SentenceReady
from headwater.cli.output import console, plain, say


def print_answer(answer: Mapping[str, Any]) -> None:
    """Print an answer with its sources, or why there is none."""
    sources = _Sources()
    if not answer["refused"]:
        say(" ".join(sources.marked(sentence) for sentence in answer["sentences"]), style="bold")
    _print_end(answer, sources)


def print_events(events: Iterable[AnswerEvent], waiting: ExitStack) -> None:
    """Print an answer as :func:`print_answer` does, each sentence as soon as it is there.

    ``waiting`` is closed as soon as there is something to print: it holds what shows that one has to wait.
    """
    sources, begun = _Sources(), False
    for event in events:
        match event:
            case SentenceReady(sentence):
                waiting.close()
                _print_piece((" " if begun else "") + sources.marked(asdict(sentence)))
                begun = True
            case Restarted(reason):
                waiting.close()
                say(f"\n\nThe answer begins again. {reason}\n" if begun else reason)
                sources, begun = _Sources(), False
            case Finished(answer):
                waiting.close()
                if begun:
                    say()
                _print_end(asdict(answer), sources)


class _Sources:
    """Numbers the places that sentences cite, in the order in which they first come."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, int, int], int] = {}
        self._cited: list[Mapping[str, Any]] = []

    def marked(self, sentence: Mapping[str, Any]) -> str:
        """Return a sentence with the numbers of its citations behind it."""
        marks = []
        for citation in sentence["citations"]:
            place = (citation["doc"], citation["start"], citation["end"])
            if place not in self._numbers:
                self._numbers[place] = len(self._numbers) + 1
                self._cited.append(citation)
            marks.append(f"[{self._numbers[place]}]")
        return f"{sentence['text']} {''.join(marks)}"

    def show(self) -> None:
        """Print the places with what stands there."""
        for number, citation in enumerate(self._cited, start=1):
            say(f"[{number}] {place_of(citation)}")
            say(f'    "{" ".join(citation["quote"].split())}"', style="italic")


def _print_piece(text: str) -> None:
    console().print(Text(plain(text), style="bold"), soft_wrap=True, end="")


def _print_end(answer: Mapping[str, Any], sources: _Sources) -> None:
    if answer["refused"]:
        say(f"No answer: {answer['reason']}", style="bold")
        facts = [f"release {answer['release']}"]
    else:
        say()
        sources.show()
        facts = [f"release {answer['release']}", answer.get("model") or answer["method"]]
    if answer.get("fallback"):
        say(answer["fallback"])
    say(f"({', '.join(facts)})")


def place_of(source: Mapping[str, Any]) -> str:
    """Return key, title, section, page and character span of a citation or passage as one line."""
    parts = [source["key"]]
    if source["title"] and source["title"] != source["key"]:
        parts.append(source["title"])
    section = list(source["section"])
    if section[:1] == [source["title"]]:  # the title is often the outermost heading
        section = section[1:]
    if section:
        parts.append(" > ".join(section))
    if source["page"] is not None:
        last = source.get("last_page") or source["page"]
        parts.append(f"page {source['page']}" if last == source["page"] else f"pages {source['page']}-{last}")
    parts.append(f"characters {source['start']}-{source['end']}")
    return " | ".join(parts)
