"""Rules over findings: what is no personal data, and which finding wins."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from headwater.privacy.actions import WRITTEN
from headwater.types import PiiSpan

# Identifiers of pages, files and records in links are digit runs that pass for these entities; card numbers, IBANs,
# social security numbers, addresses and everything with separators stay findings inside a link.
LINK_IDENTIFIERS = frozenset(
    {"PHONE_NUMBER", "UK_NHS", "US_BANK_NUMBER", "US_DRIVER_LICENSE", "US_ITIN", "US_PASSPORT", "MEDICAL_LICENSE"}
)
# Presidio's pattern for these has no word border, so it fires inside hashes.
WHOLE_WORDS = frozenset({"MEDICAL_LICENSE"})

_LINK = re.compile(r"https?://", re.IGNORECASE)
_NOT_IN_LINK = frozenset("<>\"'`\\)]}|")
_LONGEST_LINK = 2048  # characters; what servers and browsers agree on
_CUT_LINK = re.compile(r"[^\s@]*[/=&?#%][^\s@]*")


def drop_identifiers(text: str, spans: Sequence[PiiSpan]) -> list[PiiSpan]:
    """Leave out digit runs that are part of an http(s) link, and licence numbers inside a longer ASCII word."""

    def is_identifier(span: PiiSpan) -> bool:
        if span.entity in LINK_IDENTIFIERS and text[span.start : span.end].isalnum() and _in_link(text, span.start):
            return True
        return span.entity in WHOLE_WORDS and (
            _word(text[max(0, span.start - 1) : span.start]) or _word(text[span.end : span.end + 1])
        )

    return [span for span in spans if not is_identifier(span)]


def _in_link(text: str, offset: int) -> bool:
    """Return whether the characters before ``offset`` are the beginning of an http(s) link."""
    low, lowest = offset, max(0, offset - _LONGEST_LINK)
    while low > lowest and not text[low - 1].isspace() and text[low - 1] not in _NOT_IN_LINK:
        low -= 1
    return _LINK.search(text, low, offset) is not None


def drop_cut_links(text: str, spans: Sequence[PiiSpan]) -> list[PiiSpan]:
    """Leave out digit runs in the first word of ``text`` if that is the rest of a link."""
    cut = _CUT_LINK.match(text)
    end = cut.end() if cut else 0
    return [s for s in spans if not (s.entity in LINK_IDENTIFIERS and s.end <= end and text[s.start : s.end].isalnum())]


def _word(character: str) -> bool:
    return character.isascii() and character.isalnum()


def resolve(text: str, spans: Sequence[PiiSpan], last: Collection[str] = ()) -> list[PiiSpan]:
    """Return the spans sorted and without overlaps; together they cover the same letters and digits as before.

    Overlapping spans of one entity become one. Of different entities the higher score wins, then the longer span,
    then the earlier; the loser keeps what lies outside, if there is a letter or digit in it. Entities of ``last`` (what
    stays in the text) lose to all others.
    """
    ranked = sorted(
        _unite(spans),
        key=lambda span: (span.entity in last, -span.score, span.start - span.end, span.start, span.entity),
    )
    kept: list[PiiSpan] = []
    for span in ranked:
        rest = [(span.start, span.end)]
        for winner in kept:
            rest = [part for start, end in rest for part in _outside(start, end, winner)]
        whole = rest == [(span.start, span.end)]
        for start, end in rest:
            if not whole:
                piece = text[start:end]
                start, end = start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())
            if whole or any(map(str.isalnum, text[start:end])):
                kept.append(PiiSpan(start, end, span.entity, span.score))
    return sorted(kept, key=lambda span: span.start)


def _outside(start: int, end: int, winner: PiiSpan) -> list[tuple[int, int]]:
    if winner.end <= start or end <= winner.start:
        return [(start, end)]
    return [(low, high) for low, high in ((start, winner.start), (winner.end, end)) if low < high]


def _unite(spans: Sequence[PiiSpan]) -> list[PiiSpan]:
    united: dict[str, list[PiiSpan]] = {}
    for span in sorted(spans, key=lambda span: (span.start, span.end)):
        same = united.setdefault(span.entity, [])
        if same and span.start < same[-1].end:
            last = same.pop()
            span = PiiSpan(last.start, max(last.end, span.end), span.entity, max(last.score, span.score))
        same.append(span)
    return [span for same in united.values() for span in same]


def mask_placeholders(text: str) -> str:
    """Write meaningless words of the same length over what stands for findings: it would count as context, or more."""
    return WRITTEN.sub(lambda match: ("x " * len(match[0]))[: len(match[0]) - 1] + " ", text)
