"""Mails for tests, made from their parts: the same parts give the same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from email.message import EmailMessage


def mail_bytes(
    subject: str, body: str, files: Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]] = ()
) -> bytes:
    """Return a mail with attached files (texts, or bytes of any kind)."""
    mail = EmailMessage()
    mail["From"] = "Ondine Marsh <ondine.marsh@heronworks.example>"
    mail["To"] = "crew@heronworks.example"
    mail["Subject"] = subject
    mail["Date"] = "Tue, 05 Mar 2024 09:30:00 +0100"
    mail.set_content(body)
    for name, content in files.items() if isinstance(files, Mapping) else files:
        if isinstance(content, str):
            mail.add_attachment(content, filename=name)
        else:
            mail.add_attachment(content, maintype="application", subtype="octet-stream", filename=name)
    if mail.is_multipart():
        mail.set_boundary("=====heronworks=====")
    return mail.as_bytes()
