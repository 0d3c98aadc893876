"""JSON, NDJSON: one block per record, a ``name: value`` line per value."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from headwater.errors import CorruptDocument
from headwater.parsing.blocks import Block

_INDENT = "  "
_LARGE = 2000
"""Characters. A larger record is cut at its members, each becoming a block under the path to it."""


def json_blocks(text: str) -> tuple[list[Block], dict[str, Any]]:
    """Return a block per record of a list, or per member of a single object.

    Raises:
        CorruptDocument: not valid JSON (names the line).
    """
    return [block for block in _records(_load(text, None), ()) if block.text], {}


def ndjson_blocks(text: str) -> tuple[list[Block], dict[str, Any]]:
    """Return a block per line.

    Raises:
        CorruptDocument: a line is no valid JSON (names the line).
    """
    blocks: list[Block] = []
    # At no other line separator of Unicode: a string may hold them as they are.
    for number, line in enumerate(re.split(r"\r\n|[\n\r]", text), start=1):
        if line.strip():
            blocks.extend(block for block in _records(_load(line, number), ()) if block.text)
    return blocks, {}


def _load(text: str, line: int | None) -> Any:
    try:
        # Numbers stay as written: 1.10 is a version or a price.
        return json.loads(text.lstrip("\ufeff"), parse_float=str, parse_int=str)
    except json.JSONDecodeError as error:
        # "from None": the error carries the document.
        raise CorruptDocument(f"not valid JSON (line {line or error.lineno}): {error.msg}") from None


def _records(value: Any, path: tuple[str, ...]) -> Iterator[Block]:
    section = path or None
    if isinstance(value, list) and (not path or any(isinstance(entry, (dict, list)) for entry in value)):
        for entry in value:
            yield from _records(entry, path)
        return
    text = "\n".join(_lines(value, ""))
    if isinstance(value, dict) and len(text) > _LARGE:
        simple = {key: entry for key, entry in value.items() if not isinstance(entry, (dict, list))}
        yield Block("Text", "\n".join(_lines(simple, "")), section=section)
        for key, entry in value.items():
            if isinstance(entry, (dict, list)):
                yield from _records(entry, (*path, key))
        return
    yield Block("Text", text, section=section)


def _lines(value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, entry in value.items():
            if isinstance(entry, (dict, list)) and entry:
                yield f"{indent}{key}:"
                yield from _lines(entry, indent + _INDENT)
            elif entry not in (None, "", [], {}):
                yield f"{indent}{key}: {_plain(entry)}"
    elif isinstance(value, list):
        for entry in value:
            if isinstance(entry, (dict, list)):
                yield from _lines(entry, indent)
            elif entry not in (None, ""):
                yield f"{indent}- {_plain(entry)}"
    elif value not in (None, ""):
        yield f"{indent}{_plain(value)}"


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
