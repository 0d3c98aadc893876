"""unstructured's elements as blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from headwater.parsing.blocks import Block
from headwater.parsing.tables import html_table

NO_LANGUAGE_DETECTION = [""]
"""unstructured's ``languages`` argument; its per-document detection takes 40 % of the time and nothing here reads it."""

_SKIPPED = frozenset({"PageBreak"})
_KINDS = {"UncategorizedText": "Text"}


def kind_of(category: str) -> str:
    """Return the element kind for unstructured's category: the class's name."""
    return _KINDS.get(category, category)


def blocks_of(elements: Iterable[Any]) -> Iterator[Block]:
    """Yield one block per element; titles become headings by their depth, tables Markdown rows."""
    for element in elements:
        category = element.category
        if category in _SKIPPED:
            continue
        metadata = element.metadata
        text = element.text or ""
        if category == "Table" and metadata.text_as_html:
            text = html_table(metadata.text_as_html) or text
        level = (metadata.category_depth or 0) if category == "Title" else None
        yield Block(kind_of(category), text, metadata.page_number, level)


def classify(text: str) -> str:
    """Return the element kind of a paragraph that has no markup, by unstructured's text rules; never ``Title``."""
    from unstructured.partition.text import element_from_text

    kind = kind_of(element_from_text(" ".join(text.split())).category)
    return "Text" if kind == "Title" else kind
