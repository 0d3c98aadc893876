"""E-mail (RFC 5322, MIME): subject, body, and what is attached."""

from __future__ import annotations

import email
import email.policy
import mimetypes
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import EmailMessage, Message
from email.utils import getaddresses, parsedate_to_datetime
from pathlib import PurePosixPath
from typing import Any

from headwater.errors import EncryptedDocument, ParseLimitExceeded
from headwater.parsing.blocks import Block
from headwater.parsing.decode import Decoded, codec_of, decode, unread_note
from headwater.parsing.html import html_blocks
from headwater.parsing.markdown import markdown_blocks
from headwater.parsing.plain import plain_blocks
from headwater.policies import ParsePolicy

ENCRYPTED = ("application/pkcs7-mime", "application/x-pkcs7-mime", "application/pgp-encrypted")
# Signatures, the parts of an encrypted message, and what is there a second time are no documents.
_NO_DOCUMENT = (
    *ENCRYPTED,
    "application/pkcs7-signature",
    "application/x-pkcs7-signature",
    "application/pgp-signature",
    "text/x-amp-html",  # the HTML once more, for programs that run it
)
# Texts that another program reads, each better as a file of its own than among the words of the mail.
_TEXT_FILES = (
    *("text/calendar", "text/csv", "text/tab-separated-values", "text/vcard", "text/x-vcard", "text/directory"),
    *("text/rtf", "text/xml", "text/css", "text/javascript", "text/rfc822-headers"),
)
_MARKDOWN = ("text/markdown", "text/x-markdown")
_ASCII = ("us-ascii", "ascii")
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_MAX_PARTS_DEPTH = 50
"""Multiparts within multiparts; mail programs nest four or five deep."""

_MAX_NAME = 150  # characters; most file systems and key listings take 255 bytes
_UNSAFE_IN_NAMES = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]+|!(?=$)")
_DEFAULT_POLICY = ParsePolicy()


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file in a mail. ``name`` is unique in its mail and safe as the last part of a key: no separators, never empty.

    ``content_type`` is what the mail declares; the bytes may be something else.
    """

    name: str
    content_type: str
    data: bytes


def attachments(data: bytes, policy: ParsePolicy = _DEFAULT_POLICY) -> list[Attachment]:
    """Return the files attached to a mail (RFC 5322 or Outlook's .msg), in their order.

    A forwarded message is an attachment of its own (``NAME.eml``) whose attachments are not listed here. Signatures
    and pictures that only decorate the body are left out. Bytes that are no mail have no attachments.

    Raises:
        ParseLimitExceeded: more than ``policy.max_attachments`` (code ``too_many_attachments``), or together more than
            ``policy.max_expanded_bytes`` (``expands_too_far``), or nested too deeply (``nested_too_deeply``).
        CorruptDocument: an Outlook file that can't be read.
    """
    found: Iterable[tuple[str | None, str, bytes]]
    if data.startswith(_OLE):
        from headwater.parsing.outlook import message_files

        found = message_files(data, policy)
    else:
        found = _files(_body_parts(_message(data)).files)
    return _named(found, policy)


def _files(parts: Iterable[EmailMessage]) -> Iterator[tuple[str | None, str, bytes]]:
    for part in parts:
        yield _filename(part), part.get_content_type(), _payload(part)


def _named(found: Iterable[tuple[str | None, str, bytes]], policy: ParsePolicy) -> list[Attachment]:
    result: list[Attachment] = []
    names: set[str] = set()
    size = 0
    for number, (stated, content_type, content) in enumerate(found, start=1):
        size += len(content)
        if number > policy.max_attachments:
            raise ParseLimitExceeded(
                f"the mail has more attachments than parse.max_attachments allows ({policy.max_attachments})",
                "too_many_attachments",
            )
        if size > policy.max_expanded_bytes:
            raise ParseLimitExceeded(
                "the mail's attachments are together larger than parse.max_expanded_bytes allows"
                f" ({policy.max_expanded_bytes})",
                "expands_too_far",
            )
        name = unique_name(safe_name(stated, content_type, number), names)
        names.add(name.casefold())
        result.append(Attachment(name, content_type, content))
    return result


def safe_name(stated: str | None, content_type: str, number: int) -> str:
    """Return the file name without folders and control characters, or a made-up one (``attachment-3.pdf``)."""
    name = re.split(r"[/\\]", stated or "")[-1]
    name = " ".join(_UNSAFE_IN_NAMES.sub(" ", name).split()).strip(". ")
    if not name:
        extension = ".eml" if content_type == "message/rfc822" else mimetypes.guess_extension(content_type) or ".bin"
        name = f"attachment-{number}{extension}"
    path = PurePosixPath(name)
    return name if len(name) <= _MAX_NAME else path.stem[: _MAX_NAME - len(path.suffix[:12])] + path.suffix[:12]


def unique_name(name: str, taken: set[str]) -> str:
    """Return ``name``, or ``name (2)`` and so on when its case-folded form is taken."""
    path = PurePosixPath(name)
    candidate, number = name, 1
    while candidate.casefold() in taken:
        number += 1
        candidate = f"{path.stem} ({number}){path.suffix}"
    return candidate


def mail_blocks(data: bytes, text: str) -> tuple[list[Block], dict[str, Any]]:
    """Return the subject as a heading and the body's blocks; the HTML body where there is one.

    Metadata: ``title``, ``authors`` (names of the senders, or their addresses), ``from``, ``to``, ``cc``, ``date``
    (ISO 8601), ``attachments`` (names, as :func:`attachments` gives them).

    Raises:
        EncryptedDocument: the message is encrypted (S/MIME or OpenPGP).
    """
    # A message stored as UTF-16 is no mail to the parser; its decoded text is.
    message = _message(text.encode("utf-8", "replace") if b"\0" in data[:1024] else data)
    subject = _header(message, "Subject")
    sender = _header(message, "From")
    stated = {
        "title": subject,
        "from": sender,
        "to": _header(message, "To"),
        "cc": _header(message, "Cc"),
        "date": _date(message),
        "authors": authors_of(sender),
        "language": _header(message, "Content-Language"),
    }
    metadata: dict[str, Any] = {key: value for key, value in stated.items() if value}
    blocks = [Block("Title", subject, level=0)] if subject else []
    parts = _body_parts(message)
    metadata["attachments"] = _names(parts.files)
    types = {message.get_content_type(), *(part.get_content_type() for part in message.iter_parts())}
    if not parts.texts and not types.isdisjoint(ENCRYPTED):
        raise EncryptedDocument("the message is encrypted; store a decrypted copy")
    notes: list[str] = []
    for body in parts.texts:
        blocks.extend(_read(body, notes))
    return blocks, {**metadata, "notes": notes}


def body_blocks(content: str, is_html: bool) -> list[Block]:
    """Return the blocks of a message's body."""
    if is_html:
        return html_blocks(content, keep_furniture=True)[0]
    return plain_blocks(content, headings=False)


def authors_of(sender: str | None) -> list[str]:
    """Return the names in a ``From`` field, or the addresses of senders without one."""
    if not sender:
        return []
    return [name or address for name, address in getaddresses([sender]) if name or address]


def _names(parts: Iterable[EmailMessage]) -> list[str]:
    taken: set[str] = set()
    names: list[str] = []
    for number, part in enumerate(parts, start=1):
        name = unique_name(safe_name(_filename(part), part.get_content_type(), number), taken)
        taken.add(name.casefold())
        names.append(name)
    return names


def _message(data: bytes) -> EmailMessage:
    return email.message_from_bytes(data.lstrip(b"\xef\xbb\xbf"), _class=EmailMessage, policy=email.policy.default)


def _header(message: EmailMessage, name: str) -> str | None:
    try:
        value = message.get(name)
    except Exception:  # the header parser fails on some malformed values with IndexError, AttributeError and others
        value = next((raw for field, raw in message.raw_items() if field.lower() == name.lower()), None)
    # Bytes that are no text are kept by the parser as surrogates, which nothing else can store.
    text = str(value).encode("utf-8", "replace").decode() if value is not None else ""
    return " ".join(text.split()) or None


def _date(message: EmailMessage) -> str | None:
    value = _header(message, "Date")
    if value is None:
        return None
    try:
        return parsedate_to_datetime(value).isoformat()
    except (ValueError, TypeError, IndexError):
        return None


Body = EmailMessage | tuple["list[Body]", ...]
"""A text to read, or forms of the same text of which one is read: the first that has something to read."""


@dataclass(slots=True)
class _Parts:
    """The leaves of a message: texts to read, and files."""

    texts: list[Body] = field(default_factory=list)
    files: list[EmailMessage] = field(default_factory=list)


def _body_parts(message: EmailMessage) -> _Parts:
    parts = _Parts()
    _sort(message, parts, 0)
    return parts


def _sort(part: EmailMessage, parts: _Parts, depth: int) -> None:
    if depth > _MAX_PARTS_DEPTH:
        raise ParseLimitExceeded("the message's parts are nested too deeply", "nested_too_deeply")
    content_type = part.get_content_type()
    if content_type == "multipart/encrypted":
        return
    if content_type.startswith("message/") and depth:
        parts.files.append(part)
    elif part.is_multipart():
        children = [child for child in part.iter_parts() if isinstance(child, EmailMessage)]
        if content_type == "multipart/alternative":
            _sort_alternatives(children, parts, depth)
        else:
            for child in children:
                _sort(child, parts, depth + 1)
    elif _is_text(part):
        parts.texts.append(part)
    elif content_type not in _NO_DOCUMENT and not _decorates(part) and (depth or not _is_torn(part)):
        parts.files.append(part)


def _is_text(part: EmailMessage) -> bool:
    """Whether this is to be read as the mail's own words: Markdown and enriched text as well as plain text and HTML."""
    return (
        part.get_content_maintype() == "text"
        and part.get_content_type() not in (*_TEXT_FILES, *_NO_DOCUMENT)
        and part.get_content_disposition() != "attachment"
        and not _filename(part)
    )


def _is_torn(part: EmailMessage) -> bool:
    """Whether this says that it has parts and has none."""
    return part.get_content_maintype() == "multipart" and not _filename(part)


def _sort_alternatives(children: list[EmailMessage], parts: _Parts, depth: int) -> None:
    """Order several forms of the same text: HTML where there is some, and the last (the richest, RFC 2046, 5.1.4) before the first."""
    forms = []
    for child in children:
        form = _Parts()
        _sort(child, form, depth + 1)
        parts.files.extend(form.files)
        forms.append(form.texts)
    with_text = [form for form in reversed(forms) if form]
    if with_text:
        parts.texts.append(tuple(sorted(with_text, key=lambda form: not _has_html(form))))


def _has_html(form: list[Body]) -> bool:
    return any(
        text.get_content_type() == "text/html" if isinstance(text, EmailMessage) else any(map(_has_html, text))
        for text in form
    )


def _read(body: Body, notes: list[str]) -> list[Block]:
    if isinstance(body, tuple):
        for form in body:
            noted: list[str] = []
            blocks = [block for text in form for block in _read(text, noted)]
            if any(block.text.strip() for block in blocks):
                notes.extend(noted)
                return blocks
        return []
    content = _content(body)
    if content.unread:
        notes.append(unread_note(content.unread))
    if body.get_content_type() in _MARKDOWN:
        return markdown_blocks(content.text)[0]
    return body_blocks(content.text, body.get_content_type() == "text/html")


def _decorates(part: EmailMessage) -> bool:
    """Whether this is a picture that the body refers to by its content id (RFC 2392)."""
    return (
        part.get_content_maintype() == "image"
        and part.get("Content-ID") is not None
        and part.get_content_disposition() != "attachment"
    )


def _filename(part: EmailMessage) -> str | None:
    try:
        name = part.get_filename()
    except Exception:  # malformed parameters, as in _header
        return None
    if name is None and part.get_content_type() == "message/rfc822":
        [inner, *_] = [*part.iter_parts(), None]
        subject = _header(inner, "Subject") if isinstance(inner, EmailMessage) else None
        return f"{subject}.eml" if subject else None
    return " ".join(name.split()) if name else None


def _payload(part: EmailMessage) -> bytes:
    if part.is_multipart():  # a forwarded message
        inner = [child for child in part.iter_parts() if isinstance(child, Message)]
        return b"\n".join(_as_bytes(child) for child in inner)
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _as_bytes(message: Message[str, str]) -> bytes:
    # As it was: the default policy would parse and refold every header, and fails on malformed ones.
    return message.as_bytes(policy=email.policy.compat32)


def _content(part: EmailMessage) -> Decoded:
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return Decoded(str(payload or ""), "")
    try:
        label = part.get_content_charset()
    except Exception:  # malformed parameters, as in _header
        label = None
    charset = codec_of(label)
    if charset is not None and label not in _ASCII:  # which programs state that don't know; the bytes tell more
        with suppress(UnicodeError):
            return Decoded(payload.decode(charset), charset)
    # Bytes that are not in the charset they state: a damaged one, or another.
    return decode(payload, label if charset in ("utf-8", "cp1252") else None)
