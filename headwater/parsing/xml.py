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
_UNREAD_ATTRIBUTES = frozenset(("id", "idref", "idrefs", "ref", "uid", "uuid", "guid", "class", "style", "version"))
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
    """Return a paragraph per text element, and a block of ``name: value`` lines per group of short ones.

    An element without text in it, such as ``<item name="Pump"/>``, gives its attributes as such lines.
    """
    # Bytes that are no UTF-16 but declare it are common; their decoded text is right, and states no encoding.
    try:
        root = safe_xml(data)
    except CorruptDocument as error:
        if error.code == "xml_entities":
            raise
        root = safe_xml(_DECLARATION.sub("", text.lstrip("\ufeff"), count=1).encode("utf-8", "replace"))
    return [*_attribute_block(root, worded := _worded(root)), *_blocks(root, worded)], {}


def _worded(root: Any) -> set[Any]:
    """Return the elements that have others in them and hold text, themselves or further in."""
    worded: set[Any] = set()
    for element in root.iter():
        if (element.text or "").strip():
            _add_with_ancestors(element if len(element) else element.getparent(), worded)
        if (element.tail or "").strip():
            _add_with_ancestors(element.getparent(), worded)
    return worded


def _add_with_ancestors(element: Any | None, worded: set[Any]) -> None:
    while element is not None and element not in worded:
        worded.add(element)
        element = element.getparent()


def _attributes(element: Any, worded: set[Any]) -> list[str]:
    """Return ``name: value`` lines of an element without any text: what it says stands in its attributes.

    Without the ones that say nothing to a reader: identifiers, and those of a namespace (``xsi:type``, ``xml:space``).
    """
    if element in worded or (element.text or "").strip():
        return []
    return [
        f"{_words_of(name)}: {' '.join(value.split())}"
        for name, value in element.attrib.items()
        if value.strip() and not name.startswith("{") and name.lower() not in _UNREAD_ATTRIBUTES
    ]


def _attribute_block(element: Any, worded: set[Any]) -> Iterator[Block]:
    if lines := _attributes(element, worded):
        yield Block("Text", "\n".join(lines))


def _blocks(element: Any, worded: set[Any]) -> Iterator[Block]:
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
        if lines and (text or len(child)):
            yield Block("Text", "\n".join(lines))
            lines = []
        if text:
            yield Block(classify(text), text)
            continue
        if not len(child) and element in worded:  # among named values it is one of them
            lines.extend(f"{_name(child)} {line}" for line in _attributes(child, worded))
            continue
        yield from _attribute_block(child, worded)
        if len(child):
            yield from _blocks(child, worded)
    if lines:
        yield Block("Text", "\n".join(lines))
    elif not len(element) and (text := " ".join(_text(element).split())):
        yield Block(classify(text), text)


def _is_mixed(element: Any) -> bool:
    return bool((element.text or "").strip()) or any((child.tail or "").strip() for child in element)


def _text(element: Any) -> str:
    return "".join(piece if isinstance(piece, str) else piece.decode() for piece in element.itertext())


def _name(element: Any) -> str:
    return _words_of(etree.QName(element).localname)


def _words_of(name: str) -> str:
    return " ".join(_WORDS_OF_A_NAME.sub(" ", name).split()) or name
