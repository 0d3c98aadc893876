"""Tables as Markdown rows, and CSV.

CSV is read with the standard library: unstructured reads it through pandas, which guesses types, so ``007``
becomes ``7``, ``NA`` becomes nothing and an integer beside a gap becomes a float.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

from lxml import etree

from headwater.errors import EmptyDocument
from headwater.parsing.blocks import Block

_SNIFFED = 64 * 1024
_DELIMITERS = ",;\t|"
_STATED = re.compile(r'("?)sep=([,;:|^~\t])\1[ \t]*(?:\n|\Z)', re.IGNORECASE)
_MAX_FIELD = 2**24


def markdown_table(rows: Iterable[Sequence[str]]) -> str:
    """Return rows of cells as a Markdown table whose first row is the header; '' when no cell holds text.

    Line breaks in cells become spaces, ``|`` is escaped, and columns empty throughout are left out.
    """
    cells = [[_cell(cell) for cell in row] for row in rows]
    cells = [row for row in cells if any(row)]
    width = max((len(row) for row in cells), default=0)
    filled = [column for column in range(width) if any(column < len(row) and row[column] for row in cells)]
    if not filled:
        return ""
    lines = ["| " + " | ".join(row[column] if column < len(row) else "" for column in filled) + " |" for row in cells]
    if len(lines) > 1:
        lines.insert(1, "|" + " --- |" * len(filled))
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def html_table(html: str) -> str:
    """Return unstructured's ``text_as_html`` as a Markdown table; a cell that spans columns is followed by empty ones."""
    root = etree.fromstring(html, etree.HTMLParser(huge_tree=True))
    if root is None:
        return ""
    rows = []
    for row in root.iter("tr"):
        cells: list[str] = []
        for cell in row.iterchildren("td", "th"):
            cells.append(" ".join(cell.itertext()))
            span = cell.get("colspan", "1")
            cells.extend([""] * (min(int(span), 100) - 1 if span.isdigit() else 0))
        rows.append(cells)
    return markdown_table(rows)


def csv_blocks(text: str, tabs: bool) -> list[Block]:
    """Return a CSV or TSV file as one ``Table``.

    The delimiter is the one that a first line ``sep=;`` states (Excel's, and no row), else sniffed among comma,
    semicolon, tab and bar.

    Raises:
        EmptyDocument: no cell holds text.
    """
    csv.field_size_limit(_MAX_FIELD)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    stated = _STATED.match(text)
    if stated:
        text = text[stated.end() :]
    reader = csv.reader(io.StringIO(text), delimiter=stated[2] if stated else _delimiter(text, tabs))
    table = markdown_table(reader)
    if not table:
        raise EmptyDocument("the table holds no text")
    return [Block("Table", table)]


def _delimiter(text: str, tabs: bool) -> str:
    if tabs:
        return "\t"
    sample = text[:_SNIFFED]
    first = next((line for line in sample.splitlines() if line.strip()), "")
    try:
        return csv.Sniffer().sniff(sample, _DELIMITERS).delimiter
    except csv.Error:
        return max(_DELIMITERS, key=first.count)
