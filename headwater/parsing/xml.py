"""XML: parsed without entities, network or document type; any vocabulary becomes named values and paragraphs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lxml import etree

from headwater.errors import CorruptDocument, ParseLimitExceeded
from headwater.parsing.blocks import Block
from headwater.parsing.partition import classify

_ENTITY = re.compile(rb"<!ENTITY\b")
_WORDS_OF_A_NAME = re.compile(r"[_\-.]+|(?<=[a-z])(?=[A-Z])")
_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*\?>\s*")
_MAX_LABELLED = 200
"""Characters. A longer text is a paragraph and stands for itself; a shorter one needs its element's name to be understood."""


def safe_xml(source: bytes) -> Any:
    """Return the root of an XML document.

    Raises:
        CorruptDocument: not well-formed, or it declares entities (code ``xml_entities``): the only way for a text
            to grow without end or to name other files. No file or address is ever opened.
        ParseLimitExceeded: nested deeper than libxml2's limit of 256 (code ``nested_too_deeply``).
    """
    if any(_ENTITY.search(form) for form in (source, source.replace(b"\0", b""))):
        raise CorruptDocument("the XML declares entities, which are not expanded for safety", "xml_entities")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True
    )
    try:
        return etree.fromstring(source, parser)
    except etree.XMLSyntaxError as error:
        if any(
            entry.type_name == "ERR_RESOURCE_LIMIT" or "depth" in entry.message.lower() for entry in error.error_log
        ):
            raise ParseLimitExceeded("the XML is nested too deeply", "nested_too_deeply") from None
        line = error.lineno
        # "from None": the parser's message may quote the document.
        raise CorruptDocument(f"the XML is not well-formed (line {line}); correct it there") from None


def xml_blocks(data: bytes, text: str) -> tuple[list[Block], dict[str, Any]]:
    """Return a paragraph per text element, and a block of ``name: value`` lines per group of short ones."""
    # Bytes that are no UTF-16 but declare it are common; their decoded text is right, and states no encoding.
    try:
        root = safe_xml(data)
    except CorruptDocument as error:
        if error.code == "xml_entities":
            raise
        root = safe_xml(_DECLARATION.sub("", text.lstrip("\ufeff"), count=1).encode("utf-8", "replace"))
    return list(_blocks(root)), {}


def _blocks(element: Any) -> Iterator[Block]:
    lines: list[str] = []
    if len(element) and _is_mixed(element):
        text = " ".join(_text(element).split())
        yield Block(classify(text), text)
        return
    for child in element:
        if not isinstance(child.tag, str):
            continue
        text = " ".join(_text(child).split()) if not len(child) or _is_mixed(child) else ""
        if text and len(text) <= _MAX_LABELLED:
            lines.append(f"{_name(child)}: {text}")
            continue
        if lines:
            yield Block("Text", "\n".join(lines))
            lines = []
        if text:
            yield Block(classify(text), text)
        elif len(child):
            yield from _blocks(child)
    if lines:
        yield Block("Text", "\n".join(lines))
    elif not len(element) and (text := " ".join(_text(element).split())):
        yield Block(classify(text), text)


def _is_mixed(element: Any) -> bool:
    return bool((element.text or "").strip()) or any((child.tail or "").strip() for child in element)


def _text(element: Any) -> str:
    return "".join(piece if isinstance(piece, str) else piece.decode() for piece in element.itertext())


def _name(element: Any) -> str:
    name = etree.QName(element).localname
    return " ".join(_WORDS_OF_A_NAME.sub(" ", name).split()) or name
