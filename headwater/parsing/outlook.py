"""Outlook messages (.msg; MS-OXMSG), with python-oxmsg."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any

from headwater.errors import CorruptDocument, EncryptedDocument, ParseError, ParseLimitExceeded
from headwater.hashing import digest
from headwater.parsing.blocks import Block
from headwater.parsing.mail import ENCRYPTED, authors_of, body_blocks, safe_name, unique_name
from headwater.policies import ParsePolicy

_EMBEDDED_HEADER = 24  # MS-OXMSG 2.4.1.2: the header of an embedded message's properties is 8 bytes shorter
_EMBEDDED = "__substg1.0_3701000D"  # PidTagAttachDataObject: a message within the message
_ATTACH_METHOD_MESSAGE = 5  # afEmbeddedMessage, MS-OXCMSG 2.2.2.9
_HEADER_BREAKS = re.compile(r"[\r\n\x00]+")

File = tuple[str | None, str, bytes]


def msg_blocks(data: bytes) -> tuple[list[Block], dict[str, Any]]:
    """Return the subject as a heading and the body's blocks, with the metadata of :func:`mail.mail_blocks`.

    Raises:
        EncryptedDocument: an S/MIME message.
        CorruptDocument: not a readable Outlook file.
    """
    message = _load(data)
    if _is_encrypted(message) and not (message.body or _html(message) or "").strip():
        raise EncryptedDocument("the message is encrypted; store a decrypted copy")
    headers = message.message_headers
    subject = " ".join((message.subject or "").split())
    sender = " ".join((message.sender or "").split())
    stated = {
        "title": subject,
        "from": sender,
        "to": headers.get("To") or _addresses(message),
        "cc": headers.get("Cc"),
        "date": message.sent_date.isoformat() if message.sent_date else None,
        "authors": authors_of(sender),
    }
    metadata: dict[str, Any] = {key: value for key, value in stated.items() if value}
    taken: set[str] = set()
    names = []
    for number, (stated_name, content_type) in enumerate(map(_described, message.attachments), start=1):
        names.append(unique_name(safe_name(stated_name, content_type, number), taken))
        taken.add(names[-1].casefold())
    metadata["attachments"] = names
    blocks = [Block("Title", subject, level=0)] if subject else []
    html = _html(message)
    body = body_blocks(html, is_html=True) if html else []
    if not any(block.text.strip() for block in body):
        body = body_blocks(message.body or "", is_html=False)
    return [*blocks, *body], metadata


def message_files(data: bytes, policy: ParsePolicy) -> Iterator[File]:
    """Yield (name, content type, bytes) of every attachment; a message within the message as RFC 5322 text.

    A compound file that is no message has none.

    Raises:
        CorruptDocument: not a readable compound file.
    """
    from headwater.parsing.detect import MSG, compound_type

    try:
        if compound_type(data) != MSG:
            return
    except EncryptedDocument:  # an Office document
        return
    message = _load(data)
    for attachment in message.attachments:
        name, content_type = _described(attachment)
        yield name, content_type, _bytes(attachment, policy, 1)


def _load(data: bytes) -> Any:
    from oxmsg import Message

    try:
        message = Message.load(data)
        _ = message.subject, message.body, message.attachments
        return message
    except (MemoryError, RecursionError):
        raise
    except Exception as error:  # oxmsg and olefile raise anything on broken tables
        raise CorruptDocument(f"not a readable Outlook message ({type(error).__name__})") from error


def _is_encrypted(message: Any) -> bool:
    types = {_described(attachment)[1] for attachment in message.attachments}
    return "smime" in message.message_class.lower() or not types.isdisjoint(ENCRYPTED)


def _html(message: Any) -> str | None:
    try:
        html = message.html_body
    except (UnicodeDecodeError, LookupError):  # not in the code page it states
        return None
    return str(html) if html else None


def _addresses(message: Any) -> str:
    return ", ".join(recipient.email_address for recipient in message.recipients if recipient.email_address)


def _described(attachment: Any) -> tuple[str | None, str]:
    from oxmsg.domain import constants

    properties = attachment.properties
    name = attachment.file_name or properties.str_prop_value(constants.PID_ATTACH_FILENAME)
    if properties.int_prop_value(constants.PID_ATTACH_METHOD) == _ATTACH_METHOD_MESSAGE:
        name = name or properties.str_prop_value(constants.PID_DISPLAY_NAME)
        return f"{name}.eml" if name else None, "message/rfc822"
    guessed = mimetypes.guess_type(name or "")[0]
    stated = attachment.mime_type
    return name, (guessed if stated in (None, "application/octet-stream") and guessed else stated)


def _bytes(attachment: Any, policy: ParsePolicy, depth: int) -> bytes:
    embedded = next((inner for inner in attachment._storage.storages if inner.name == _EMBEDDED), None)
    if embedded is None:
        return bytes(attachment.file_bytes or b"")
    if depth > policy.max_nesting:
        raise ParseLimitExceeded(
            f"messages within messages are nested deeper than parse.max_nesting allows ({policy.max_nesting})",
            "nested_too_deeply",
        )
    return _as_mail(embedded, policy, depth)


def _as_mail(storage: Any, policy: ParsePolicy, depth: int) -> bytes:
    """Write a message within the message as RFC 5322 text, attachments included."""
    from oxmsg import Message
    from oxmsg.properties import Properties

    class _Embedded(Message):
        @property
        def properties(self) -> Any:
            return Properties(self._storage, properties_header_offset=_EMBEDDED_HEADER)

    try:
        message = _Embedded(storage)
        mail = EmailMessage()
        for name, value in (("Subject", message.subject), ("From", message.sender), ("To", _addresses(message))):
            if value:
                mail[name] = _HEADER_BREAKS.sub(" ", value)
        if message.sent_date:
            mail["Date"] = message.sent_date
        html = _html(message)
        mail.set_content(html or message.body or "", subtype="html" if html else "plain")
        for attachment in message.attachments:
            file, content_type = _described(attachment)
            main, _, sub = content_type.partition("/")
            content = _bytes(attachment, policy, depth + 1)
            if content_type == "message/rfc822":
                main, sub = "application", "octet-stream"  # told by its bytes and its name
            mail.add_attachment(content, maintype=main, subtype=sub or "octet-stream", filename=file or "")
        if mail.is_multipart():  # or it gets a random one: the same message has to give the same bytes
            mail.set_boundary(f"=={digest(message.subject, message.sender, html or message.body)}==")
        return mail.as_bytes()
    except (ParseError, MemoryError, RecursionError):
        raise
    except Exception as error:
        raise CorruptDocument(f"a message within the message can't be read ({type(error).__name__})") from error
