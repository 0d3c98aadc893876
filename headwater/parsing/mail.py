"""E-mail (RFC 5322, MIME): subject, body and the names of what is attached."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from typing import Any

from headwater.errors import EncryptedDocument
from headwater.parsing.blocks import Block
from headwater.parsing.decode import decode
from headwater.parsing.html import html_blocks
from headwater.parsing.plain import plain_blocks

_ENCRYPTED = ("application/pkcs7-mime", "application/x-pkcs7-mime", "application/pgp-encrypted")


def mail_blocks(data: bytes, text: str) -> tuple[list[Block], dict[str, Any]]:
    """Return the subject as a heading and the body's blocks; the HTML body where there is one.

    Metadata: ``title``, ``from``, ``to``, ``cc``, ``date`` (ISO 8601), ``attachments`` (names; not parsed).
    """
    # A message stored as UTF-16 is no mail to the parser; its decoded text is.
    source = text.encode("utf-8", "replace") if b"\0" in data[:1024] else data
    message = email.message_from_bytes(source.lstrip(b"\xef\xbb\xbf"), _class=EmailMessage, policy=email.policy.default)
    subject = _header(message, "Subject")
    stated = {
        "title": subject,
        "from": _header(message, "From"),
        "to": _header(message, "To"),
        "cc": _header(message, "Cc"),
        "date": _date(message),
        "author": _header(message, "From"),
    }
    metadata: dict[str, Any] = {key: value for key, value in stated.items() if value}
    blocks = [Block("Title", subject, level=0)] if subject else []
    body, attachments = _parts(message)
    metadata["attachments"] = attachments
    types = {message.get_content_type(), *(part.get_content_type() for part in message.iter_parts())}
    if not body and not types.isdisjoint(_ENCRYPTED):
        raise EncryptedDocument("the message is encrypted; store a decrypted copy")
    for part in body:
        content = _content(part)
        if part.get_content_type() == "text/html":
            blocks.extend(html_blocks(content, keep_furniture=True)[0])
        else:
            blocks.extend(plain_blocks(content, headings=False))
    return blocks, metadata


def _header(message: EmailMessage, name: str) -> str | None:
    try:
        value = message.get(name)
    except Exception:  # the header parser fails on some malformed values with IndexError, AttributeError and others
        value = next((raw for field, raw in message.raw_items() if field.lower() == name.lower()), None)
    return " ".join(str(value).split()) or None if value is not None else None


def _date(message: EmailMessage) -> str | None:
    value = _header(message, "Date")
    if value is None:
        return None
    try:
        return parsedate_to_datetime(value).isoformat()
    except (ValueError, TypeError, IndexError):
        return None


def _parts(message: EmailMessage) -> tuple[list[EmailMessage], list[str]]:
    """Return the parts to read, and the names of the attachments."""
    texts: list[EmailMessage] = []
    names: list[str] = []
    for part in message.walk():
        if part.is_multipart() or not isinstance(part, EmailMessage):
            continue
        name = part.get_filename()
        if (
            part.get_content_type() in ("text/plain", "text/html")
            and part.get_content_disposition() != "attachment"
            and not name
        ):
            texts.append(part)
        elif name:
            names.append(" ".join(name.split()))
    best = message.get_body(("html", "plain"))
    chosen = [best] if isinstance(best, EmailMessage) else texts
    return [part for part in chosen if part.get_content_maintype() == "text"], names


def _content(part: EmailMessage) -> str:
    try:
        content = part.get_content()
    except (LookupError, ValueError):  # an unknown charset, or bytes that are not in the declared one
        content = None
    if isinstance(content, str) and "\ufffd" not in content:
        return content
    payload = part.get_payload(decode=True)
    return decode(payload)[0] if isinstance(payload, bytes) else str(payload or "")
