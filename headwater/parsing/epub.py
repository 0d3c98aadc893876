"""EPUB (ISO/IEC 23736): the chapters of the spine, in reading order."""

from __future__ import annotations

import posixpath
from typing import Any
from urllib.parse import unquote

from headwater.errors import CorruptDocument, EncryptedDocument
from headwater.parsing.archive import open_archive, read_part
from headwater.parsing.blocks import Block
from headwater.parsing.decode import decode
from headwater.parsing.html import html_blocks
from headwater.parsing.limits import too_many_pages
from headwater.parsing.metadata import date_of, people_of, words_of
from headwater.parsing.xml import safe_xml
from headwater.policies import ParsePolicy

_CONTAINER = "{urn:oasis:names:tc:opendocument:xmlns:container}"
_OPF = "{http://www.idpf.org/2007/opf}"
_DC = "{http://purl.org/dc/elements/1.1/}"


def epub_blocks(data: bytes, policy: ParsePolicy) -> tuple[list[Block], dict[str, Any]]:
    """Return the blocks of a book, and what its package states.

    Raises:
        EncryptedDocument: a chapter is protected by digital rights management.
        CorruptDocument: the package is missing or broken.
        ParseLimitExceeded: more chapters than ``policy.max_pages``.
    """
    with open_archive(data, policy) as archive:
        container = read_part(archive, "META-INF/container.xml")
        rootfile = safe_xml(container).find(f".//{_CONTAINER}rootfile") if container is not None else None
        package_name = rootfile.get("full-path") if rootfile is not None else None
        source = read_part(archive, package_name) if package_name else None
        if package_name is None or source is None:
            raise CorruptDocument("the book has no package document; export it again")
        package = safe_xml(source)
        folder = posixpath.dirname(package_name)
        chapters = _chapters(package, folder)
        if len(chapters) > policy.max_pages:
            raise too_many_pages(len(chapters), policy)
        encrypted = read_part(archive, "META-INF/encryption.xml") or b""
        blocks: list[Block] = []
        for chapter in chapters:
            if chapter.encode() in encrypted:
                raise EncryptedDocument(
                    "a chapter is protected by digital rights management; store an unprotected copy"
                )
            content = read_part(archive, chapter)
            if content is not None:
                blocks.extend(html_blocks(decode(content).text)[0])
    return blocks, _stated(package)


def _chapters(package: Any, folder: str) -> list[str]:
    """Return the names of the spine's parts. They are looked up in the archive: one that leaves it names nothing."""
    manifest = {item.get("id"): item.get("href") for item in package.iter(f"{_OPF}item")}
    names = []
    for reference in package.iter(f"{_OPF}itemref"):
        href = manifest.get(reference.get("idref"))
        if href and reference.get("linear") != "no":
            names.append(posixpath.normpath(posixpath.join(folder, unquote(href.split("#")[0]))))
    return list(dict.fromkeys(names))  # a chapter named twice is read once


def _stated(package: Any) -> dict[str, Any]:
    def all_of(name: str) -> list[str]:
        return [(element.text or "").strip() for element in package.iter(f"{_DC}{name}")]

    fields = {
        "title": next(iter(all_of("title")), ""),
        "authors": people_of(all_of("creator")),
        "date": date_of(next(iter(all_of("date")), "")),
        "language": next(iter(all_of("language")), ""),
        "keywords": words_of(all_of("subject")),
    }
    return {key: value for key, value in fields.items() if value}
