"""PowerPoint presentations: a walk over PresentationML (ISO/IEC 29500-1, 19).

Shapes in reading order (from the top, then from the left), the title first; positions that a placeholder inherits are
looked up in its layout. Beside unstructured's ``partition_pptx``, the text of diagrams (SmartArt) is read.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import Any

from headwater.errors import CorruptDocument
from headwater.parsing.blocks import Block
from headwater.parsing.limits import too_many_pages
from headwater.parsing.ooxml import parsed_part, relations
from headwater.parsing.partition import classify
from headwater.parsing.tables import markdown_table
from headwater.policies import ParsePolicy

_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_DIAGRAM = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}relIds"
_MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_PRESENTATION = "ppt/presentation.xml"
_TITLES = ("title", "ctrTitle")
_NOT_READ = ("sldNum", "sldImg")  # the slide's number, and its picture on its notes
_RUNNING = ("dt", "ftr", "hdr")  # date, footer, header: read once in a presentation
_LAST = (2**31, 2**31)
_MAX_GROUPS = 50

Place = tuple[int, int]


def pptx_tree_blocks(data: bytes, policy: ParsePolicy) -> tuple[list[Block], int]:
    """Return the blocks of a presentation and the number of its slides.

    Raises:
        ParseLimitExceeded: more slides than ``policy.max_pages``.
        CorruptDocument: the main part is missing.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = frozenset(archive.namelist())
        root = parsed_part(archive, _PRESENTATION)
        if root is None:
            raise CorruptDocument("the presentation has no readable main part; save it again")
        related = relations(archive, _PRESENTATION, names)
        slides = [related.get(entry.get(f"{_R}id", ""), ("", ""))[1] for entry in root.iter(f"{_P}sldId")]
        if len(slides) > policy.max_pages:
            raise too_many_pages(len(slides), policy)
        layouts: dict[str, dict[str, Place]] = {}
        running: set[str] = set()
        blocks: list[Block] = []
        for page, name in enumerate(slides, start=1):
            if name in names:
                blocks.extend(_slide(archive, name, names, page, layouts, running))
    return blocks, len(slides)


def _slide(
    archive: zipfile.ZipFile,
    name: str,
    names: frozenset[str],
    page: int,
    layouts: dict[str, dict[str, Place]],
    running: set[str],
) -> Iterator[Block]:
    root = parsed_part(archive, name)
    tree = root.find(f"{_P}cSld/{_P}spTree") if root is not None else None
    if tree is None:
        return
    related = relations(archive, name, names)
    kinds = dict(related.values())
    layout = kinds.get("slideLayout", "")
    if layout in names and layout not in layouts:
        layouts[layout] = _places(parsed_part(archive, layout))
    shapes = sorted(_shapes(tree, layouts.get(layout, {}), (0, 0), 0), key=lambda entry: entry[0])
    title = next((" ".join(_lines(shape)) for _, shape in shapes if _holder(shape)[0] in _TITLES), "").strip()
    section = (title,) if title else ()
    if title:
        yield Block("Title", title, page, 0, section)
    for _, shape in shapes:
        if _holder(shape)[0] in _TITLES and " ".join(_lines(shape)).strip() == title:
            continue
        for block in _shape(archive, shape, related):
            if _holder(shape)[0] in _RUNNING:
                if block.text in running:
                    continue
                running.add(block.text)
                block.kind = "Footer"
            block.page, block.section = page, section
            yield block
    notes = parsed_part(archive, kinds["notesSlide"]) if kinds.get("notesSlide") in names else None
    for shape in notes.iter(f"{_P}sp") if notes is not None else ():
        if _holder(shape)[0] not in (*_NOT_READ, *_RUNNING):
            for line in _lines(shape):
                yield Block(classify(line), line, page, section=section)


def _shapes(parent: Any, inherited: dict[str, Place], offset: Place, depth: int) -> Iterator[tuple[Place, Any]]:
    for shape in parent:
        if shape.tag == f"{_MC}AlternateContent":
            chosen = shape.find(f"{_MC}Choice")
            if chosen is not None and depth < _MAX_GROUPS:
                yield from _shapes(chosen, inherited, offset, depth + 1)
        elif shape.tag == f"{_P}grpSp" and depth < _MAX_GROUPS:
            # The shapes of a group stay together, at its place.
            place = _place(shape.find(f"{_P}grpSpPr/{_A}xfrm"), f"{_A}off") or offset
            inner = sorted(_shapes(shape, inherited, place, depth + 1), key=lambda entry: entry[0])
            yield from ((place, entry) for _, entry in inner)
        elif shape.tag in (f"{_P}sp", f"{_P}graphicFrame"):
            kind, index = _holder(shape)
            if kind in _NOT_READ:
                continue
            frame = shape.find(f"{_P}spPr/{_A}xfrm") if shape.tag == f"{_P}sp" else shape.find(f"{_P}xfrm")
            yield _place(frame, f"{_A}off") or inherited.get(index) or inherited.get(kind) or _LAST, shape


def _holder(shape: Any) -> tuple[str, str]:
    """Return the placeholder's type and index; empty for a shape that is none."""
    holder = next(shape.iter(f"{_P}ph"), None)
    return (holder.get("type", "obj"), f"#{holder.get('idx', '0')}") if holder is not None else ("", "")


def _places(layout: Any | None) -> dict[str, Place]:
    places: dict[str, Place] = {}
    for shape in layout.iter(f"{_P}sp") if layout is not None else ():
        place = _place(shape.find(f"{_P}spPr/{_A}xfrm"), f"{_A}off")
        if place is not None:
            kind, index = _holder(shape)
            places.setdefault(index, place)
            places.setdefault(kind, place)
    return places


def _place(frame: Any | None, name: str) -> Place | None:
    offset = frame.find(name) if frame is not None else None
    try:
        return (int(offset.get("y")), int(offset.get("x"))) if offset is not None else None
    except (TypeError, ValueError):
        return None


def _shape(archive: zipfile.ZipFile, shape: Any, related: dict[str, tuple[str, str]]) -> Iterator[Block]:
    if shape.tag == f"{_P}graphicFrame":
        table = next(shape.iter(f"{_A}tbl"), None)
        if table is not None:
            yield Block("Table", markdown_table(_rows(table)))
        for diagram in shape.iter(_DIAGRAM):
            part = parsed_part(archive, related.get(diagram.get(f"{_R}dm", ""), ("", ""))[1])
            for line in _lines(part) if part is not None else ():
                yield Block("ListItem", line)
        return
    for paragraph in shape.iter(f"{_A}p"):
        text = _text(paragraph)
        if text:
            yield Block("ListItem" if _is_item(paragraph) else classify(text), text)


def _is_item(paragraph: Any) -> bool:
    properties = paragraph.find(f"{_A}pPr")
    if properties is None:
        return False
    return properties.find(f"{_A}buChar") is not None or properties.find(f"{_A}buAutoNum") is not None


def _rows(table: Any) -> Iterator[list[str]]:
    above: list[str] = []
    for row in table.iter(f"{_A}tr"):
        cells: list[str] = []
        for column, cell in enumerate(row.iter(f"{_A}tc")):
            text = " ".join(_lines(cell))
            if cell.get("vMerge") in ("1", "true") and column < len(above):
                text = text or above[column]
            cells.append(text)
        above = cells
        yield cells


def _lines(element: Any) -> list[str]:
    return [text for paragraph in element.iter(f"{_A}p") if (text := _text(paragraph))]


def _text(paragraph: Any) -> str:
    pieces: list[str] = []
    for piece in paragraph.iter(f"{_A}t", f"{_A}br", f"{_A}tab"):
        pieces.append(piece.text or "" if piece.tag == f"{_A}t" else "\n" if piece.tag == f"{_A}br" else " ")
    return "\n".join(" ".join(line.split()) for line in "".join(pieces).replace("\x0b", "\n").split("\n")).strip()
