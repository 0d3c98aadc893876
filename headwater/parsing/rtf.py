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


def rtf_blocks(data: bytes) -> tuple[list[Block], dict[str, Any]]:
    """Return the paragraphs and tables; headings are told as in plain text.

    Raises:
        CorruptDocument: striprtf can't read it.
    """
    from striprtf.striprtf import rtf_to_text

    source = data.decode("latin-1")  # RTF is 7-bit; bytes above stand for themselves in the file's code page
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
