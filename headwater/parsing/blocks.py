"""What every parser produces, and how blocks become a document."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headwater.parsing.decode import normalise
from headwater.types import Element, ParsedDocument

SEPARATOR = "\n\n"
_MADE_UP = re.compile(
    r"microsoft \w+ - .*|untitled.*|(?:powerpoint presentation|word document|document ?\d*)|\S*\.(?:docx?|pdf|tex|indd|dvi|pptx?|xlsx?|html?)",
    re.IGNORECASE,
)
_OPENING = 20  # blocks from the start in which a heading may be the document's title
MAX_HEADING = 200
"""Characters. A longer "heading" is a paragraph in a heading's clothes and opens no section."""


@dataclass(slots=True)
class Block:
    """One piece before it has offsets.

    ``level`` makes it a heading: 0 is outermost. ``section`` overrides the section that the headings give (a
    slide's title, a sheet's name).
    """

    kind: str
    text: str
    page: int | None = None
    level: int | None = None
    section: tuple[str, ...] | None = None


def build(blocks: Iterable[Block], metadata: Mapping[str, Any]) -> ParsedDocument:
    """Join the blocks into a document: text, offsets, and sections from the stack of headings.

    A heading closes the headings of its own and deeper levels; its own section includes itself. Blocks without
    text are left out.
    """
    pieces: list[str] = []
    elements: list[Element] = []
    stack: list[tuple[int, str]] = []
    section: tuple[str, ...] = ()
    position = 0
    for block in blocks:
        text = normalise(block.text)
        if not text:
            continue
        kind = block.kind
        if block.level is not None:
            heading = " ".join(text.split())
            if len(heading) <= MAX_HEADING:
                while stack and stack[-1][0] >= block.level:
                    stack.pop()
                stack.append((block.level, heading))
                section = tuple(name for _, name in stack)
            else:
                kind = "NarrativeText"
        if pieces:
            position += len(SEPARATOR)
        end = position + len(text)
        path = section if block.section is None else _path(block.section)
        elements.append(Element(kind, text, block.page, path, position, end))
        pieces.append(text)
        position = end
    return ParsedDocument(SEPARATOR.join(pieces), tuple(elements), dict(metadata))


def _path(section: Iterable[str]) -> tuple[str, ...]:
    """Return the names that a parser gave a section as text like any other; one without text names nothing."""
    names = (" ".join(normalise(name).split()) for name in section)
    return tuple(name for name in names if name)


def title_of(stated: object, blocks: Sequence[Block]) -> str | None:
    """Return the title the file states, unless a program made it up; else the first heading of the top level.

    Also the heading a document opens with, whatever its level. None when there is neither.
    """
    title = " ".join(normalise(str(stated or "")).split())
    if title and not _MADE_UP.fullmatch(title):
        return title
    for index, block in enumerate(blocks[:_OPENING]):
        if block.level is not None and (block.level == 0 or index == 0) and len(block.text) <= MAX_HEADING:
            return " ".join(normalise(block.text).split()) or None
    return None
