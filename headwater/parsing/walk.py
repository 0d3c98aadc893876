"""An HTML tree as blocks, in one pass over it.

The kinds are unstructured's. What differs from its ``partition_html``, because content or structure would be lost:
``details``, ``figure``, ``form`` and unknown elements keep their text, a table that only lays out a page is no table,
ordered lists keep their numbers, and cells that span rows are repeated in each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from headwater.parsing.blocks import Block
from headwater.parsing.partition import classify
from headwater.parsing.tables import markdown_table

_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_FURNITURE_ROLES = frozenset({"navigation", "banner", "contentinfo", "search", "menu"})
_NAMES_LEFT_OUT = """
    audio base button canvas datalist dialog embed frame frameset head hr iframe input link meta nav noembed noframes
    noscript object param script select style svg template textarea title video xml
"""
LEFT_OUT = frozenset(_NAMES_LEFT_OUT.split())
"""Not ``source`` and ``track``: the parser doesn't know that they are empty, and puts what follows into them."""

_NAMES_OF_BLOCKS = """
    address article aside blockquote body caption center dd details dir div dl dt fieldset figcaption figure footer form
    header hgroup html legend li main menu ol p section summary table tbody td tfoot th thead tr ul
"""
_BLOCKS = frozenset(_NAMES_OF_BLOCKS.split())
_HEADINGS = {f"h{level}": level - 1 for level in range(1, 7)}
_CELLS = ("td", "th")
_LAYOUT_CONTENT = ("table", "h1", "h2", "h3", "article", "section", "form", "main")
_MAX_COLUMN_SPAN = 100
_MAX_ROW_SPAN = 1000
_BREAK = "\x0b"  # a <br>; no other control character survives parsing
# Begins at a break and not at the white space before it, which is cut off anyway: linear in the text's length.
_PARAGRAPH_BREAK = re.compile(r"\x0b(?:[^\S\x0b]*\x0b)+")


def tree_blocks(root: Any, keep_furniture: bool = False) -> list[Block]:
    """Return the blocks of an lxml HTML tree nested no deeper than a few hundred levels.

    Navigation, the page's footer and hidden elements are left out; ``keep_furniture`` keeps footers and banners.
    """
    walk = _Walk(keep_furniture, layout_tables(root))
    walk.visit(root)
    walk.flush()
    return walk.blocks


class _Walk:
    def __init__(self, keep_furniture: bool, layout: frozenset[Any]) -> None:
        self.blocks: list[Block] = []
        self._pieces: list[str] = []
        self._item: str | None = None  # inside a list item that has shown no text yet: what stands before it
        self._keep_furniture = keep_furniture
        self._layout = layout

    def visit(self, element: Any) -> None:
        """Add the element's blocks; its text is flushed where a block begins or ends."""
        tag = element.tag
        if not isinstance(tag, str):  # a comment or processing instruction
            return
        if tag in LEFT_OUT or self._is_left_out(element, tag):
            return
        if tag in _HEADINGS:
            self.flush()
            self._children(element)
            self.flush(_HEADINGS[tag])
        elif tag == "pre":
            self.flush()
            self._add("CodeSnippet", text_of(element, verbatim=True))
        elif tag == "table":
            self.flush()
            self._table(element)
        elif tag == "img":
            self._image(element)
        elif tag == "br":
            self._pieces.append(_BREAK)
        elif tag in ("ul", "ol", "menu", "dir"):
            self._list(element, tag)
        elif tag == "dd":
            self._list_item(element, "")
        elif tag in _BLOCKS:
            self.flush()
            self._children(element)
            self.flush()
        else:
            self._children(element)

    def _children(self, element: Any) -> None:
        if element.text:
            self._pieces.append(element.text)
        for child in element:
            self.visit(child)
            if child.tail:
                self._pieces.append(child.tail)

    def _is_left_out(self, element: Any, tag: str) -> bool:
        attributes = element.attrib
        if not attributes:
            return tag == "footer" and not self._keep_furniture and not _in_article(element)
        if "hidden" in attributes or ("style" in attributes and _HIDDEN.search(attributes["style"])):
            return tag != "body"
        if self._keep_furniture or tag == "body":
            return False
        return (tag == "footer" or attributes.get("role") in _FURNITURE_ROLES) and not _in_article(element)

    def flush(self, level: int | None = None) -> None:
        """Make what was gathered a block: a heading, the text of a list item, or paragraphs."""
        if not self._pieces:
            return
        source = "".join(self._pieces)
        self._pieces.clear()
        for paragraph in _PARAGRAPH_BREAK.split(source) if _BREAK in source else (source,):
            text = "\n".join(filter(None, (" ".join(line.split()) for line in paragraph.split(_BREAK))))
            if not text:
                continue
            if level is not None:
                self.blocks.append(Block("Title", text, level=level))
            elif self._item is not None:
                self.blocks.append(Block("ListItem", self._item + text))
                self._item = None
            else:
                self.blocks.append(Block(classify(text), text))

    def _add(self, kind: str, text: str) -> None:
        if text.strip():
            prefix, self._item = self._item or "", None
            self.blocks.append(Block(kind, prefix + text.strip("\n")))

    def _list(self, element: Any, tag: str) -> None:
        self.flush()
        start = element.get("start", "1")
        number = int(start) if start.isdecimal() and len(start) < 10 else 1
        for child in element:
            if child.tag == "li":
                self._list_item(child, f"{number}. " if tag == "ol" else "")
                number += 1
            else:
                self.visit(child)
            if child.tail and child.tail.strip():
                self._pieces.append(child.tail)
        self.flush()

    def _list_item(self, element: Any, prefix: str) -> None:
        self.flush()
        if self._is_left_out(element, "li"):
            return
        self._item = prefix
        self._children(element)
        self.flush()
        self._item = None

    def _image(self, element: Any) -> None:
        """Put the description in the running text; a picture that stands alone is an element of its own."""
        description = " ".join((element.get("alt") or "").split())
        if not description:
            return
        parent = element.getparent()
        alone = parent is not None and parent.tag in _BLOCKS and parent.tag not in ("p", "li", *_CELLS)
        if alone and not "".join(self._pieces).strip():
            self.flush()
            self._add("Image", description)
        else:
            self._pieces.append(f" {description} ")

    def _table(self, table: Any) -> None:
        for caption in table.iterchildren("caption"):
            self._children(caption)
            self.flush()
        if table in self._layout:
            for child in table:
                if child.tag != "caption":
                    self.visit(child)
                    self.flush()
        else:
            self._add("Table", markdown_table(table_rows(table)))


def _in_article(element: Any) -> bool:
    return next(element.iterancestors("article", "main", "blockquote"), None) is not None


def text_of(element: Any, verbatim: bool = False) -> str:
    """Return the element's visible text: one line of words, or ``verbatim`` with its own white space."""
    pieces: list[str] = []
    _gather(element, pieces)
    text = "".join(pieces)
    return text.replace(_BREAK, "\n") if verbatim else " ".join(text.split())


def _gather(element: Any, pieces: list[str]) -> None:
    if element.text:
        pieces.append(element.text)
    for child in element:
        tag = child.tag
        if isinstance(tag, str) and tag not in LEFT_OUT and "hidden" not in child.attrib:
            if tag == "br":
                pieces.append(_BREAK)
            elif tag == "img":
                pieces.append(f" {child.get('alt') or ''} ")
            elif tag in _BLOCKS:
                pieces.append(" ")
                _gather(child, pieces)
                pieces.append(" ")
            elif not _HIDDEN.search(child.get("style") or ""):
                _gather(child, pieces)
        if child.tail:
            pieces.append(child.tail)


def own_rows(table: Any) -> Iterator[Any]:
    """Yield the rows of a table, without those of tables in it."""
    for row in table.iter("tr"):
        if next(row.iterancestors("table"), None) is table:
            yield row


def table_rows(table: Any) -> Iterator[list[str]]:
    """Yield rows of cells: one that spans rows is repeated in each, one that spans columns is followed by empty ones."""
    open_spans: dict[int, tuple[int, str]] = {}  # column: rows left, text
    for row in own_rows(table):
        cells: list[str] = []

        def fill(cells: list[str] = cells) -> None:
            while len(cells) in open_spans:
                column = len(cells)
                left, text = open_spans.pop(column)
                cells.append(text)
                if left > 1:
                    open_spans[column] = (left - 1, text)

        for cell in row:
            if cell.tag not in _CELLS:
                continue
            fill()
            text = text_of(cell)
            rows, columns = _span(cell, "rowspan", _MAX_ROW_SPAN), _span(cell, "colspan", _MAX_COLUMN_SPAN)
            for offset in range(columns):
                if rows > 1:
                    open_spans[len(cells)] = (rows - 1, text if offset == 0 else "")
                cells.append(text if offset == 0 else "")
        fill()
        yield cells


def _span(cell: Any, name: str, most: int) -> int:
    value = cell.get(name)
    return max(1, min(int(value), most)) if value and value.isdecimal() and len(value) < 10 else 1


def layout_tables(root: Any) -> frozenset[Any]:
    """Return the tables that only place things: they say so, hold sections or data tables, or have one row or column."""
    layout: set[Any] = set()
    for table in reversed(list(root.iter("table"))):  # the innermost first
        if _is_layout(table, layout):
            layout.add(table)
    return frozenset(layout)


def _is_layout(table: Any, layout: set[Any]) -> bool:
    if table.get("role") in ("presentation", "none"):
        return True
    if any(inner not in layout for inner in table.iterdescendants(*_LAYOUT_CONTENT)):
        return True
    widths = [sum(1 for cell in row if cell.tag in _CELLS) for row in own_rows(table)]
    return max(widths, default=0) <= 1 or (len(widths) == 1 and next(table.iter("th"), None) is None)
