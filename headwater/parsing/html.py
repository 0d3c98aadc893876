"""HTML: the tree, what its head states, and which part of the page is the document."""

from __future__ import annotations

from typing import Any, Literal

import lxml.html
from lxml import etree

from headwater.errors import ParseLimitExceeded
from headwater.parsing.blocks import Block
from headwater.parsing.metadata import date_of, people_of, words_of
from headwater.parsing.partition import NO_LANGUAGE_DETECTION, blocks_of
from headwater.parsing.walk import tree_blocks

MAX_DEPTH = 100
"""Nesting kept; what lies deeper becomes the text of its ancestor. Pages made by hand or program nest 10 to 40 deep."""

_FOLDING = ("h1", "h2", "h3", "h4", "h5", "h6", "summary", "dt")
_OPENS = {"aria-expanded", "aria-controls"}

Part = Literal["auto", "main_content", "full", "unstructured"]


def html_blocks(text: str, keep_furniture: bool = False, part: Part = "full") -> tuple[list[Block], dict[str, Any]]:
    """Return the page's blocks and what its head states: title, authors, date, modified, language, keywords.

    ``part`` is ``parse.parsers.html`` of the policy. Navigation, page footers and hidden elements are left out;
    ``keep_furniture`` keeps footers and banners (mail).

    Raises:
        ParseLimitExceeded: nested deeper than the HTML parser can follow (code ``nested_too_deeply``).
    """
    root = html_tree(text)
    if root is None:
        return [], {}
    metadata = _head(root)
    if part == "unstructured":
        from unstructured.partition.html import partition_html

        return list(blocks_of(partition_html(text=text, languages=NO_LANGUAGE_DETECTION))), metadata
    cut_depth(root)
    keep_buttons(root)
    if part == "main_content" or (part == "auto" and is_published(root)):
        from headwater.parsing.main_content import main_content

        main = main_content(root)
        if main is not None:
            return tree_blocks(main), metadata
    return tree_blocks(root, keep_furniture), metadata


def html_tree(text: str) -> Any | None:
    """Return the root of the page's tree, None for a page without elements.

    Raises:
        ParseLimitExceeded: nested deeper than the parser follows.
    """
    # Nothing is fetched: the parser reads no external subset, and HTML knows no entity but the standard's own.
    # lxml.html's parser, because trafilatura takes no other's elements.
    parser = lxml.html.HTMLParser(
        remove_comments=True, remove_pis=True, huge_tree=True, no_network=True, encoding="utf-8"
    )
    root = etree.fromstring(text.encode("utf-8", "replace"), parser) if text.strip() else None
    if any(entry.type_name == "ERR_RESOURCE_LIMIT" for entry in parser.error_log):
        # libxml2 stops at 2,048 levels and would leave the rest of the page out.
        raise ParseLimitExceeded("the page is nested too deeply to be read in full", "nested_too_deeply")
    return root


def is_published(root: Any) -> bool:
    """Whether this is a page of a web site rather than a document saved as HTML.

    Pages of sites state their address or a card for social networks: ``rel=canonical``, Open Graph, schema.org in
    JSON. All 91 pages of article-extraction-benchmark's first half do; exports of word processors, wikis and Markdown
    tools have no menus and teasers to remove, and don't.
    """
    for element in root.iter("link", "meta", "script"):
        if (
            element.get("rel") == "canonical"
            or (element.get("property") or "").startswith("og:")
            or element.get("type") == "application/ld+json"
        ):
            return True
    return False


def _head(root: Any) -> dict[str, Any]:
    meta: dict[str, str] = {}
    authors: list[str] = []
    for tag in root.iter("meta"):
        key = (tag.get("name") or tag.get("property") or "").lower()
        content = (tag.get("content") or "").strip()
        if not key or not content:
            continue
        if key in ("author", "dc.creator", "citation_author", "article:author") and not content.startswith("http"):
            authors.append(content)
        meta.setdefault(key, content)
    title = root.find(".//head/title")
    stated = {
        "title": " ".join("".join(title.itertext()).split()) if title is not None else meta.get("og:title"),
        "authors": people_of(authors),
        "date": date_of(
            meta.get("article:published_time") or meta.get("date") or meta.get("dc.date") or meta.get("dcterms.date")
        ),
        "modified": date_of(
            meta.get("article:modified_time") or meta.get("last-modified") or meta.get("dcterms.modified")
        ),
        "language": root.get("lang") or meta.get("language") or meta.get("dc.language"),
        "keywords": words_of(meta.get("keywords")),
    }
    return {key: value for key, value in stated.items() if value}


def keep_buttons(root: Any) -> None:
    """Make a button that holds the page's words a span: buttons are left out, and trafilatura leaves them out as well.

    Pages that fold their answers away write each question as a button: all that its heading holds, or one that says what
    it opens (``aria-expanded``, ``aria-controls``). A button beside a heading's words ("Copy link") is none of them.
    """
    kept = [
        button for heading in root.iter(*_FOLDING) if not _beside_buttons(heading) for button in heading.iter("button")
    ]
    kept += [button for button in root.iter("button") if _OPENS & set(button.attrib)]
    for button in kept:
        button.tag = "span"


def _beside_buttons(element: Any) -> str:
    """Return the words of an element that are not in a button."""
    pieces = [element.text or ""]
    for child in element:
        if child.tag != "button":
            pieces.append(_beside_buttons(child))
        pieces.append(child.tail or "")
    return "".join(pieces).strip()


def cut_depth(root: Any) -> None:
    """Make what lies deeper than :data:`MAX_DEPTH` the text of its ancestor."""
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
