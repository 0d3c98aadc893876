"""Word, PowerPoint and Excel.

Documents and presentations are walked over as XML. Workbooks are read with openpyxl: unstructured reads them
through pandas, which turns cells that say ``NA`` or ``null`` into nothing and takes six times as long.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time
from typing import Any

from lxml import etree

from headwater.parsing.blocks import Block
from headwater.parsing.docx import docx_tree_blocks
from headwater.parsing.limits import too_many_pages
from headwater.parsing.metadata import date_of, people_of, words_of
from headwater.parsing.partition import classify
from headwater.parsing.pptx import pptx_tree_blocks
from headwater.parsing.tables import markdown_table
from headwater.policies import ParsePolicy

_CORE = "docProps/core.xml"
_DC = "{http://purl.org/dc/elements/1.1/}"
_CP = "{http://schemas.openxmlformats.org/package/2006/metadata/core-properties}"
_TERMS = "{http://purl.org/dc/terms/}"
_DEFAULT_SHEET = re.compile(r"sheet ?\d*", re.IGNORECASE)


def docx_blocks(data: bytes, policy: ParsePolicy) -> tuple[list[Block], dict[str, Any]]:
    """Return a Word document's blocks; pages only where Word recorded its page breaks; running headers once each."""
    return docx_tree_blocks(data), core_properties(data)


def pptx_blocks(data: bytes, policy: ParsePolicy) -> tuple[list[Block], dict[str, Any]]:
    """Return a presentation's blocks: a page per slide, speaker notes included, the slide's title as section."""
    blocks, slides = pptx_tree_blocks(data, policy)
    return blocks, {**core_properties(data), "pages": slides}


def xlsx_blocks(data: bytes, policy: ParsePolicy) -> tuple[list[Block], dict[str, Any]]:
    """Return a workbook's blocks: a page and a section per visible sheet, a table per region between empty rows.

    Values as Excel last computed them; a row with a single cell beside a table is text.
    """
    import openpyxl  # type: ignore[import-untyped]

    workbook = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    try:
        sheets = workbook.worksheets
        if len(sheets) > policy.max_pages:
            raise too_many_pages(len(sheets), policy)
        blocks: list[Block] = []
        notes: list[str] = []
        for page, sheet in enumerate(sheets, start=1):
            if sheet.sheet_state != "visible":
                notes.append(f"sheet {page} is hidden and was left out")
                continue
            sheet.reset_dimensions()  # files that state a million empty columns
            section = (sheet.title,)
            found = list(region_blocks(sheet.iter_rows(values_only=True), page, section))
            if found and (len(sheets) > 1 or not is_default_sheet(sheet.title)):
                blocks.append(Block("Title", sheet.title, page, 0, section))
            blocks.extend(found)
    finally:
        workbook.close()
    return blocks, {**core_properties(data), "pages": len(sheets), "notes": notes}


def region_blocks(rows: Iterable[Sequence[Any]], page: int, section: tuple[str, ...]) -> Iterator[Block]:
    """Yield the blocks of a sheet's rows of values: a table per region between empty rows, single cells as text."""
    region: list[list[str]] = []
    for row in rows:
        cells = [_cell(value) for value in row]
        if any(cells):
            region.append(cells)
        elif region:
            yield from _region(region, page, section)
            region = []
    if region:
        yield from _region(region, page, section)


def _region(rows: list[list[str]], page: int, section: tuple[str, ...]) -> Iterator[Block]:
    single = [sum(map(bool, row)) == 1 for row in rows]
    first = next((index for index, alone in enumerate(single) if not alone), len(rows))
    last = len(rows) - next((index for index, alone in enumerate(reversed(single)) if not alone), 0)
    if first == len(rows):  # a single column: lines of text or a list of values
        yield Block("Text", "\n".join("".join(row) for row in rows), page, section=section)
        return
    for row in rows[:first]:
        yield Block(classify("".join(row)), "".join(row), page, section=section)
    yield Block("Table", markdown_table(rows[first:last]), page, section=section)
    for row in rows[last:]:
        yield Block(classify("".join(row)), "".join(row), page, section=section)


def is_default_sheet(name: str) -> bool:
    """Whether a sheet's name is the program's own, and says nothing."""
    return _DEFAULT_SHEET.fullmatch(name) is not None


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(" ")
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, float):
        return f"{value:.15g}"  # the precision Excel shows
    return str(value).strip()


def core_properties(data: bytes) -> dict[str, Any]:
    """Return title, authors, dates, language and keywords of an Office file, as far as it states them."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if _CORE not in archive.namelist():
            return {}
        source = archive.read(_CORE)
    try:
        root = etree.fromstring(source, etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.XMLSyntaxError:
        return {}

    def stated(name: str) -> str:
        return (root.findtext(name) or "").strip()

    fields = {
        "title": stated(f"{_DC}title"),
        "authors": people_of(stated(f"{_DC}creator")),
        "date": date_of(stated(f"{_TERMS}created")),
        "modified": date_of(stated(f"{_TERMS}modified")),
        "language": stated(f"{_DC}language"),
        "keywords": words_of(stated(f"{_CP}keywords")),
    }
    return {key: value for key, value in fields.items() if value}
