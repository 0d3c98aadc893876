"""unstructured's elements as blocks."""

from __future__ import annotations

import io
import re
import string
from collections.abc import Iterable, Iterator
from typing import Any

from headwater.parsing.blocks import Block
from headwater.parsing.sentences import RULES, active_pipeline, is_verb
from headwater.parsing.tables import html_table

NO_LANGUAGE_DETECTION = [""]
"""unstructured's ``languages`` argument; its per-document detection takes 40 % of the time and nothing here reads it."""

_BULLET = re.compile(r"[\u2022\u2023\u25aa\u25cf\u25e6\u00b7\u2043\u2219]|[-*\u2013]\s")
_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_SENTENCE_BREAK = re.compile(
    r"[a-z\u00df-\u024f)\"'\u201d][.!?\u2026][\"')\]\u201d\u2019]*\s+[\"'(\u201c\u2018]?[A-Z\u00c0-\u00de]"
)
_PUNCTUATION = string.punctuation + "\u201c\u201d\u2018\u2026"
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


def unstructured_blocks(kind: str, data: bytes, text: str) -> list[Block]:
    """Return the blocks of a document as unstructured's own partitioner for ``kind`` has them (``docx``, ``md``, ...)."""
    from importlib import import_module

    module = import_module(f"unstructured.partition.{kind}")
    partition = getattr(module, f"partition_{kind}")
    if kind in ("text", "md", "html"):
        return list(blocks_of(partition(text=text, languages=NO_LANGUAGE_DETECTION)))
    return list(blocks_of(partition(file=io.BytesIO(data), languages=NO_LANGUAGE_DETECTION)))


def classify(text: str) -> str:
    """Return the element kind of a paragraph that has no markup; never ``Title``.

    With a spaCy pipeline by unstructured's text rules. With the install's own rules the same questions are asked in
    one pass, 20 times as fast: unstructured tokenises the text for each of them.
    """
    if active_pipeline() == RULES:
        return _kind_by_rules(text)
    from unstructured.partition.text import element_from_text

    kind = kind_of(element_from_text(" ".join(text.split())).category)
    return "Text" if kind == "Title" else kind


def _kind_by_rules(text: str) -> str:
    if _BULLET.match(text):
        return "ListItem"
    words = text.split()
    if len(words) == 1:
        return "EmailAddress" if _ADDRESS.fullmatch(text) else "Text"
    characters = sum(map(len, words))
    # unstructured's thresholds: prose is half letters at least, and not mostly capitalised words.
    if sum(map(str.isalpha, text)) < 0.5 * characters:
        return "Text"
    if _SENTENCE_BREAK.search(text):
        return "NarrativeText"
    capitalised = sum(word[0].isupper() for word in words)
    if capitalised > 0.5 * len(words):
        return "Text"
    return "NarrativeText" if any(is_verb(word.strip(_PUNCTUATION)) for word in words) else "Text"
