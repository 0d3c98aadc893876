"""OpenDocument text, sheets and slides (ISO/IEC 26300), by a walk over content.xml."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headwater.errors import CorruptDocument, EncryptedDocument
from headwater.parsing.archive import open_archive, read_part
from headwater.parsing.blocks import Block
from headwater.parsing.limits import too_many_pages
from headwater.parsing.metadata import date_of, people_of, words_of
from headwater.parsing.partition import classify
from headwater.parsing.tables import markdown_table
from headwater.parsing.xml import safe_xml
from headwater.policies import ParsePolicy

_NS = "{urn:oasis:names:tc:opendocument:xmlns:%s:1.0}"
_TEXT, _TABLE, _DRAW, _META = (_NS % name for name in ("text", "table", "drawing", "meta"))
_OFFICE, _PRESENTATION = _NS % "office", _NS % "presentation"
_DC = "{http://purl.org/dc/elements/1.1/}"
_MAX_REPEAT = 200
"""Repeats of a cell or row that are written out; sheets end with one that repeats a million times."""

_NOT_READ = (
    f"{_TEXT}tracked-changes",
    f"{_OFFICE}annotation",
    f"{_OFFICE}forms",
    f"{_TEXT}sequence-decls",
    f"{_TEXT}table-of-content",
)


def opendocument_blocks(data: bytes, policy: ParsePolicy) -> tuple[list[Block], dict[str, Any]]:
    """Return the blocks of an OpenDocument file, and what its meta.xml states; a page per slide or sheet.

    Raises:
        EncryptedDocument: the file has a password.
        CorruptDocument: a part is missing or is not well-formed.
    """
    with open_archive(data, policy) as archive:
        manifest = read_part(archive, "META-INF/manifest.xml")
        content = read_part(archive, "content.xml")
        meta = read_part(archive, "meta.xml")
    if manifest is not None and b"encryption-data" in manifest:
        raise EncryptedDocument("the OpenDocument file needs a password; store a copy without one")
    if content is None:
        raise CorruptDocument("the document has no content.xml; save it again")
    body = safe_xml(content).find(f"{_OFFICE}body")
    if body is None or not len(body):
        raise CorruptDocument("the document has no body; save it again")
    pages = [child for child in body[0] if child.tag in (f"{_DRAW}page", f"{_TABLE}table")]
    metadata = _stated(meta)
    if body[0].tag in (f"{_OFFICE}presentation", f"{_OFFICE}spreadsheet", f"{_OFFICE}drawing"):
        if len(pages) > policy.max_pages:
            raise too_many_pages(len(pages), policy)
        blocks = [block for number, page in enumerate(pages, start=1) for block in _page(page, number)]
        return blocks, {**metadata, "pages": len(pages)}
    return list(_blocks(body[0], None)), metadata


def _page(page: Any, number: int) -> Iterator[Block]:
    found = list(_blocks(page, number))
    if page.tag == f"{_DRAW}page":
        title = next(
            (_words(frame) for frame in page.iter(f"{_DRAW}frame") if frame.get(f"{_PRESENTATION}class") == "title"), ""
        )
        for block in found:
            block.section = (title,) if title else ()
            if title and block.text == title:
                block.kind, block.level = "Title", 0
        yield from found
    elif found:
        name = page.get(f"{_TABLE}name") or f"Sheet {number}"
        yield Block("Title", name, number, 0, (name,))
        for block in found:
            block.section = (name,)
            yield block


def _blocks(parent: Any, page: int | None, item: bool = False) -> Iterator[Block]:
    children = [parent] if parent.tag == f"{_TABLE}table" else parent
    for child in children:
        tag = child.tag
        if not isinstance(tag, str) or tag in _NOT_READ:
            continue
        if tag == f"{_TEXT}h":
            level = child.get(f"{_TEXT}outline-level", "1")
            yield Block("Title", _words(child), page, max(int(level) - 1, 0) if level.isdecimal() else 0)
            for box in _boxes(child):
                yield from _blocks(box, page)
        elif tag == f"{_TEXT}p":
            text = _words(child)
            if text:
                yield Block("ListItem" if item else classify(text), text, page)
            for box in _boxes(child):
                yield from _blocks(box, page)
        elif tag == f"{_TABLE}table":
            table = markdown_table(_rows(child))
            if table:
                yield Block("Table", table, page)
        elif tag == f"{_TEXT}list":
            for entry in child:
                yield from _blocks(entry, page, item=True)
        else:
            yield from _blocks(child, page, item)


def _rows(table: Any) -> Iterator[list[str]]:
    for row in table.iter(f"{_TABLE}table-row"):
        if next(row.iterancestors(f"{_TABLE}table")) is not table:
            continue
        cells: list[str] = []
        for cell in row.iterchildren(f"{_TABLE}table-cell", f"{_TABLE}covered-table-cell"):
            text = " ".join(filter(None, map(_words, _paragraphs(cell))))
            cells.extend([text] * _repeats(cell, "columns"))
        for _ in range(_repeats(row, "rows") if any(cells) else 1):
            yield cells


def _paragraphs(parent: Any) -> Iterator[Any]:
    """Yield what of a cell :func:`_words` reads: its paragraphs, and those of the text boxes that are anchored to them."""
    for child in parent:
        if child.tag in (f"{_TEXT}p", f"{_TEXT}h"):
            yield child
            for box in _boxes(child):
                yield from _paragraphs(box)
        elif child.tag not in _NOT_READ:
            yield from _paragraphs(child)


def _boxes(parent: Any) -> Iterator[Any]:
    """Yield the text boxes in a paragraph, without those that are in one of them."""
    for child in parent:
        if child.tag == f"{_DRAW}text-box":
            yield child
        elif child.tag not in _NOT_READ:
            yield from _boxes(child)


def _repeats(element: Any, what: str) -> int:
    value = element.get(f"{_TABLE}number-{what}-repeated", "1")
    return min(int(value), _MAX_REPEAT) if value.isdecimal() and len(value) < 10 else 1


def _words(element: Any) -> str:
    pieces: list[str] = []
    _gather(element, pieces)
    return "\n".join(" ".join(line.split()) for line in "".join(pieces).split("\n")).strip()


def _gather(element: Any, pieces: list[str]) -> None:
    pieces.append(" ".join((element.text or "").split("\n")))
    for child in element:
        tag = child.tag
        if tag == f"{_TEXT}line-break":
            pieces.append("\n")
        elif tag in (f"{_TEXT}s", f"{_TEXT}tab"):
            pieces.append(" ")
        elif tag == f"{_TEXT}note":
            body = child.find(f"{_TEXT}note-body")
            pieces.append(f" ({_words(body)}) " if body is not None else "")
        elif isinstance(tag, str) and tag not in _NOT_READ and tag != f"{_DRAW}text-box":
            _gather(child, pieces)
            if tag in (f"{_TEXT}p", f"{_TEXT}h"):
                pieces.append("\n")
        pieces.append(" ".join((child.tail or "").split("\n")))


def _stated(meta: bytes | None) -> dict[str, Any]:
    if meta is None:
        return {}
    root = safe_xml(meta)

    def stated(name: str) -> str:
        return (root.findtext(f".//{name}") or "").strip()

    fields = {
        "title": stated(f"{_DC}title"),
        "authors": people_of(stated(f"{_META}initial-creator") or stated(f"{_DC}creator")),
        "date": date_of(stated(f"{_META}creation-date")),
        "modified": date_of(stated(f"{_DC}date")),
        "language": stated(f"{_DC}language"),
        "keywords": words_of([keyword.text for keyword in root.iter(f"{_META}keyword")]),
    }
    return {key: value for key, value in fields.items() if value}
