"""The header rows of tables: what a chunk that begins further down in a table needs to be understood."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from headwater.chunking.tokens import TokenizedText
from headwater.chunking.units import Unit

ROOM_SHARE = 1 / 3
"""A header row that takes more of a chunk's room than this is left out: it would leave too little for the rows."""

_BAR = re.compile(r"(?<!\\)\|")
_LETTER = re.compile(r"[^\W\d_]")
_DIGIT = re.compile(r"\d")
_YEAR = re.compile(r"(?:19|20)\d\d(?:[/–-]\d{2,4})?")


class _Table(NamedTuple):
    """The header row ends at ``below``, the table at ``end``; ``weight`` is the header's, in tokens."""

    below: int
    end: int
    header: str
    weight: int


class TableHeaders:
    """The header rows of the tables among ``units``, found by any place further down in the same table.

    A table's header is its first row, unless that reads like data: a cell without a letter that is a number, but no year.
    """

    def __init__(self, units: Sequence[Unit], text: TokenizedText) -> None:
        self._tables: list[_Table] = []
        for unit in units:
            row, _, rest = text.text[unit.start : unit.end].partition("\n") if unit.table else ("", "", "")
            if rest and _names_columns(row):
                below = unit.start + len(row)
                self._tables.append(_Table(below, unit.end, row.strip(), text.weight(unit.start, below)))
        self._starts = [table.below for table in self._tables]

    def at(self, offset: int, room: int) -> str:
        """Return the header of the table in which ``offset`` stands, '' unless it is further up and leaves enough of ``room``."""
        index = bisect_right(self._starts, offset)
        table = self._tables[index - 1] if index else None
        return table.header if table and offset < table.end and table.weight <= room * ROOM_SHARE else ""


def _names_columns(row: str) -> bool:
    cells = [cell.strip() for cell in _BAR.split(row)]
    values = [cell for cell in cells if not _LETTER.search(cell)]
    return len(values) < len(cells) and not any(_DIGIT.search(cell) and not _YEAR.fullmatch(cell) for cell in values)
