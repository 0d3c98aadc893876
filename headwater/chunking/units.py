"""The pieces that chunks are made of: a document's elements, and parts of those that are too long."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from headwater.chunking.tokens import TokenizedText
from headwater.sentences import split_sentences
from headwater.types import ParsedDocument

_ROW = re.compile(r"\S[^\n]*")


@dataclass(frozen=True, slots=True)
class Unit:
    """``text[start:end]``, without white space around it, in one section; ``opens`` unless it goes on with a paragraph."""

    start: int
    end: int
    section: tuple[str, ...]
    heading: bool = False
    table: bool = False
    opens: bool = True


def units(document: ParsedDocument) -> list[Unit]:
    """Return the document's elements, and the paragraphs that no element covers, as units in order of position.

    A heading gets the section of the text that follows it.
    """
    found: list[Unit] = []
    position = 0
    section: tuple[str, ...] = ()
    for element in document.elements:
        found += _paragraphs(document.text, position, element.start, section)
        section = element.section
        unit = Unit(element.start, element.end, section, element.kind == "Title", element.kind == "Table")
        found += trim(unit, document.text, element.start, element.end)
        position = max(position, element.end)
    found += _paragraphs(document.text, position, len(document.text), section)
    for index in range(len(found) - 2, -1, -1):
        unit, following = found[index], found[index + 1]
        if unit.heading and following.section[: len(unit.section)] == unit.section:
            found[index] = replace(unit, section=following.section)
    return found


def _paragraphs(text: str, start: int, end: int, section: tuple[str, ...]) -> list[Unit]:
    """Return the paragraphs of a stretch without elements."""
    result = []
    for block in re.split(r"(\n[^\S\n]*\n\s*)", text[start:end]):
        trimmed = block.strip()
        if trimmed:
            offset = start + len(block) - len(block.lstrip())
            result.append(Unit(offset, offset + len(trimmed), section))
        start += len(block)
    return result


def sections(found: Sequence[Unit]) -> Iterator[list[Unit]]:
    """Yield the runs of units that share a section."""
    run: list[Unit] = []
    for unit in found:
        if run and unit.section != run[-1].section:
            yield run
            run = []
        run.append(unit)
    if run:
        yield run


def divide(unit: Unit, text: TokenizedText, room: Callable[[int], int]) -> Iterator[Unit]:
    """Yield ``unit`` whole if it fits, else in rows or sentences, else cut between tokens.

    ``room`` says how much a piece that begins at an offset may weigh.
    """
    if text.weight(unit.start, unit.end) <= room(unit.start):
        yield unit
        return
    piece = text.text[unit.start : unit.end]
    spans = [match.span() for match in _ROW.finditer(piece)] if unit.table else split_sentences(piece)
    before = 0
    for low, high in spans:
        start, end = unit.start + low, unit.start + high
        part = replace(unit, opens=low == 0 or "\n" in piece[before:low])
        while text.weight(start, end) > room(start):
            cut = text.cut(start, end, room(start))
            yield from trim(part, text.text, start, cut)
            part = replace(unit, opens=False)
            start = cut
        yield from trim(part, text.text, start, end)
        before = high


def trim(unit: Unit, text: str, start: int, end: int) -> Iterator[Unit]:
    """Yield the part ``text[start:end]`` of a unit without the white space around it, unless nothing is left."""
    piece = text[start:end]
    stripped = piece.strip()
    if stripped:
        start += len(piece) - len(piece.lstrip())
        yield replace(unit, start=start, end=start + len(stripped))
