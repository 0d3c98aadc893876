"""How an answer looks on a terminal: sentences with numbered citations, then the places they come from.

Works on the JSON form of :class:`headwater.types.Answer`, which is also what the HTTP endpoint sends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwater.cli.output import say


def print_answer(answer: Mapping[str, Any]) -> None:
    """Print an answer with its sources, or why there is none."""
    if answer["refused"]:
        say(f"No answer: {answer['reason']}", style="bold")
        say(f"(release {answer['release']})")
        return
    numbers: dict[tuple[str, int, int], int] = {}
    sources: list[Mapping[str, Any]] = []
    sentences = []
    for sentence in answer["sentences"]:
        marks = []
        for citation in sentence["citations"]:
            place = (citation["doc"], citation["start"], citation["end"])
            if place not in numbers:
                numbers[place] = len(numbers) + 1
                sources.append(citation)
            marks.append(f"[{numbers[place]}]")
        sentences.append(f"{sentence['text']} {''.join(marks)}")
    say(" ".join(sentences), style="bold")
    say()
    for number, citation in enumerate(sources, start=1):
        say(f"[{number}] {place_of(citation)}")
        say(f'    "{" ".join(citation["quote"].split())}"', style="italic")
    say(f"(release {answer['release']}, {answer['method']})")


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
        parts.append(f"page {source['page']}")
    parts.append(f"characters {source['start']}-{source['end']}")
    return " | ".join(parts)
