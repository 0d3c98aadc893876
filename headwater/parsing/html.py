"""HTML: the page made fit for unstructured, then partitioned.

unstructured drops ``details``, ``figure`` and ``form`` with all they hold, makes one table of a page that is laid
out with tables, and recurses with the nesting. The tree is rewritten before, so that neither content is lost
nor a deep page fails.
"""

from __future__ import annotations

import re
from typing import Any

from lxml import etree

from headwater.errors import ParseLimitExceeded
from headwater.parsing.blocks import Block
from headwater.parsing.partition import NO_LANGUAGE_DETECTION, blocks_of

MAX_DEPTH = 100
"""Nesting kept; what lies deeper becomes the text of its ancestor. unstructured takes about four stack frames a level."""

_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
# Blocks that unstructured removes although a browser shows them.
_SHOWN = {
    "details": "div",
    "figure": "div",
    "form": "div",
    "fieldset": "div",
    "summary": "p",
    "legend": "p",
    "figcaption": "p",
    "label": "span",
}
_FURNITURE_ROLES = frozenset({"navigation", "banner", "contentinfo", "search", "menu"})
_INLINE_PARENTS = frozenset(
    {"p", "li", "td", "th", "h1", "h2", "h3", "h4", "h5", "h6", "span", "a", "b", "i", "em", "strong"}
)
_CELLS = ("td", "th")
_LAYOUT_CONTENT = ("table", "h1", "h2", "h3", "article", "section", "form", "main")


def html_blocks(text: str, keep_furniture: bool = False) -> tuple[list[Block], dict[str, Any]]:
    """Return the page's blocks and what its head states: title, author, date, language.

    Navigation, page footers and hidden elements are left out; ``keep_furniture`` keeps footers and banners (mail).

    Raises:
        ParseLimitExceeded: nested deeper than the HTML parser can follow (code ``nested_too_deeply``).
    """
    from unstructured.partition.html import partition_html

    parser = etree.HTMLParser(remove_comments=True, remove_pis=True, huge_tree=True, encoding="utf-8")
    root = etree.fromstring(text.encode("utf-8", "replace"), parser) if text.strip() else None
    if any(entry.type_name == "ERR_RESOURCE_LIMIT" for entry in parser.error_log):
        # libxml2 stops at 2,048 levels and would leave the rest of the page out.
        raise ParseLimitExceeded("the page is nested too deeply to be read in full", "nested_too_deeply")
    if root is None:
        return [], {}
    metadata = _head(root)
    _rewrite(root, keep_furniture)
    source = etree.tostring(root, encoding="unicode", method="html")
    return list(blocks_of(partition_html(text=source, languages=NO_LANGUAGE_DETECTION))), metadata


def _head(root: Any) -> dict[str, Any]:
    meta: dict[str, str] = {}
    for tag in root.iter("meta"):
        key = (tag.get("name") or tag.get("property") or "").lower()
        if key and tag.get("content"):
            meta.setdefault(key, tag.get("content").strip())
    title = root.find(".//head/title")
    stated = {
        "title": " ".join("".join(title.itertext()).split()) if title is not None else meta.get("og:title"),
        "author": meta.get("author"),
        "date": meta.get("article:published_time") or meta.get("date") or meta.get("dc.date"),
        "language": root.get("lang"),
    }
    return {key: value for key, value in stated.items() if value}


def _rewrite(root: Any, keep_furniture: bool) -> None:
    _cut_depth(root)
    doomed = []
    for element in root.iter():
        tag = element.tag
        if tag in _SHOWN:
            element.tag = _SHOWN[tag]
        elif tag == "ol":
            _number(element)
        elif tag == "img":
            _inline_image(element)
        elif tag == "br":
            following = element.getnext()
            if following is not None and following.tag == "br" and not (element.tail or "").strip():
                element.tag = "div"  # an empty line is the end of a paragraph
        if _is_hidden(element) or (not keep_furniture and _is_furniture(element)):
            doomed.append(element)
    for element in doomed:
        if element is not root and element.tag != "body":
            _drop(element)
    for table in reversed(list(root.iter("table"))):
        _table(table)


def _cut_depth(root: Any) -> None:
    level = [root]
    for _ in range(MAX_DEPTH):
        level = [child for element in level for child in element]
        if not level:
            return
    for element in level:
        if len(element):
            text = " ".join(piece.strip() for piece in element.itertext() if piece.strip())
            for child in list(element):
                element.remove(child)
            element.text = text


def _number(items: Any) -> None:
    """Write an ordered list's numbers into its items: steps are referred to by them."""
    start = items.get("start", "1")
    for number, item in enumerate(items.iterchildren("li"), start=int(start) if start.isdecimal() else 1):
        # In a loose list the text is in the item's first paragraph; beside it a number would be an element of its own.
        loose = len(item) and item[0].tag == "p" and not (item.text or "").strip()
        target = item[0] if loose else item
        target.text = f"{number}. {(target.text or '').lstrip()}"


def _inline_image(image: Any) -> None:
    """Inside running text an image would cut the paragraph in two: put its description in its place."""
    parent = image.getparent()
    if parent is not None and parent.tag in _INLINE_PARENTS:
        description = (image.get("alt") or "").strip()
        image.tag = "span"
        image.attrib.clear()
        image.text = f" {description} " if description else None


def _is_hidden(element: Any) -> bool:
    return element.get("hidden") is not None or _HIDDEN.search(element.get("style") or "") is not None


def _is_furniture(element: Any) -> bool:
    """Whether this is navigation or a footer of the page, rather than of an article in it."""
    if element.get("role") not in _FURNITURE_ROLES and element.tag != "footer":
        return False
    return next(element.iterancestors("article", "main", "blockquote"), None) is None


def _drop(element: Any) -> None:
    parent = element.getparent()
    if parent is None:
        return
    tail = element.tail or ""
    before = element.getprevious()
    if before is not None:
        before.tail = (before.tail or "") + tail
    else:
        parent.text = (parent.text or "") + tail
    element.tail = None
    parent.remove(element)


def _table(table: Any) -> None:
    for caption in table.findall("caption"):
        caption.tag = "p"
        caption.tail = None
        table.addprevious(caption)
    if not _is_layout(table):
        return
    for element in [table, *_own_rows(table)]:
        element.tag = "div"
        for child in element:
            if child.tag in (*_CELLS, "tbody", "thead", "tfoot"):
                child.tag = "div"


def _own_rows(table: Any) -> list[Any]:
    return [row for row in table.iter("tr") if next(row.iterancestors("table")) is table]


def _is_layout(table: Any) -> bool:
    """Whether the table only places things: it says so, holds sections or tables, or has one row or one column."""
    if table.get("role") in ("presentation", "none"):
        return True
    if next(table.iterdescendants(*_LAYOUT_CONTENT), None) is not None:
        return True
    widths = [sum(1 for cell in row if cell.tag in _CELLS) for row in _own_rows(table)]
    return max(widths, default=0) <= 1 or (len(widths) == 1 and next(table.iter("th"), None) is None)
