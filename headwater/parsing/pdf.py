"""PDF: the text layer, with pypdfium2. Lines become paragraphs by their distance, headings by their size."""

from __future__ import annotations

import ctypes
import re
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, pairwise
from statistics import median
from typing import Any

from headwater.errors import CorruptDocument, EmptyDocument, EncryptedDocument
from headwater.parsing.blocks import MAX_HEADING, Block
from headwater.parsing.limits import too_many_pages
from headwater.parsing.metadata import date_of, people_of, words_of
from headwater.parsing.ocr import drawn, engine, recognise
from headwater.parsing.partition import classify
from headwater.parsing.unlock import locked, passwords
from headwater.policies import ParsePolicy

_LOCK = threading.Lock()  # PDFium is not thread-safe
_GAP = 1.35  # times the page's usual line distance: more is a new paragraph
_LARGER = 1.15  # times the body's font size: more is a heading
_MAX_LEVELS = 4
_MAX_HEADING_LINES = 3
_SOFT_HYPHEN = "\ufffe"  # what PDFium puts for a hyphen at a line's end, joining the lines
_HYPHENATED = re.compile(r"\w-$")
_BULLET = re.compile(r"[\u2022\u2023\u25aa\u25cf\u25e6\u00b7]|[-*\u2013]\s|\(?\d{1,3}[.)]\s")


@dataclass(slots=True)
class _Line:
    text: str
    size: float  # font size in points; 0 where unknown
    top: float  # distance from the bottom of the page, in points
    bottom: float


@dataclass(slots=True)
class _Paragraph:
    page: int
    lines: list[_Line] = field(default_factory=list)

    @property
    def size(self) -> float:
        return self.lines[0].size

    @property
    def text(self) -> str:
        parts: list[str] = []
        for line in self.lines:
            text = line.text.strip()
            if parts and _HYPHENATED.search(parts[-1]) and text[:1].islower():
                parts[-1] = parts[-1][:-1] + text
            else:
                parts.append(text)
        return " ".join(parts).replace(_SOFT_HYPHEN, "")


def pdf_blocks(data: bytes, policy: ParsePolicy) -> tuple[list[Block], dict[str, Any]]:
    """Return the text layer's paragraphs with their page numbers.

    Raises:
        EncryptedDocument: a password is needed to open the document.
        ParseLimitExceeded: more than ``policy.max_pages`` pages.
        EmptyDocument: no page holds text (code ``no_text_layer``): scans need optical character recognition first.
        CorruptDocument: not a readable PDF.
    """
    import pypdfium2

    with _LOCK:
        document = _open(data, policy)
        try:
            pages = len(document)
            if pages > policy.max_pages:
                raise too_many_pages(pages, policy)
            paragraphs: list[_Paragraph] = []
            scans: dict[int, list[Block]] = {}
            empty = unreadable = 0
            for number in range(pages):
                try:
                    lines = _lines(document, number)
                except pypdfium2.PdfiumError:
                    unreadable += 1
                    continue
                if not lines and policy.ocr:
                    scans[number + 1] = _recognised(document, number, policy)
                empty += not lines and not scans.get(number + 1)
                paragraphs.extend(_paragraphs(lines, number + 1))
            metadata = _metadata(document)
        finally:
            document.close()
    if unreadable == pages:
        raise CorruptDocument("no page of the PDF can be read; save or export the document again")
    if not paragraphs and not any(scans.values()):
        raise EmptyDocument("the PDF has no text layer; run optical character recognition over it", "no_text_layer")
    notes = [f"{empty} of {pages} pages hold no text"] if empty else []
    notes += [f"{unreadable} of {pages} pages can't be read"] if unreadable else []
    read = sum(bool(found) for found in scans.values())
    notes += [f"{read} of {pages} pages were read with OCR"] if read else []
    blocks = [*_blocks(paragraphs), *(block for found in scans.values() for block in found)]
    if read:
        blocks.sort(key=lambda block: block.page or 0)  # stable: pages in order, and the order within a page kept
        metadata["ocr"] = engine()
    return blocks, {**metadata, "pages": pages, "notes": notes}


def _recognised(document: Any, number: int, policy: ParsePolicy) -> list[Block]:
    page = document[number]
    try:
        picture = drawn(page, policy)
    finally:
        page.close()
    return recognise(picture, policy, number + 1)


def _open(data: bytes, policy: ParsePolicy) -> Any:
    import pypdfium2
    import pypdfium2.raw as pdfium

    for password in chain((None,), passwords(policy)):
        try:
            return pypdfium2.PdfDocument(data, password=password)
        except pypdfium2.PdfiumError as error:
            code = getattr(error, "err_code", None)
            if code == pdfium.FPDF_ERR_SECURITY:
                raise EncryptedDocument(
                    "the PDF is protected in a way that can't be read; store a copy without it"
                ) from error
            if code != pdfium.FPDF_ERR_PASSWORD:
                raise CorruptDocument("not a readable PDF; save or export the document again") from error
    raise locked("the PDF", policy)


def _metadata(document: Any) -> dict[str, Any]:
    stated = document.get_metadata_dict(skip_empty=True)
    result = {
        "title": stated.get("Title"),
        "authors": people_of(stated.get("Author")),
        "date": date_of(stated.get("CreationDate")),
        "modified": date_of(stated.get("ModDate")),
        "keywords": words_of(stated.get("Keywords")),
    }
    return {key: value for key, value in result.items() if value}


def _lines(document: Any, number: int) -> list[_Line]:
    """Return the lines of a page in the order of its content."""
    import pypdfium2.raw as pdfium

    page = document[number]
    try:
        textpage = page.get_textpage()
        try:
            text = textpage.get_text_range()
            exact = len(text) == textpage.count_chars()  # else offsets into the text are no character numbers
            box = [ctypes.c_double() for _ in range(4)]  # left, right, bottom, top
            lines: list[_Line] = []
            start = 0
            for raw in text.splitlines(keepends=True):
                line = raw.rstrip("\r\n")
                if line.strip():
                    size = top = bottom = 0.0
                    if exact:
                        index = start + len(line) - len(line.lstrip())
                        size = float(pdfium.FPDFText_GetFontSize(textpage, index))
                        rectangle = pdfium.FS_RECTF()
                        if pdfium.FPDFText_GetLooseCharBox(textpage, index, rectangle):
                            top, bottom = rectangle.top, rectangle.bottom
                        elif pdfium.FPDFText_GetCharBox(textpage, index, *box):
                            top, bottom = box[3].value, box[2].value
                        size = max(size, 0.0) if size > 1 else abs(top - bottom)
                    lines.append(_Line(line, size, top, bottom))
                start += len(raw)
            return lines
        finally:
            textpage.close()
    finally:
        page.close()


def _paragraphs(lines: list[_Line], page: int) -> Iterator[_Paragraph]:
    steps = [above.bottom - below.bottom for above, below in pairwise(lines)]
    usual = median(positive) if (positive := [step for step in steps if step > 0.5]) else 0.0
    current = _Paragraph(page)
    for line in lines:
        if current.lines and _breaks(current.lines[-1], line, usual):
            yield current
            current = _Paragraph(page)
        current.lines.append(line)
    if current.lines:
        yield current


def _breaks(above: _Line, below: _Line, usual: float) -> bool:
    if _BULLET.match(below.text.lstrip()):
        return True
    if above.size and abs(above.size - below.size) > 0.1 * above.size:
        return True
    step = above.bottom - below.bottom
    if usual and step < -usual:  # the top of the next column: the sentence may go on
        return above.text.rstrip()[-1:] in ".!?:" or not below.text.lstrip()[:1].islower()
    if usual:
        return step > _GAP * usual
    return above.text.rstrip()[-1:] in ".!?:"


def _blocks(paragraphs: list[_Paragraph]) -> Iterator[Block]:
    weights: Counter[float] = Counter()
    for paragraph in paragraphs:
        for line in paragraph.lines:
            weights[round(line.size * 2) / 2] += len(line.text)
    body = weights.most_common(1)[0][0] if weights else 0.0
    larger = sorted((size for size in weights if body and size > _LARGER * body), reverse=True)
    for paragraph in paragraphs:
        text = paragraph.text
        size = round(paragraph.size * 2) / 2
        heading = size in larger and len(paragraph.lines) <= _MAX_HEADING_LINES and len(text) <= MAX_HEADING
        if heading and sum(character.isalpha() for character in text) > 1:
            yield Block("Title", text, paragraph.page, min(larger.index(size), _MAX_LEVELS - 1))
        else:
            yield Block(classify(text), text, paragraph.page)
