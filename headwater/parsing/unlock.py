"""Passwords for encrypted files: named in the policy, held in the environment.

What has to be parsed again when a password changes is what asked for one, so that is noted where they are given out.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain
from typing import Any

from headwater.errors import CorruptDocument, EncryptedDocument
from headwater.policies import ParsePolicy

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_NO_PASSWORD = "VelvetSweatshop"  # what Excel encrypts write-protected workbooks with; MS-OFFCRYPTO 2.4.2.3


class Asked:
    """Whether a document asked for passwords: whether it would fare otherwise with others."""

    passwords = False


_asked: ContextVar[Asked | None] = ContextVar("asked", default=None)


@contextmanager
def noting_passwords() -> Iterator[Asked]:
    """Note in what this gives whether :func:`passwords` were asked for in the block."""
    asked = Asked()
    token = _asked.set(asked)
    try:
        yield asked
    finally:
        _asked.reset(token)


def passwords(policy: ParsePolicy) -> Iterator[str]:
    """Yield the passwords to try on a file that does not open without one, of those that are set.

    To be asked for only then, and after all else was tried.
    """
    if asked := _asked.get():
        asked.passwords = True
    yield from set_passwords(policy)


def set_passwords(policy: ParsePolicy) -> list[str]:
    """Return the values of the environment variables that the policy names and that are set."""
    return [value for name in policy.passwords if (value := os.environ.get(name))]


def locked(what: str, policy: ParsePolicy) -> EncryptedDocument:
    """Return the error of a file that no configured password opens."""
    if policy.passwords:
        return EncryptedDocument(f"{what} needs a password, and none of parse.passwords opens it")
    return EncryptedDocument(f"{what} needs a password; store a copy without one, or name it in parse.passwords")


def unlocked(data: bytes, policy: ParsePolicy) -> bytes:
    """Return an Office file without its encryption; other bytes as they are.

    Raises:
        EncryptedDocument: no configured password opens it.
        CorruptDocument: the encryption's own data can't be read.
    """
    if not data.startswith(_OLE):
        return data
    import msoffcrypto  # type: ignore[import-untyped]
    from msoffcrypto.exceptions import FileFormatError  # type: ignore[import-untyped]

    try:
        office = msoffcrypto.OfficeFile(io.BytesIO(data))
        if not office.is_encrypted():
            return data
    except FileFormatError:
        return data  # another kind of compound file, an Outlook message for one
    except (MemoryError, RecursionError):
        raise
    except Exception:
        return data  # broken: its reader says how
    for password in chain((_NO_PASSWORD,), passwords(policy)):
        plain = _decrypted(data, password)
        if plain is not None:
            return plain
    raise locked("the Office document", policy)


def _decrypted(data: bytes, password: str) -> bytes | None:
    import msoffcrypto
    from msoffcrypto.exceptions import DecryptionError, InvalidKeyError

    stream = io.BytesIO()
    try:
        office: Any = msoffcrypto.OfficeFile(io.BytesIO(data))
        try:
            office.load_key(password=password, verify_password=True)
        except TypeError:  # the formats before 2007 verify always
            office.load_key(password=password)
        office.decrypt(stream)
    except (InvalidKeyError, DecryptionError):
        return None
    except (MemoryError, RecursionError):
        raise
    except Exception as error:
        raise CorruptDocument(f"the document's encryption can't be read ({type(error).__name__})") from error
    return stream.getvalue()
