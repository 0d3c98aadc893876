"""The parts of an Office Open XML package (ISO/IEC 29500-2) and how they refer to each other."""

from __future__ import annotations

import posixpath
import zipfile
from typing import Any

from lxml import etree

from headwater.errors import CorruptDocument

_RELATION = "{http://schemas.openxmlformats.org/package/2006/relationships}Relationship"
# Strict documents (ISO/IEC 29500-1) differ from transitional ones in the namespaces, as far as what is read here goes.
_STRICT = tuple(
    (f"http://purl.oclc.org/ooxml/{strict}".encode(), f"http://schemas.openxmlformats.org/{transitional}".encode())
    for strict, transitional in (
        ("wordprocessingml/main", "wordprocessingml/2006/main"),
        ("presentationml/main", "presentationml/2006/main"),
        ("drawingml/main", "drawingml/2006/main"),
        ("officeDocument/relationships", "officeDocument/2006/relationships"),
    )
)


def parsed_part(archive: zipfile.ZipFile, name: str) -> Any | None:
    """Return the root of a part, None when there is no such part; raises lxml's error for broken XML.

    Raises CorruptDocument for a document type, also in a part that :func:`headwater.parsing.archive.check_archive` did
    not take for XML by its name or encoding; entities are resolved in none.
    """
    try:
        source = archive.read(name)
    except KeyError:
        return None
    if b"http://purl.oclc.org/ooxml/" in source:
        for strict, transitional in _STRICT:
            source = source.replace(strict, transitional)
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True, huge_tree=True
    )
    root = etree.fromstring(source, parser)
    if root.getroottree().docinfo.doctype:
        raise CorruptDocument(
            "a part declares a document type, which no Office program writes; save the document again"
        )
    return root


def relations(archive: zipfile.ZipFile, part: str, names: frozenset[str]) -> dict[str, tuple[str, str]]:
    """Return, by id, the kind and the name of the parts that a part refers to; what lies outside is left out."""
    folder, file = posixpath.split(part)
    name = f"{folder}/_rels/{file}.rels"
    root = parsed_part(archive, name) if name in names else None
    if root is None:
        return {}
    found = {}
    for entry in root.iter(_RELATION):
        if entry.get("TargetMode") != "External":
            target = posixpath.normpath(posixpath.join("/", folder, entry.get("Target", ""))).lstrip("/")
            found[entry.get("Id", "")] = (entry.get("Type", "").rsplit("/", 1)[-1], target)
    return found
