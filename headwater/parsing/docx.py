"""Word documents: a walk over WordprocessingML (ISO/IEC 29500-1, 17).

The kinds and levels are those of unstructured's ``partition_docx``; beside it, footnotes are read, hidden and deleted
text is left out, and merged cells are repeated in the rows they span.
"""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from headwater.errors import CorruptDocument
from headwater.parsing.blocks import Block
from headwater.parsing.ooxml import parsed_part, relations
from headwater.parsing.partition import classify
from headwater.parsing.tables import markdown_table

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_R_ID = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_DOCUMENT = "word/document.xml"
_HEADING = re.compile(r"heading (\d)")
_NOT_SHOWN = frozenset(
    f"{_W}{name}" for name in ("del", "moveFrom", "instrText", "delText", "rPr", "pPr", "sectPr", "sdtPr", "tblPr")
)
_BREAKS = {f"{_W}br": "\n", f"{_W}cr": "\n", f"{_W}tab": " ", f"{_W}noBreakHyphen": "-"}
_CONTAINERS = frozenset(
    f"{_W}{name}" for name in ("sdt", "sdtContent", "ins", "moveTo", "smartTag", "customXml", "body")
)
_NO_NOTE = ("separator", "continuationSeparator", "continuationNotice")


@dataclass(frozen=True, slots=True)
class _Style:
    level: int | None
    is_list: bool


@dataclass(slots=True)
class _State:
    styles: dict[str, _Style]
    paged: bool
    page: int = 1
    boxes: list[Any] = field(default_factory=list)

    @property
    def number(self) -> int | None:
        return self.page if self.paged else None


def docx_tree_blocks(data: bytes) -> list[Block]:
    """Return a Word document's blocks; pages only where Word recorded its page breaks; running headers once each.

    Raises:
        CorruptDocument: the main part is missing or broken.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = frozenset(archive.namelist())
        main = _main_part(archive, names)
        root = parsed_part(archive, main)
        if root is None:
            raise CorruptDocument("the document has no readable main part; save it again")
        folder = posixpath.dirname(main)
        styles = _styles(parsed_part(archive, f"{folder}/styles.xml") if f"{folder}/styles.xml" in names else None)
        related = relations(archive, main, names)
        running = {
            kind: [
                block
                for reference in root.iter(f"{_W}{kind}Reference")
                if (target := related.get(reference.get(_R_ID)))
                and (part := parsed_part(archive, target[1])) is not None
                for block in _running(part, styles, kind.title())
            ]
            for kind in ("header", "footer")
        }
        notes = [
            block
            for name in ("footnotes", "endnotes")
            if f"{folder}/{name}.xml" in names and (part := parsed_part(archive, f"{folder}/{name}.xml")) is not None
            for block in _notes(part, styles)
        ]
    state = _State(styles, paged=next(root.iter(f"{_W}lastRenderedPageBreak"), None) is not None)
    body = root.find(f"{_W}body")
    blocks = list(_flow(body, state)) if body is not None else []
    return [*_once(running["header"]), *blocks, *notes, *_once(running["footer"])]


def _main_part(archive: zipfile.ZipFile, names: frozenset[str]) -> str:
    if _DOCUMENT in names:
        return _DOCUMENT
    return next((name for name in sorted(names) if re.fullmatch(r"word/document\d*\.xml", name)), _DOCUMENT)


def _styles(root: Any | None) -> dict[str, _Style]:
    if root is None:
        return {}
    elements = {style.get(f"{_W}styleId"): style for style in root.iter(f"{_W}style")}
    return {key: _style(key, elements) for key in elements}


def _style(key: str, elements: dict[str, Any]) -> _Style:
    """Resolve a paragraph style: by its name, its outline level, or the style it is based on."""
    seen: set[str] = set()
    is_list = False
    while key in elements and key not in seen:
        seen.add(key)
        style = elements[key]
        name = _value(style.find(f"{_W}name")).lower()
        is_list = is_list or name.startswith("list ") or style.find(f"{_W}pPr/{_W}numPr") is not None
        heading = _HEADING.match(name)
        outline = _value(style.find(f"{_W}pPr/{_W}outlineLvl"))
        if heading:
            return _Style(int(heading[1]) - 1, False)
        if name == "title":
            return _Style(0, False)
        if name == "subtitle":
            return _Style(1, False)
        if outline.isdecimal() and int(outline) < 9:
            return _Style(int(outline), False)
        key = _value(style.find(f"{_W}basedOn"))
    return _Style(None, is_list)


def _value(element: Any | None) -> str:
    return (element.get(f"{_W}val") or "") if element is not None else ""


def _is_on(element: Any | None) -> bool:
    """Whether a property is set; ``w:val="0"`` switches off what the style switches on (ISO/IEC 29500-1, 17.17.4)."""
    return element is not None and _value(element) not in ("0", "false", "off")


def _flow(parent: Any, state: _State) -> Iterator[Block]:
    for child in parent:
        if child.tag == f"{_W}p":
            yield from _paragraph(child, state)
        elif child.tag == f"{_W}tbl":
            yield from _table(child, state)
        elif child.tag in _CONTAINERS:
            yield from _flow(child, state)


def _paragraph(paragraph: Any, state: _State) -> Iterator[Block]:
    pieces: list[str] = []
    before = state.page
    _gather(paragraph, pieces, state)
    text = "\n".join(" ".join(line.split()) for line in "".join(pieces).split("\n")).strip()
    boxes, state.boxes = state.boxes, []
    if text:
        # A paragraph is on the page on which its first words stand; _gather marks breaks before them with a page of its own.
        page = state.number if "".join(pieces).startswith("\f") else (before if state.paged else None)
        yield _block(paragraph, text, page, state)
    for box in boxes:
        yield from _flow(box, state)


def _block(paragraph: Any, text: str, page: int | None, state: _State) -> Block:
    properties = paragraph.find(f"{_W}pPr")
    level, is_list = None, False
    if properties is not None:
        style = state.styles.get(_value(properties.find(f"{_W}pStyle")))
        if style is not None:
            level, is_list = style.level, style.is_list
        outline = _value(properties.find(f"{_W}outlineLvl"))
        if outline.isdecimal() and int(outline) < 9:
            level = int(outline)
        number = properties.find(f"{_W}numPr/{_W}numId")
        if number is not None:
            is_list = _value(number) != "0"
    if level is not None:
        return Block("Title", text, page, level)
    return Block("ListItem" if is_list else classify(text), text, page)


def _gather(element: Any, pieces: list[str], state: _State) -> None:
    for child in element:
        tag = child.tag
        if tag == f"{_W}t" or tag == f"{_M}t":
            pieces.append(child.text or "")
        elif tag in _BREAKS:
            pieces.append(_BREAKS[tag])
        elif tag == f"{_W}lastRenderedPageBreak":
            if not "".join(pieces).strip():
                pieces.append("\f")
            state.page += 1
        elif tag == f"{_W}txbxContent":
            state.boxes.append(child)
        elif tag == f"{_MC}AlternateContent":
            chosen = child.find(f"{_MC}Choice")
            if chosen is not None:
                _gather(chosen, pieces, state)
        elif tag == f"{_W}r":
            if not _is_on(child.find(f"{_W}rPr/{_W}vanish")):
                _gather(child, pieces, state)
        elif isinstance(tag, str) and tag not in _NOT_SHOWN:
            _gather(child, pieces, state)


def _table(table: Any, state: _State) -> Iterator[Block]:
    rows = [list(_cells(row)) for row in _own(table, "tr")]
    if max((len(row) for row in rows), default=0) <= 1:  # a box around text
        for row in rows:
            for cell in row:
                yield from _flow(cell, state)
        return
    page = state.number
    texts: list[list[str]] = []
    above: dict[int, str] = {}
    for row in rows:
        cells: list[str] = []
        for cell in row:
            properties = cell.find(f"{_W}tcPr")
            merge = properties.find(f"{_W}vMerge") if properties is not None else None
            span = _value(properties.find(f"{_W}gridSpan")) if properties is not None else ""
            column = len(cells)
            text = _cell_text(cell, state)
            if merge is not None and _value(merge) != "restart":
                text = text or above.get(column, "")
            above[column] = text
            cells.extend([text, *([""] * (min(int(span), 100) - 1 if span.isdecimal() else 0))])
        texts.append(cells)
    found = markdown_table(texts)
    if found:
        yield Block("Table", found, page)


def _cell_text(cell: Any, state: _State) -> str:
    parts = []
    for block in _flow(cell, state):
        parts.append(re.sub(r"\s*\|\s*(?:---\s*\|\s*)*", " ", block.text) if block.kind == "Table" else block.text)
    return " ".join(" ".join(parts).split())


def _own(parent: Any, name: str) -> Iterator[Any]:
    for child in parent:
        if child.tag == f"{_W}{name}":
            yield child
        elif child.tag in _CONTAINERS:
            yield from _own(child, name)


def _cells(row: Any) -> Iterator[Any]:
    return _own(row, "tc")


def _running(part: Any, styles: dict[str, _Style], kind: str) -> Iterator[Block]:
    for block in _flow(part, _State(styles, paged=False)):
        yield Block(kind, block.text)


def _once(blocks: list[Block]) -> list[Block]:
    return list({block.text: block for block in blocks}.values())


def _notes(part: Any, styles: dict[str, _Style]) -> Iterator[Block]:
    for note in part:
        if isinstance(note.tag, str) and note.get(f"{_W}type") not in _NO_NOTE:
            for block in _flow(note, _State(styles, paged=False)):
                yield Block("Text", block.text)
