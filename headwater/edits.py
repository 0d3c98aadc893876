"""Edits of a text that keep every offset true.

Cleaning, boilerplate removal and anonymisation all change a document's text. Each says *what* it changes as
a list of edits; :func:`apply_edits` changes the text and :func:`edit_document` moves the elements with it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

from headwater.types import Element, ParsedDocument


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace ``text[start:end]`` by ``replacement``."""

    start: int
    end: int
    replacement: str = ""


def apply_edits(text: str, edits: Sequence[Edit]) -> str:
    """Return ``text`` with the edits applied.

    ``edits`` must be sorted by ``start`` and must not overlap; ``ValueError`` otherwise.
    """
    pieces: list[str] = []
    position = 0
    for edit in edits:
        if edit.start < position or edit.end < edit.start or edit.end > len(text):
            raise ValueError(f"edit {edit.start}:{edit.end} overlaps the one before it or leaves the text")
        pieces.append(text[position : edit.start])
        pieces.append(edit.replacement)
        position = edit.end
    pieces.append(text[position:])
    return "".join(pieces)


def inverse_edits(text: str, edits: Sequence[Edit]) -> list[Edit]:
    """Return the edits that lead back to ``text`` from what ``edits``, as :func:`apply_edits` takes them, make of it."""
    inverse: list[Edit] = []
    shift = 0
    for edit in edits:
        start = edit.start + shift
        inverse.append(Edit(start, start + len(edit.replacement), text[edit.start : edit.end]))
        shift += len(edit.replacement) - (edit.end - edit.start)
    return inverse


class OffsetMap:
    """Maps character offsets of the old text to offsets of the edited one.

    An offset inside a replaced span maps to the start of the replacement (``left``) or to its end (``right``),
    so a span that contains an edit keeps containing it.
    """

    def __init__(self, edits: Sequence[Edit]) -> None:
        self._edits = list(edits)
        self._starts = [edit.start for edit in edits]
        self._shifts = [0]
        for edit in edits:
            self._shifts.append(self._shifts[-1] + len(edit.replacement) - (edit.end - edit.start))

    def left(self, offset: int) -> int:
        """Return the new offset of a span's start."""
        index = bisect_right(self._starts, offset) - 1
        if index >= 0 and offset < self._edits[index].end:
            return self._edits[index].start + self._shifts[index]
        return offset + self._shifts[index + 1]

    def right(self, offset: int) -> int:
        """Return the new offset of a span's end (exclusive)."""
        index = bisect_right(self._starts, offset - 1) - 1
        if index >= 0 and offset - 1 < self._edits[index].end and offset > self._edits[index].start:
            edit = self._edits[index]
            return edit.start + self._shifts[index] + len(edit.replacement)
        return offset + self._shifts[index + 1]


def edit_document(document: ParsedDocument, edits: Sequence[Edit]) -> ParsedDocument:
    """Return the document with its text edited and its elements moved; elements left without text are dropped.

    Section paths and metadata are left as they are: the caller decides what happens to those strings.
    """
    if not edits:
        return document
    text = apply_edits(document.text, edits)
    offsets = OffsetMap(edits)
    elements: list[Element] = []
    previous_end = 0
    for element in document.elements:
        start = max(offsets.left(element.start), previous_end)
        end = max(offsets.right(element.end), start)
        piece = text[start:end]
        stripped = piece.strip()
        if not stripped:
            continue
        start += len(piece) - len(piece.lstrip())
        end = start + len(stripped)
        elements.append(replace(element, text=stripped, start=start, end=end))
        previous_end = end
    return ParsedDocument(text=text, elements=tuple(elements), metadata=document.metadata)
