"""Variants of training sentences: what the sets hold little of, and company documents hold much of.

Sets of edited prose teach that a capital means a name and that a name stands in a sentence. Here names are also
written small, stand alone, in lists, tables, links and e-mail lines, are exchanged for other names, and headings in
title case name no one.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from training.names.data import Sentence, Span

_PREFIXES = ("- ", "* ", "1. ", "## ", "# ", "> ", "| ", "- [ ] ", "Q: ", "Note: ")
_ROLES = ("CEO", "Head of Sales", "engineer", "Product Manager", "she/her", "he/him", "VP, Finance", "customer support")
_ALONE = (
    "{PERSON}",
    "{PERSON} ",
    "- {PERSON}",
    "{PERSON}, {role}",
    "- {PERSON} ({role})",
    "| {PERSON} | {role} | {LOCATION} |",
    "| {role} | {PERSON} | {PERSON} |",
    "Owner: {PERSON}",
    "Author: {PERSON}",
    "Attendees: {PERSON}, {PERSON}, {PERSON}",
    "cc {PERSON} and {PERSON}",
    "From: {PERSON} <team@example.org>",
    "To: {PERSON}; {PERSON}",
    "Regards, {PERSON}",
    "Thanks, {PERSON}",
    "Hi {PERSON},",
    "Dear {PERSON},",
    "**{PERSON}**",
    "## {PERSON}",
    "[{PERSON}](https://example.org/team)",
    "Reviewed by {PERSON} on Monday",
    "ask {PERSON} about it",
    "{PERSON}: could you take this one?",
    "{LOCATION}",
    "- {LOCATION}, {LOCATION}",
    "Location: {LOCATION}",
    "based in {LOCATION}",
    "Office: {LOCATION} ({LOCATION})",
    "{ORGANIZATION}",
    "- {ORGANIZATION}",
    "Customer: {ORGANIZATION}",
    "{PERSON} ({ORGANIZATION})",
    "{PERSON}, {role} at {ORGANIZATION}",
    "| {ORGANIZATION} | {LOCATION} | {PERSON} |",
)
_SMALL_WORD = re.compile(r"[a-z]{2,}")


def augment(
    sentences: Sequence[Sentence], choose: random.Random, pool: dict[str, list[str]], extra: float = 0.2
) -> list[Sentence]:
    """Return a variant of every sentence, in order, and ``extra`` times as many made-up lines after them."""
    result = [vary(item, choose, pool) for item in sentences]
    for _ in range(int(extra * len(sentences))):
        if choose.random() < 0.45:
            result.append(heading(choose.choice(sentences), choose))
        else:
            result.append(alone(choose, pool))
    return result


def mentions(sentences: Sequence[Sentence]) -> dict[str, list[str]]:
    """Return the names of the sentences per entity: what :func:`augment` exchanges names for."""
    pool: dict[str, list[str]] = {"PERSON": [], "LOCATION": [], "ORGANIZATION": []}
    for item in sentences:
        for start, end, entity in item.spans:
            name = item.text[start:end]
            if entity in pool and end - start <= 40 and "\n" not in name and not name.islower():
                pool[entity].append(name)
    return {entity: sorted(set(names)) for entity, names in pool.items()}


def alone(choose: random.Random, pool: dict[str, list[str]]) -> Sentence:
    """Return a short line of names, as tables, lists and e-mails have them."""
    return fill(choose.choice(_ALONE), choose, pool)


def fill(template: str, choose: random.Random, pool: dict[str, list[str]]) -> Sentence:
    """Return the template with its places filled and marked."""
    text = ""
    spans: list[Span] = []
    for part in re.split(r"(\{\w+\})", template):
        name = part[1:-1]
        if part.startswith("{") and name in pool:
            value = choose.choice(pool[name])
            if name == "PERSON" and choose.random() < 0.3:
                value = choose.choice(value.split())
            spans.append((len(text), len(text) + len(value), name))
            text += value
        else:
            text += choose.choice(_ROLES) if name == "role" else part
    return Sentence("made", "made", text, tuple(spans))


def heading(item: Sentence, choose: random.Random) -> Sentence:
    """Return a few small words of a sentence in title case: a heading that names no one."""
    covered = [False] * len(item.text)
    for start, end, _ in item.spans:
        covered[start:end] = [True] * (end - start)
    words = [m[0] for m in _SMALL_WORD.finditer(item.text) if not any(covered[m.start() : m.end()])]
    if len(words) < 2:
        return Sentence("made", "made", "Next Steps", ())
    first = choose.randrange(max(1, len(words) - 2))
    chosen = words[first : first + choose.randint(1, 5)]
    style = choose.random()
    if style < 0.7:
        text = " ".join(word.capitalize() for word in chosen)
    elif style < 0.85:
        text = " ".join(chosen).capitalize()
    else:
        text = choose.choice(("_", "", ".")).join([chosen[0], *(word.capitalize() for word in chosen[1:])])
    return Sentence("made", "made", choose.choice(("", "", "## ", "- ", "**")) + text, ())


def vary(item: Sentence, choose: random.Random, pool: dict[str, list[str]]) -> Sentence:
    """Return the sentence with other names, written another way, or both, or as it is."""
    text, spans = item.text, list(item.spans)
    if spans and choose.random() < 0.4:
        text, spans = _exchange(text, spans, choose, pool)
    style = choose.random()
    if style < 0.1:
        text = _same_length(text, text.lower())
    elif style < 0.14:
        text = _same_length(text, text.upper())
    elif style < 0.18:
        text = _same_length(text, text.title())
    if choose.random() < 0.1:
        prefix = choose.choice(_PREFIXES)
        text, spans = prefix + text, [(start + len(prefix), end + len(prefix), e) for start, end, e in spans]
    if choose.random() < 0.15 and text.endswith(".") and not (spans and spans[-1][1] == len(text)):
        text = text[:-1]
    return Sentence(item.source, item.group, text, tuple(spans))


def _exchange(
    text: str, spans: Sequence[Span], choose: random.Random, pool: dict[str, list[str]]
) -> tuple[str, list[Span]]:
    parts: list[str] = []
    result: list[Span] = []
    position = length = 0
    for start, end, entity in spans:
        name = text[start:end]
        change = choose.random()
        if entity in pool and change < 0.5 and end - start <= 40:
            name = choose.choice(pool[entity])
        if entity == "PERSON" and 0.35 < change < 0.7:
            name = choose.choice(name.split() or [name])
        before, after = (
            choose.choice((("**", "**"), ("[", "](https://example.org/a)"), ('"', '"'), ("(", ")")))
            if change > 0.93
            else ("", "")
        )
        parts += [text[position:start], before, name, after]
        begin = length + start - position + len(before)
        result.append((begin, begin + len(name), entity))
        length = begin + len(name) + len(after)
        position = end
    return "".join([*parts, text[position:]]), result


def _same_length(text: str, other: str) -> str:
    return other if len(other) == len(text) else text
