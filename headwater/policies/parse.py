"""How bytes become elements: the limits of a parser, passwords, OCR, and the parser of each format."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from headwater.policies.base import Policy


class ParserChoice(Policy):
    """Which parser reads a format, where there is a choice. The figures behind the defaults are in docs/parsing.md."""

    html: Literal["auto", "main_content", "full", "unstructured"] = Field(
        default="auto",
        description="main_content leaves menus, teasers and comments of web pages out; full keeps all a reader sees; auto takes the main content of pages that are web pages, and all of the others; unstructured is its partition_html.",
    )
    markdown: Literal["headwater", "unstructured"] = Field(
        default="headwater", description="markdown-it-py (CommonMark and tables), or unstructured's partition_md."
    )
    docx: Literal["headwater", "unstructured"] = Field(
        default="headwater", description="A walk over the document's XML, or unstructured's partition_docx."
    )
    pptx: Literal["headwater", "unstructured"] = Field(
        default="headwater",
        description="A walk over the slides' XML, or unstructured's partition_pptx.",
    )
    xlsx: Literal["headwater", "unstructured"] = Field(
        default="headwater", description="openpyxl, cells as Excel shows them, or unstructured's partition_xlsx."
    )
    csv: Literal["headwater", "unstructured"] = Field(
        default="headwater",
        description="The standard library's reader, values as written, or unstructured's partition_csv.",
    )
    text: Literal["headwater", "unstructured"] = Field(
        default="headwater",
        description="Paragraphs, items and headings by their setting, or unstructured's partition_text.",
    )
    email: Literal["headwater", "unstructured"] = Field(
        default="headwater", description="The standard library's mail parser, or unstructured's partition_email."
    )


class ParsePolicy(Policy):
    """Bytes to elements, in a worker process under limits."""

    max_bytes: int = Field(default=64 * 2**20, gt=0, description="Objects larger than this are quarantined, in bytes.")
    max_pages: int = Field(
        default=5000,
        gt=0,
        description="Documents with more pages, slides, sheets or chapters than this are quarantined.",
    )
    timeout_seconds: float = Field(default=60.0, gt=0, description="Wall-clock limit for one document.")
    cpu_seconds: float = Field(
        default=60.0,
        gt=0,
        description="Processor time for one document; holds even where the wall clock is not watched.",
    )
    memory_mb: int = Field(
        default=2048, ge=512, description="Address-space limit of a parser process above its start size, in MiB."
    )
    max_expanded_bytes: int = Field(
        default=512 * 2**20,
        gt=0,
        description="Archives (Office files, EPUB) and mails that expand to more than this are quarantined, in bytes.",
    )
    max_attachments: int = Field(
        default=200, gt=0, description="Mails with more attachments than this are not taken apart."
    )
    max_nesting: int = Field(
        default=3, ge=1, description="How deep mails within mails are taken apart; deeper ones are left where they are."
    )
    passwords: list[str] = Field(
        default=[],
        description="Names of ENVIRONMENT VARIABLES that hold passwords to try on encrypted PDF and Office files; never the passwords themselves.",
    )
    parsers: ParserChoice = Field(default=ParserChoice(), description="Which parser reads which format.")
    ocr: bool = Field(
        default=False,
        description="Recognise text in pictures and in PDF pages without a text layer, with Tesseract (Debian's tesseract-ocr).",
    )
    ocr_languages: list[str] = Field(
        default=["eng"], description="Tesseract's names of the languages to recognise; each needs its package."
    )
    ocr_dpi: int = Field(
        default=200,
        ge=72,
        le=600,
        description="Resolution at which PDF pages are drawn for OCR (Tesseract's guide: 300).",
    )
    sentence_model: str | None = Field(
        default=None,
        description="spaCy pipeline that unstructured uses to tell prose from headings; default: en_core_web_sm if installed, else the rules the install carries.",
    )

    @field_validator("passwords")
    @classmethod
    def _passwords_are_names(cls, value: list[str]) -> list[str]:
        for name in value:
            if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
                # The value is not repeated: it may be the password itself.
                raise ValueError("must hold names of environment variables (A-Z, 0-9 and _), not passwords")
        return value

    @field_validator("ocr_languages")
    @classmethod
    def _languages_are_names(cls, value: list[str]) -> list[str]:
        for name in value:
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_/-]*", name):
                raise ValueError(f"{name!r} is no name of a Tesseract language, such as eng or deu")
        if not value:
            raise ValueError("must name at least one language, such as eng")
        return value
