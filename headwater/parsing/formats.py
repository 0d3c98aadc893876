"""Which reader takes which content type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headwater.errors import CorruptDocument, ParseError
from headwater.parsing import detect
from headwater.parsing.archive import check_archive
from headwater.parsing.blocks import Block
from headwater.parsing.epub import epub_blocks
from headwater.parsing.html import html_blocks
from headwater.parsing.json import json_blocks, ndjson_blocks
from headwater.parsing.legacy import doc_blocks, ppt_blocks, xls_blocks
from headwater.parsing.mail import mail_blocks
from headwater.parsing.markdown import markdown_blocks
from headwater.parsing.ocr import image_blocks
from headwater.parsing.office import docx_blocks, pptx_blocks, xlsx_blocks
from headwater.parsing.opendocument import opendocument_blocks
from headwater.parsing.outlook import msg_blocks
from headwater.parsing.partition import unstructured_blocks
from headwater.parsing.pdf import pdf_blocks
from headwater.parsing.plain import org_blocks, plain_blocks
from headwater.parsing.rtf import rtf_blocks
from headwater.parsing.tables import csv_blocks
from headwater.parsing.xml import xml_blocks
from headwater.policies import ParsePolicy

Read = tuple[list[Block], dict[str, Any]]
Reader = Callable[[bytes, str, ParsePolicy], Read]
"""Takes the bytes, their text (for kinds of text) and the policy; returns blocks and what the file states about itself."""


def _office(read: Callable[[bytes, ParsePolicy], Read]) -> Reader:
    def reader(data: bytes, text: str, policy: ParsePolicy) -> Read:
        check_archive(data, policy)
        try:
            return read(data, policy)
        except (ParseError, MemoryError, RecursionError):
            raise
        except Exception as error:  # python-pptx, openpyxl and lxml raise anything on missing or broken parts
            raise CorruptDocument(
                f"a part of the document can't be read ({type(error).__name__}); save it again"
            ) from error

    return reader


def _html(data: bytes, text: str, policy: ParsePolicy) -> Read:
    return html_blocks(text, part=policy.parsers.html)


def _mail(data: bytes, text: str, policy: ParsePolicy) -> Read:
    return mail_blocks(data, text)


READERS: dict[str, Reader] = {
    detect.PDF: lambda data, text, policy: pdf_blocks(data, policy),
    detect.DOCX: _office(docx_blocks),
    detect.PPTX: _office(pptx_blocks),
    detect.XLSX: _office(xlsx_blocks),
    detect.DOC: lambda data, text, policy: doc_blocks(data, policy),
    detect.PPT: lambda data, text, policy: ppt_blocks(data, policy),
    detect.XLS: lambda data, text, policy: xls_blocks(data, policy),
    **dict.fromkeys(detect.OPENDOCUMENT, lambda data, text, policy: opendocument_blocks(data, policy)),
    detect.EPUB: lambda data, text, policy: epub_blocks(data, policy),
    detect.RTF: lambda data, text, policy: rtf_blocks(data),
    detect.HTML: _html,
    detect.MARKDOWN: lambda data, text, policy: markdown_blocks(text),
    detect.EMAIL: _mail,
    detect.MSG: lambda data, text, policy: msg_blocks(data),
    detect.PLAIN: lambda data, text, policy: (plain_blocks(text), {}),
    detect.ORG: lambda data, text, policy: org_blocks(text),
    detect.CSV: lambda data, text, policy: (csv_blocks(text, tabs=False), {}),
    detect.TSV: lambda data, text, policy: (csv_blocks(text, tabs=True), {}),
    detect.JSON: lambda data, text, policy: json_blocks(text),
    detect.NDJSON: lambda data, text, policy: ndjson_blocks(text),
    detect.XML: lambda data, text, policy: xml_blocks(data, text),
    **dict.fromkeys(detect.PICTURES, lambda data, text, policy: image_blocks(data, policy)),
}

_CHOSEN = {
    detect.MARKDOWN: ("markdown", "md"),
    detect.DOCX: ("docx", "docx"),
    detect.PPTX: ("pptx", "pptx"),
    detect.XLSX: ("xlsx", "xlsx"),
    detect.CSV: ("csv", "csv"),
    detect.TSV: ("csv", "tsv"),
    detect.PLAIN: ("text", "text"),
    detect.EMAIL: ("email", "email"),
}
"""By content type: the field of ``parse.parsers``, and unstructured's name of its partitioner."""


def reader_of(content_type: str, policy: ParsePolicy) -> Reader | None:
    """Return the reader that the policy chooses for a content type, None when there is none."""
    name, partitioner = _CHOSEN.get(content_type, (None, ""))
    if name is None or getattr(policy.parsers, name) != "unstructured":
        return READERS.get(content_type)
    own = READERS[content_type]

    def reader(data: bytes, text: str, policy: ParsePolicy) -> Read:
        _, stated = own(data, text, policy)  # its limits, and what the file states: unstructured has neither
        return unstructured_blocks(partitioner, data, text), stated

    return reader
