"""Where a text can hold a finding of a recogniser: one scan with Hyperscan for the patterns of all of them.

The scan is compiled from the recognisers' own patterns (:mod:`headwater.privacy.weaken`), so a recogniser is skipped
only where none of its patterns can match. One that has no patterns, or a pattern that can't be compiled, is never
skipped; nor is any where Hyperscan is not installed, which costs time and nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headwater.privacy.pieces import MARGIN
from headwater.privacy.weaken import ODD, Underivable, skeleton, weaken

try:
    import hyperscan
except ImportError:  # no wheel for this platform
    hyperscan = None  # type: ignore[assignment,unused-ignore]

PAD = 80
"""Characters kept around whatever can match: more than the look-arounds of any of Presidio's patterns."""

CONTEXT_REACH = 400
"""Characters before a finding in which its context words are looked for: five words and the stop words between."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """One pattern of a recogniser: what is scanned for, and what is kept of the text where it may match.

    ``owner`` is the recogniser's id and ``flags`` are those of the ``regex`` module. ``context`` are the words
    (lower-case) without one of which before it a match is no finding, because its own score is too low; empty where it
    is one by itself.
    """

    owner: str
    pattern: str
    flags: int
    context: tuple[str, ...] = ()


Windows = Mapping[str, Sequence[tuple[int, int]]]
"""Ranges (start, end) of a text by recogniser's id, in order and apart."""


class Scanner:
    """The scan for all triggers. ``always`` are the recognisers that read every text."""

    def __init__(self, triggers: Sequence[Trigger], always: Sequence[str]) -> None:
        self.always = set(always)
        compiled: list[tuple[Trigger, str, int]] = []
        for trigger in triggers:
            if hyperscan is None:
                self.always.add(trigger.owner)
                continue
            try:
                weak = weaken(trigger.pattern)
                compiled.append((trigger, weak, _accepted_flags(weak, trigger.flags)))
            except Underivable:
                self.always.add(trigger.owner)
        self._lock = threading.Lock()
        self._triggers = [trigger for trigger, _, _ in compiled]
        self._reach = [_reach(weak) for _, weak, _ in compiled]
        self._database = _compile([weak for _, weak, _ in compiled], [f for *_, f in compiled]) if compiled else None

    def windows(self, text: str) -> Windows | None:
        """Return where each recogniser has to look, by its id; those of ``always`` are left out.

        None means everywhere: the text has a character for which the scan makes no promise.
        """
        if ODD.search(text):
            return None
        ends: list[list[int]] = [[] for _ in self._triggers]

        def note(identity: int, _start: int, end: int, _flags: int, _context: Any) -> None:
            ends[identity].append(end)

        if self._database is not None:
            with self._lock:  # the database has memory for one scan at a time
                self._database.scan(skeleton(text), match_event_handler=note)
        found: dict[str, list[tuple[int, int]]] = {}
        lowered = text.lower() if any(ends) else ""
        exact = len(lowered) == len(text)  # some characters have a lower case of two
        for trigger, reach, hits in zip(self._triggers, self._reach, ends, strict=True):
            ranges = found.setdefault(trigger.owner, []) if hits else []
            last = -1
            for end in hits:
                if end <= last:
                    continue
                if trigger.context and exact:
                    before = lowered[max(0, end - reach - CONTEXT_REACH) : end + PAD]
                    if not any(word in before for word in trigger.context):
                        continue
                window = _widened(text, end - reach - PAD, end + reach + PAD)
                ranges.append(window)
                last = window[1] - reach - PAD
        return {owner: _merged(ranges) for owner, ranges in found.items() if ranges}


def _accepted_flags(pattern: str, flags: int) -> int:
    """Return the flags with which Hyperscan takes the pattern; it may approximate it, from above."""
    import regex  # type: ignore[import-untyped]

    if flags & regex.VERBOSE:
        raise Underivable("a verbose pattern")
    wanted = hyperscan.HS_FLAG_DOTALL | hyperscan.HS_FLAG_MULTILINE
    if flags & regex.IGNORECASE:
        wanted |= hyperscan.HS_FLAG_CASELESS
    for more in (0, hyperscan.HS_FLAG_PREFILTER):
        try:
            _compile([pattern], [wanted | more])
        except hyperscan.error:
            continue
        return int(wanted | more)
    raise Underivable("Hyperscan can't compile it")


def _compile(patterns: Sequence[str], flags: Sequence[int]) -> Any:
    database = hyperscan.Database()
    expressions = [pattern.encode("latin-1") for pattern in patterns]
    database.compile(expressions=expressions, ids=list(range(len(patterns))), flags=list(flags))
    return database


def _reach(weak: str) -> int:
    """Return the most characters that a match can have, at most :data:`MARGIN`."""
    from re import _parser, error  # type: ignore[attr-defined]

    try:
        return min(int(_parser.parse(weak).getwidth()[1]), MARGIN)
    except error:  # a construct that `regex` and Hyperscan have in common, and `re` has not
        return MARGIN


def _widened(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the range in whole words, unless these are longer than :data:`MARGIN`."""
    start, end = max(0, start), min(len(text), end)
    low, high = max(0, start - MARGIN), min(len(text), end + MARGIN)
    while start > low and not text[start - 1].isspace():
        start -= 1
    while end < high and not text[end].isspace():
        end += 1
    return start, end


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
