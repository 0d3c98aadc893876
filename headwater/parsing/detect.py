"""What the bytes are. The name is a hint: it decides between kinds of text, and it is reported when it is wrong."""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import dataclass
from pathlib import PurePosixPath

from headwater.errors import CorruptDocument, EncryptedDocument
from headwater.parsing.decode import decode, looks_binary, unread_note

PDF = "application/pdf"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
HTML = "text/html"
MARKDOWN = "text/markdown"
PLAIN = "text/plain"
CSV = "text/csv"
TSV = "text/tab-separated-values"
EMAIL = "message/rfc822"
MSG = "application/vnd.ms-outlook"
DOC = "application/msword"
PPT = "application/vnd.ms-powerpoint"
XLS = "application/vnd.ms-excel"
RTF = "application/rtf"
EPUB = "application/epub+zip"
ORG = "text/x-org"
JSON = "application/json"
NDJSON = "application/x-ndjson"
XML = "application/xml"
OPENDOCUMENT = tuple(
    f"application/vnd.oasis.opendocument.{kind}{template}"
    for kind in ("text", "spreadsheet", "presentation")
    for template in ("", "-template")
)
PICTURES = ("image/png", "image/jpeg", "image/tiff", "image/bmp", "image/webp")

_BY_EXTENSION = {
    ".pdf": PDF, ".docx": DOCX, ".docm": DOCX, ".dotx": DOCX, ".pptx": PPTX, ".pptm": PPTX, ".ppsx": PPTX,
    ".xlsx": XLSX, ".xlsm": XLSX, ".html": HTML, ".htm": HTML, ".xhtml": HTML, ".md": MARKDOWN,
    ".markdown": MARKDOWN, ".mdx": MARKDOWN, ".txt": PLAIN, ".text": PLAIN, ".log": PLAIN, ".rst": PLAIN,
    ".org": ORG, ".csv": CSV, ".tsv": TSV, ".tab": TSV, ".eml": EMAIL, ".json": JSON,
    ".ndjson": NDJSON, ".jsonl": NDJSON, ".xml": XML,
    ".xsl": XML, ".rtf": RTF, ".doc": DOC,
    ".xls": XLS, ".ppt": PPT, ".msg": MSG,
    ".odt": OPENDOCUMENT[0], ".ott": OPENDOCUMENT[1], ".ods": OPENDOCUMENT[2], ".odp": OPENDOCUMENT[4], ".epub": EPUB,
    ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".tif": "image/tiff", ".tiff": "image/tiff",
    ".bmp": "image/bmp", ".webp": "image/webp", ".gif": "image/gif", ".zip": "application/zip",
}  # fmt: skip
_ARCHIVES = (DOCX, PPTX, XLSX)
_PARTS = (("word/document.xml", DOCX), ("ppt/presentation.xml", PPTX), ("xl/workbook.xml", XLSX))
_OFFICE_PARTS = (
    ("word/", DOCX),
    ("ppt/", PPTX),
    ("xl/workbook.bin", "application/vnd.ms-excel.sheet.binary.macroenabled.12"),
    ("xl/", XLSX),
)
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OLE_STREAMS = (
    ("WordDocument", DOC),
    ("Workbook", XLS),
    ("Book", XLS),
    ("PowerPoint Document", PPT),
    ("__properties_version1.0", MSG),
)
_MAGIC = (
    (b"{\\rtf", RTF), (b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"), (b"II*\0", "image/tiff"), (b"MM\0*", "image/tiff"), (b"BM", "image/bmp"),
    (b"ID3", "audio/mpeg"), (b"\x1f\x8b", "application/gzip"), (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"Rar!\x1a\x07", "application/vnd.rar"), (b"OggS", "audio/ogg"), (b"RIFF", "application/riff"),
    (b"%!PS", "application/postscript"), (b"SQLite format 3\0", "application/vnd.sqlite3"), (b"\x7fELF", "application/x-executable"),
)  # fmt: skip
_HTML_START = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL
)
_HTML_FRAGMENT = re.compile(r"\s*<(?:div|p|table|h[1-6]|ul|ol|article|section|main|title|meta)\b[^<>]*>", re.IGNORECASE)
_STATED = {
    EPUB,
    *(
        f"application/vnd.oasis.opendocument.{kind}{template}"
        for kind in ("text", "spreadsheet", "presentation", "graphics", "chart", "image", "formula")
        for template in ("", "-template")
    ),
    *(f"application/vnd.oasis.opendocument.{kind}" for kind in ("text-master", "text-web", "base")),
}
"""What an archive may say that it is. It gets into error messages and receipts, and whoever packed it can write anything
there, so only what is known counts."""
_XML_START = re.compile(r"\s*<\?xml\b")
_HEADER = re.compile(r"([A-Za-z][A-Za-z0-9-]*):(?=[ \t]|$)")
_MAIL_HEADERS = {
    "from",
    "to",
    "date",
    "subject",
    "received",
    "message-id",
    "mime-version",
    "return-path",
    "delivered-to",
    "content-type",
}
_MIN_MAIL_HEADERS = 3


@dataclass(frozen=True, slots=True)
class Detected:
    """The content type; the text, where the type is a kind of text; and what the name got wrong."""

    content_type: str
    text: str | None
    notes: list[str]


def detect(data: bytes, name: str) -> Detected:
    """Tell the type of ``data`` by its bytes.

    Raises:
        EncryptedDocument: an Office file with a password.
        CorruptDocument: the archive or the compound file can't be read, or an Office extension on unknown binary data.
    """
    claimed = _BY_EXTENSION.get(PurePosixPath(name.lower()).suffix)
    found = _binary_type(data, claimed)
    if found is not None:
        return Detected(found, None, _notes(claimed, found))
    text, encoding, unread = decode(data)
    found = _text_type(text, claimed)
    notes = _notes(claimed, found)
    if encoding not in ("utf-8", "ascii"):
        notes.append(f"read as {encoding}")
    if unread:
        notes.append(unread_note(unread))
    return Detected(found, text, notes)


def _notes(claimed: str | None, found: str) -> list[str]:
    if claimed is None or claimed == found:
        return []
    return [f"the extension says {claimed}, the content is {found}"]


def _binary_type(data: bytes, claimed: str | None) -> str | None:
    head = data[:1024]
    if b"%PDF-" in head and (claimed == PDF or head.lstrip()[:5] == b"%PDF-" or looks_binary(data)):
        return PDF
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _archive_type(data, claimed)
    if head.startswith(_OLE):
        return compound_type(data)
    if not looks_binary(data):
        return _MAGIC[0][1] if head.startswith(_MAGIC[0][0]) else None
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    for magic, content_type in _MAGIC:
        if head.startswith(magic):
            return content_type
    if claimed in (*_ARCHIVES, PDF):
        raise CorruptDocument(
            f"the extension says {claimed}, but the bytes are not that format; save the document again"
        )
    return "application/octet-stream"


def _archive_type(data: bytes, claimed: str | None) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = set(archive.namelist())
            if "mimetype" in names and archive.getinfo("mimetype").file_size < 256:
                stated = archive.read("mimetype").decode("ascii", "replace").strip()
                if stated in _STATED:
                    return stated
    except Exception as error:  # zipfile raises anything from struct.error to RecursionError on broken directories
        raise CorruptDocument(f"not a readable archive ({type(error).__name__}); save the document again") from error
    for part, content_type in _PARTS:
        if part in names:
            return content_type
    if "[Content_Types].xml" in names:
        for prefix, content_type in _OFFICE_PARTS:
            if any(entry.startswith(prefix) for entry in names):
                return content_type
    return claimed if claimed in _ARCHIVES and "[Content_Types].xml" in names else "application/zip"


def compound_type(data: bytes) -> str:
    """Return the content type of a compound file (MS-CFB); raises as :func:`detect` does."""
    import olefile  # type: ignore[import-untyped]

    try:
        with olefile.OleFileIO(io.BytesIO(data)) as compound:
            if compound.exists("EncryptedPackage"):
                raise EncryptedDocument(
                    "the Office document is encrypted in a way that can't be read; store a plain copy"
                )
            for stream, content_type in _OLE_STREAMS:
                if compound.exists(stream):
                    return content_type
    except EncryptedDocument:
        raise
    except Exception as error:  # olefile raises anything on broken tables
        raise CorruptDocument(f"not a readable compound file ({type(error).__name__})") from error
    return "application/x-ole-storage"


def _text_type(text: str, claimed: str | None) -> str:
    head = text[:4096].lstrip("\ufeff")
    if _HTML_START.match(head):
        return HTML
    if claimed == EMAIL or (claimed in (None, PLAIN) and _is_mail(head)):
        return EMAIL
    if _XML_START.match(head):
        return XML
    if claimed is not None and claimed.startswith(("text/", JSON, NDJSON, XML)):
        return claimed
    if claimed is None and _HTML_FRAGMENT.match(head):
        return HTML
    return PLAIN


def _is_mail(head: str) -> bool:
    """Whether the text opens with RFC 5322 header fields, at least three of them well-known."""
    known: set[str] = set()
    for number, line in enumerate(head.splitlines()):
        if not line.strip():
            break
        if line[0] in " \t" or (number == 0 and line.startswith("From ")):
            continue
        field = _HEADER.match(line)
        if field is None:
            return False
        known.add(field[1].lower())
    return len(known & _MAIL_HEADERS) >= _MIN_MAIL_HEADERS or {"mime-version", "content-type"} <= known
