"""The pages of a document by character offsets: where a chunk begins, and which pages begin inside it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from headwater.types import PageBreak, ParsedDocument


class Pages:
    """The places at which the elements of ``document`` change their page; what has no page goes with what is before."""

    def __init__(self, document: ParsedDocument) -> None:
        self._breaks: list[PageBreak] = []
        for element in document.elements:
            if element.page is not None and (not self._breaks or self._breaks[-1].page != element.page):
                self._breaks.append(PageBreak(element.page, element.start))
        self._starts = [one.start for one in self._breaks]

    def at(self, offset: int) -> int | None:
        """Return the page on which a character stands, None before the first page."""
        index = bisect_right(self._starts, offset)
        return self._breaks[index - 1].page if index else None

    def inside(self, start: int, end: int) -> tuple[PageBreak, ...]:
        """Return the pages that begin after ``start`` and before ``end``."""
        return tuple(self._breaks[bisect_right(self._starts, start) : bisect_left(self._starts, end)])
