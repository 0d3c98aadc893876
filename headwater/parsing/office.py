"""Word, PowerPoint and Excel.

Documents and presentations go through unstructured. Workbooks are read with openpyxl: unstructured reads them
through pandas, which turns cells that say ``NA`` or ``null`` into nothing and takes six times as long.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time
from typing import Any

from lxml import etree

from headwater.errors import ParseLimitExceeded
from headwater.parsing.blocks import Block
from headwater.parsing.partition import NO_LANGUAGE_DETECTION, blocks_of, classify
from headwater.parsing.tables import markdown_table
from headwater.policies import ParsePolicy

_CORE = "docProps/core.xml"
_DC = "{http://purl.org/dc/elements/1.1/}"
_TERMS = "{http://purl.org/dc/terms/}"
_SLIDE = re.compile(r"ppt/slides/slide\d+\.xml")
_DEFAULT_SHEET = re.compile(r"sheet ?\d*", re.IGNORECASE)


def docx_blocks(data: bytes, policy: ParsePolicy) -> tuple[list[Block], dict[str, Any]]:
    """Return a Word document's blocks; pages only where Word recorded its page breaks; running headers once each."""
    from unstructured.partition.docx import partition_docx

    elements = partition_docx(file=io.BytesIO(data), languages=NO_LANGUAGE_DETECTION)
    return list(_running_text_once(blocks_of(elements))), core_properties(data)


def _running_text_once(blocks: Iterable[Block]) -> Iterator[Block]:
    seen: set[str] = set()
    for block in blocks:
        if block.kind in ("Header", "Footer"):
            if block.text in seen:
                continue
            seen.add(block.text)
        yield block


def pptx_blocks(data: bytes, policy: ParsePolicy) -> tuple[list[Block], dict[str, Any]]:
    """Return a presentation's blocks: a page per slide, speaker notes included, the slide's title as section."""
    from unstructured.partition.pptx import partition_pptx

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        slides = sum(1 for name in archive.namelist() if _SLIDE.fullmatch(name))
    if slides > policy.max_pages:
        raise too_many_pages(slides, policy)
    elements = partition_pptx(file=io.BytesIO(data), include_slide_notes=True, languages=NO_LANGUAGE_DETECTION)
    blocks = list(blocks_of(elements))
    titles: dict[int | None, str] = {}
    for block in blocks:
        if block.level == 0:
            titles.setdefault(block.page, " ".join(block.text.split()))
    for block in blocks:
        # Outside the title's placeholder unstructured calls every short line a title: those are not headings.
        if block.level:
            block.kind, block.level = "Text", None
        block.section = (titles[block.page],) if block.page in titles else ()
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
            found = list(_sheet_blocks(sheet, page, section))
            if found and (len(sheets) > 1 or not _DEFAULT_SHEET.fullmatch(sheet.title)):
                blocks.append(Block("Title", sheet.title, page, 0, section))
            blocks.extend(found)
    finally:
        workbook.close()
    return blocks, {**core_properties(data), "pages": len(sheets), "notes": notes}


def _sheet_blocks(sheet: Any, page: int, section: tuple[str, ...]) -> Iterator[Block]:
    region: list[list[str]] = []
    for row in sheet.iter_rows(values_only=True):
        cells = [_cell(value) for value in row]
        if any(cells):
            region.append(cells)
        elif region:
            yield from _region_blocks(region, page, section)
            region = []
    if region:
        yield from _region_blocks(region, page, section)


def _region_blocks(rows: list[list[str]], page: int, section: tuple[str, ...]) -> Iterator[Block]:
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


def too_many_pages(pages: int, policy: ParsePolicy) -> ParseLimitExceeded:
    """Return the error of a document with more pages, slides or sheets than the policy allows."""
    return ParseLimitExceeded(
        f"{pages} pages are more than parse.max_pages allows ({policy.max_pages})", "too_many_pages"
    )


def core_properties(data: bytes) -> dict[str, Any]:
    """Return title, author, date (last modified) and language of an Office file, as far as it states them."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if _CORE not in archive.namelist():
            return {}
        source = archive.read(_CORE)
    try:
        root = etree.fromstring(source, etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.XMLSyntaxError:
        return {}
    fields = {
        "title": f"{_DC}title",
        "author": f"{_DC}creator",
        "date": f"{_TERMS}modified",
        "language": f"{_DC}language",
    }
    return {key: value for key, name in fields.items() if (value := (root.findtext(name) or "").strip())}
