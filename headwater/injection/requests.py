"""Requests in a text: sentences that ask somebody to do or say something, as what a model of them reads.

"What is the capital of Brazil?" is no attack by itself; below the last line of an invoice it is, because nothing in the
invoice speaks of Brazil and nobody there answers. So a request is measured by what it asks (its opening words, whether
it speaks of the reply, of code to take over) and by how it fits: how many of its words occur elsewhere in the text and
near it, where it stands, how many other requests the text makes.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from headwater.injection.features import ENDS, WORDS, features_of, fit_of, shape_of
from headwater.injection.wording import CODE, MENTION, MIDDLE, OPENER, SPEAKS_OF_REPLY

try:
    import hyperscan
except ImportError:  # no wheel for this platform
    hyperscan = None  # type: ignore[assignment,unused-ignore]

_SENTENCE_END = re.compile(r"[.!?](?=[\s\"')|*]|$)|:(?=[ \t]*(?:\n|$))|\n|\|")
_SHORTEST, _LONGEST = 12, 400
"""Characters of a request."""

_AT_HOME = 0.34
"""A request with more of its words around it than this share is none that somebody planted."""

_COMPANY = 20
"""Words beside a request, without which nothing says that it is out of place: a note is often nothing but one."""

_LONGEST_LEAD = 40
"""Characters between the start of a sentence and an opening word that belongs to it."""

_MIDDLE_NUMBER = 3


@dataclass(frozen=True, slots=True)
class Request:
    """``text[start:end]`` is a request; ``features`` are its values by name, 0 where one is missing."""

    start: int
    end: int
    features: dict[str, float]


def requests(folded: str) -> Iterator[Request]:
    """Yield the requests of a folded text (:func:`headwater.injection.characters.fold`), in order."""
    lowered = folded.lower()
    starts = sorted(_starts(folded))
    shape = shape_of(folded)
    last = -1
    for start in starts:
        if start < last:
            continue
        end = _end(folded, start)
        last = end
        if end - start < _SHORTEST:
            continue
        speaks = _speaks_of_reply(lowered, start, end)
        if not speaks and lowered[end - 1] not in ENDS:
            continue  # a heading, an item, a cell, or what introduces a list
        words = WORDS.findall(lowered, start, end)
        fit = fit_of(lowered, start, end, words)
        alone = shape.words - len(words) < _COMPANY
        if speaks or (not alone and fit.get("near", 0.0) <= _AT_HOME):
            density = len(starts) / max(len(folded) / 1000.0, 1.0)
            features = fit | features_of(folded, lowered, start, end, words, fit, density, shape)
            # "When the crane works, ...": a word that asks asks nothing without a question mark.
            states = "opens_none" in features or ("opens_question" in features and "asks" not in features)
            if speaks or not states:
                yield Request(start, end, features)


def _speaks_of_reply(lowered: str, start: int, end: int) -> bool:
    # Two words without one of which the pattern can't match; they are found much faster.
    if lowered.find("your", start, end) < 0 and lowered.find("code", start, end) < 0:
        return False
    return SPEAKS_OF_REPLY.search(lowered, start, end) is not None


def _starts(folded: str) -> set[int]:
    found = set()
    for number, end in _ends(folded):
        position = end - 1
        if number == _MIDDLE_NUMBER:
            while folded[position - 1] in " \t":
                position -= 1
            found.add(_word_start(folded, position))
            continue
        position = _word_start(folded, position)
        start = _sentence_start(folded, position)
        # After a colon, bracket or quotation mark the request begins there.
        found.add(position if number == 0 and position - start > _LONGEST_LEAD else start)
    return found


def _word_start(folded: str, position: int) -> int:
    while position > 0 and (folded[position - 1].isalnum() or folded[position - 1] == "'"):
        position -= 1
    return position


def _sentence_start(folded: str, position: int) -> int:
    low = max(0, position - _LONGEST)
    start = low
    for mark in ("\n", ". ", "! ", "? ", "| "):
        found = folded.rfind(mark, low, position)
        if found >= 0:
            start = max(start, found + len(mark))
    while start < position and not folded[start].isalnum():
        start += 1
    return start


def _ends(folded: str) -> list[tuple[int, int]]:
    """Return where openers (0, 3) and what else speaks of a request (1, 2) end."""
    if hyperscan is None:
        patterns = enumerate((OPENER, MENTION, CODE, MIDDLE))
        return [(number, match.end()) for number, pattern in patterns for match in pattern.finditer(folded)]
    return _scanner().ends(folded.encode("ascii"))


class _Scanner:
    """The patterns as one Hyperscan database that says where each ends."""

    def __init__(self) -> None:
        opener = OPENER.pattern.replace(r"(?![\w'-])", r"\b")
        reply = MENTION.pattern.replace("{0,2}?", "{0,2}")
        self._database = hyperscan.Database()
        self._database.compile(
            expressions=[text.encode("ascii") for text in (opener, reply, CODE.pattern, MIDDLE.pattern)],
            ids=[0, 1, 2, _MIDDLE_NUMBER],
            flags=[*[hyperscan.HS_FLAG_CASELESS] * 3, 0],
        )
        self._lock = threading.Lock()

    def ends(self, data: bytes) -> list[tuple[int, int]]:
        """Return (pattern, offset of the end) of all matches."""
        found: list[tuple[int, int]] = []

        def note(identity: int, _start: int, end: int, _flags: int, _context: Any) -> None:
            found.append((identity, end))

        with self._lock:
            self._database.scan(data, match_event_handler=note)
        return found


@lru_cache(maxsize=1)
def _scanner() -> _Scanner:
    return _Scanner()


def _end(folded: str, start: int) -> int:
    limit = min(len(folded), start + _LONGEST)
    position = start
    while match := _SENTENCE_END.search(folded, position, limit):
        # A stop within a quotation or after an initial ends nothing.
        if match[0] in ("\n", "|"):
            return match.start()
        if (
            match[0] == "."
            and match.end() < limit
            and folded[match.end() : match.end() + 8].lstrip(" \"')*")[:1].islower()
        ):
            position = match.end()
            continue
        return match.end()
    return limit
