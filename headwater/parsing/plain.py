"""Plain text: paragraphs, list items and headings by the way lines are set.

A heading is a line of its own that is underlined (reStructuredText, Setext), numbered ("2.1 Scope"), in
capitals or in title case, ends without punctuation, and stands neither last nor beside another one like it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from headwater.parsing.blocks import Block
from headwater.parsing.metadata import date_of, people_of, words_of
from headwater.parsing.partition import classify

_ORG_HEADING = re.compile(r"(\*+)[ \t]+(?:(?:TODO|DONE)[ \t]+)?(.*?)(?:[ \t]+:[\w@:]+:)?[ \t]*$")
_ORG_KEYWORD = re.compile(r"#\+(\w+):?(.*)$")
_ORG_LINK = re.compile(r"\[\[([^\]\[]+)\](?:\[([^\]\[]+)\])?\]")
_BLANK = re.compile(r"\n[ \t]*\n")
_ITEM = re.compile(r"[ \t]*(?:[-*+\u2022\u2023\u25aa\u25e6\u2013\u2014\u00b7]|\(?\d{1,3}[.)]|\(?[a-z][.)])[ \t]+\S")
_BULLET = re.compile(r"[ \t]*[-*+\u2022\u2023\u25aa\u25e6\u2013\u2014\u00b7][ \t]+")
_UNDERLINE = re.compile(r"([=\-~^\"'#*+.:_`])\1{2,}[ \t]*")
_NUMBERED = re.compile(r"(\d{1,3}(?:\.\d{1,3})*)\.?[ \t]+\S")
_CHAPTER = re.compile(r"(?:chapter|part|section|appendix|article)\b", re.IGNORECASE)
_MAX_HEADING_WORDS = 12
_UNWRAPPED = 120  # a longer line was not broken by hand: every line is a paragraph
_WRAPPED = 45  # lines at least this long (all but the last) were broken by hand: they are one paragraph
_SMALL_WORD = 4  # title case leaves short words in lower case


def plain_blocks(text: str, headings: bool = True) -> list[Block]:
    """Return the paragraphs of a plain text; ``headings=False`` looks for none (mail)."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    found: list[tuple[str, int | None]] = []
    marks: list[str] = []
    for paragraph in _BLANK.split(text):
        lines = [line.rstrip() for line in paragraph.split("\n") if line.strip()]
        if headings:
            lines = _take_underlined(lines, marks, found)
        found.extend((piece, None) for piece in _pieces(lines))
    blocks = []
    for index, (piece, level) in enumerate(found):
        if level is None and headings:
            level = _heading_level(piece)
            before = found[index - 1][0] if index and found[index - 1][1] is None else ""
            after = found[index + 1][0] if index + 1 < len(found) else None
            if level is not None and (after is None or level in (_heading_level(before), _heading_level(after))):
                level = None
        if level is not None:
            blocks.append(Block("Title", piece, level=level))
        elif _BULLET.match(piece):
            blocks.append(Block("ListItem", _BULLET.sub("", piece, count=1)))
        else:
            blocks.append(Block(classify(piece), piece))
    return blocks


def org_blocks(text: str) -> tuple[list[Block], dict[str, Any]]:
    """Return the blocks of an Org file: its outline as headings, its keywords (``#+TITLE:``) as metadata."""
    stated: dict[str, str] = {}
    blocks: list[Block] = []
    gathered: list[str] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        heading, keyword = _ORG_HEADING.match(line), _ORG_KEYWORD.match(line)
        if heading:
            blocks.extend(plain_blocks("\n".join(gathered), headings=False))
            gathered = []
            blocks.append(Block("Title", heading[2], level=len(heading[1]) - 1))
        elif keyword:
            if keyword[2].strip():
                stated.setdefault(keyword[1].lower(), keyword[2].strip())
        else:
            gathered.append(_ORG_LINK.sub(lambda match: match[2] or match[1], line))
    blocks.extend(plain_blocks("\n".join(gathered), headings=False))
    fields = {
        "title": stated.get("title"),
        "authors": people_of(stated.get("author")),
        "date": date_of(stated.get("date", "").strip("<>[]")),
        "language": stated.get("language"),
        "keywords": words_of(stated.get("keywords")),
    }
    return blocks, {key: value for key, value in fields.items() if value}


def _take_underlined(lines: list[str], marks: list[str], found: list[tuple[str, int | None]]) -> list[str]:
    """Move an underlined first line to ``found``; as in reStructuredText, marks rank by their first use."""
    if len(lines) >= 2 and _UNDERLINE.fullmatch(lines[0].strip()) and not _UNDERLINE.fullmatch(lines[1].strip()):
        lines = lines[1:]  # an overline
    if len(lines) < 2 or len(lines[0].split()) > 2 * _MAX_HEADING_WORDS:
        return lines
    mark = _UNDERLINE.fullmatch(lines[1].strip())
    if mark is None or len(lines[1].strip()) < 0.7 * len(lines[0].strip()):
        return lines
    if mark[1] not in marks:
        marks.append(mark[1])
    found.append((lines[0].strip(), marks.index(mark[1])))
    return lines[2:]


def _pieces(lines: list[str]) -> Iterator[str]:
    """Yield the items or paragraphs of lines between two blank ones."""
    group: list[str] = []
    for line in lines:
        if group and (_ITEM.match(line) or max(len(line), len(group[-1])) > _UNWRAPPED):
            yield _join(group)
            group = []
        group.append(line)
    if group:
        yield _join(group)


def _join(lines: list[str]) -> str:
    wrapped = all(len(line.strip()) >= _WRAPPED for line in lines[:-1]) or _ITEM.match(lines[0])
    return " ".join(line.strip() for line in lines) if wrapped else "\n".join(lines)


def _heading_level(text: str) -> int | None:
    words = text.split(maxsplit=_MAX_HEADING_WORDS)
    if (
        "\n" in text
        or not 1 <= len(words) <= _MAX_HEADING_WORDS
        or text[-1] in ".,;:!?"
        or not any(c.isalpha() for c in text)
    ):
        return None
    numbered = _NUMBERED.match(text)
    if numbered and words[1][0].isupper():
        return numbered[1].count(".")
    if _CHAPTER.match(text) or (text.isupper() and len(text) > 3):
        return 0
    long_words = [word for word in words if len(word) >= _SMALL_WORD and word[0].isalpha()]
    if long_words and text[0].isupper() and len(words) > 1 and all(word[0].isupper() for word in long_words):
        return 1
    return None
