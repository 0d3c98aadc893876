"""Texts as personal data is looked for in them: without what nobody sees, and with the way back to what was given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from headwater.edits import OffsetMap, apply_edits, inverse_edits
from headwater.policies import QualityPolicy
from headwater.quality.cleaning import clean_steps
from headwater.types import PiiSpan

_CLEANING = QualityPolicy()


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A text as :mod:`headwater.quality.cleaning` leaves it, with its offsets to and from the text that was given."""

    text: str
    _there: Sequence[OffsetMap]
    _back: Sequence[OffsetMap]

    @classmethod
    def of(cls, text: str) -> Cleaned:
        """Clean a text."""
        there: list[OffsetMap] = []
        back: list[OffsetMap] = []
        for edits in clean_steps(text, _CLEANING):
            there.append(OffsetMap(edits))
            back.insert(0, OffsetMap(inverse_edits(text, edits)))
            text = apply_edits(text, edits)
        return cls(text, there, back)

    def inside(self, spans: Sequence[PiiSpan]) -> Sequence[PiiSpan]:
        """Return spans of the text that was given as spans of this one; those of which nothing is left go."""
        return [span for span in _moved(spans, self._there) if span.start < span.end]

    def given(self, spans: Sequence[PiiSpan]) -> list[PiiSpan]:
        """Return spans of this text, which are in order and apart, as spans of the one that was given, each with what
        nobody sees inside it.

        They are as many, and apart: of two that meet in one replaced character the second may be left empty.
        """
        moved: list[PiiSpan] = []
        for span in _moved(spans, self._back):
            start = max(span.start, moved[-1].end) if moved else span.start
            moved.append(PiiSpan(start, max(start, span.end), span.entity, span.score))
        return moved


def _moved(spans: Iterable[PiiSpan], maps: Sequence[OffsetMap]) -> Iterator[PiiSpan]:
    for span in spans:
        start, end = span.start, span.end
        for offsets in maps:
            start, end = offsets.left(start), offsets.right(end)
        yield PiiSpan(start, end, span.entity, span.score)
