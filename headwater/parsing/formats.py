"""Which reader takes which content type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headwater.errors import CorruptDocument, ParseError
from headwater.parsing import detect
from headwater.parsing.archive import check_archive
from headwater.parsing.blocks import Block
from headwater.parsing.html import html_blocks
from headwater.parsing.mail import mail_blocks
from headwater.parsing.markdown import markdown_blocks
from headwater.parsing.office import docx_blocks, pptx_blocks, xlsx_blocks
from headwater.parsing.pdf import pdf_blocks
from headwater.parsing.plain import plain_blocks
from headwater.parsing.tables import csv_blocks
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
        except Exception as error:  # python-docx, python-pptx and openpyxl raise anything on missing or broken parts
            raise CorruptDocument(
                f"a part of the document can't be read ({type(error).__name__}); save it again"
            ) from error

    return reader


READERS: dict[str, Reader] = {
    detect.PDF: lambda data, text, policy: pdf_blocks(data, policy),
    detect.DOCX: _office(docx_blocks),
    detect.PPTX: _office(pptx_blocks),
    detect.XLSX: _office(xlsx_blocks),
    detect.HTML: lambda data, text, policy: html_blocks(text),
    detect.MARKDOWN: lambda data, text, policy: markdown_blocks(text),
    detect.EMAIL: lambda data, text, policy: mail_blocks(data, text),
    detect.PLAIN: lambda data, text, policy: (plain_blocks(text), {}),
    detect.CSV: lambda data, text, policy: (csv_blocks(text, tabs=False), {}),
    detect.TSV: lambda data, text, policy: (csv_blocks(text, tabs=True), {}),
}
