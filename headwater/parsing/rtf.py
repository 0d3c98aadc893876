"""Rich Text Format (RTF 1.9.1), with striprtf."""

from __future__ import annotations

import re
from typing import Any

from headwater.errors import CorruptDocument
from headwater.parsing.blocks import Block
from headwater.parsing.metadata import people_of, words_of
from headwater.parsing.plain import plain_blocks
from headwater.parsing.tables import markdown_table

_INFO = re.compile(rb"\{\\(title|author|keywords) ([^{}\\]{1,400})\}")
_MARKUP = re.compile(r"\\bin(\d{1,9}) ?|\\(footnote)(?![a-z]) ?|\\.|[{}]", re.DOTALL)
_DEFAULT_FONT = re.compile(r"\\deff(\d{1,5})")


def rtf_blocks(data: bytes) -> tuple[list[Block], dict[str, Any]]:
    """Return the paragraphs and tables; headings are told as in plain text.

    Raises:
        CorruptDocument: striprtf can't read it.
    """
    from striprtf.striprtf import rtf_to_text

    source = _with_notes_at_the_end(
        data.decode("latin-1")
    )  # RTF is 7-bit; bytes above stand for themselves in the file's code page
    try:
        text: str = rtf_to_text(source, encoding="cp1252", errors="replace")  # type: ignore[no-untyped-call]
    except (MemoryError, RecursionError):
        raise
    except Exception as error:
        raise CorruptDocument(f"the RTF can't be read ({type(error).__name__}); save it again") from error
    info = {key.decode(): value.decode("cp1252", "replace").strip() for key, value in _INFO.findall(data[:65536])}
    fields = {
        "title": info.get("title"),
        "authors": people_of(info.get("author")),
        "keywords": words_of(info.get("keywords")),
    }
    return list(_blocks(text)), {key: value for key, value in fields.items() if value}


def _with_notes_at_the_end(source: str) -> str:
    """Move foot- and endnotes from their places to paragraphs of their own, because striprtf leaves them out."""
    if "\\footnote" not in source:
        return source
    kept: list[str] = []
    notes: list[str] = []
    font = _DEFAULT_FONT.search(source)
    depth = note_depth = start = end = position = 0
    while match := _MARKUP.search(source, position):
        position = match.end()
        if match[1]:  # bytes of a picture, with whatever braces
            position += int(match[1])
        elif match[0] == "{":
            depth += 1
        elif match[0] == "}":
            depth -= 1
            if note_depth and depth < note_depth:
                notes.append(source[start : match.start()])
                end, note_depth = match.start(), 0
            elif depth <= 0:
                position = match.start()
                break
        elif match[2] and not note_depth and depth > 1:
            kept.append(source[end : match.start()])
            note_depth, start = depth, match.end()
    else:
        position = len(source)
    if note_depth:  # cut off within a note
        notes.append(source[start:])
        end = position = len(source)
    opening = rf"\par {{\f{font[1]} " if font else r"\par {"
    return "".join((*kept, source[end:position], *(f"{opening}{note}}}" for note in notes), source[position:]))


def _blocks(text: str) -> list[Block]:
    """striprtf puts a paragraph on a line, and the cells of a table row between bars, the last one open."""
    blocks: list[Block] = []
    rows: list[list[str]] = []
    plain: list[str] = []
    for line in text.split("\n"):
        if line.count("|") >= 2 and line.endswith("|"):
            blocks.extend(plain_blocks("\n\n".join(plain)))
            plain = []
            rows.append(line[:-1].split("|"))
            continue
        if rows:
            blocks.append(Block("Table", markdown_table(rows)))
            rows = []
        plain.append(line)
    if rows:
        blocks.append(Block("Table", markdown_table(rows)))
    blocks.extend(plain_blocks("\n\n".join(plain)))
    return blocks
