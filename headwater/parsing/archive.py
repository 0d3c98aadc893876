"""Office files and books are zip archives: check what they hold before a parser opens them.

Nothing is ever unpacked to disk: parts are read by name into memory, so a name that climbs out of the archive
(``../``) names nothing.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from headwater.errors import CorruptDocument, EncryptedDocument, ParseLimitExceeded
from headwater.policies import ParsePolicy

MAX_ENTRIES = 20_000
"""A presentation of 5,000 slides has about three entries per slide."""

_STEP = 1 << 20
_OVERLAP = 64
# OOXML part 2 (ISO/IEC 29500-2, 9.1.1.4) forbids document type declarations in any part; entities live nowhere else.
_DECLARATIONS = tuple("<!DOCTYPE".encode(name) for name in ("ascii", "utf-16-le", "utf-16-be"))
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OverflowError, OSError)


def check_archive(data: bytes, policy: ParsePolicy) -> None:
    """Read every entry of an Office Open XML file once, so that no parser meets a bomb, a broken entry or an entity.

    Raises:
        ParseLimitExceeded: the entries declare, or turn out to have, more than ``policy.max_expanded_bytes``.
        CorruptDocument: not a readable archive, or a part declares a document type.
        EncryptedDocument: an entry needs a password.
    """
    with open_archive(data, policy) as archive:
        read = 0
        for entry in archive.infolist():
            if entry.flag_bits & 1:
                raise EncryptedDocument("the archive's entries need a password")
            read += _read_entry(archive, entry, policy.max_expanded_bytes - read)
            _limit(read, policy)


@contextmanager
def open_archive(data: bytes, policy: ParsePolicy) -> Iterator[zipfile.ZipFile]:
    """Open an archive whose directory declares no more than the policy allows; errors of zipfile become ours.

    Read its parts with :func:`read_part`: an entry gives no more bytes than it declared.

    Raises:
        ParseLimitExceeded: the entries declare more than ``policy.max_expanded_bytes``, or are too many.
        CorruptDocument: not a readable archive.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _limit(sum(entry.file_size for entry in entries), policy, len(entries))
            yield archive
    except _BROKEN as error:
        raise CorruptDocument(f"not a readable archive ({type(error).__name__}); save the document again") from error


def read_part(archive: zipfile.ZipFile, name: str) -> bytes | None:
    """Return an entry's bytes, None when there is no such entry.

    Raises:
        EncryptedDocument: the entry needs a password.
    """
    try:
        entry = archive.getinfo(name)
    except KeyError:
        return None
    if entry.flag_bits & 1:
        raise EncryptedDocument("the archive's entries need a password")
    return archive.read(entry)


def _limit(size: int, policy: ParsePolicy, entries: int = 0) -> None:
    if size > policy.max_expanded_bytes or entries > MAX_ENTRIES:
        raise ParseLimitExceeded(
            f"the archive expands to more than {policy.max_expanded_bytes} bytes (parse.max_expanded_bytes)"
            f" or holds more than {MAX_ENTRIES} entries",
            "expands_too_far",
        )


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, budget: int) -> int:
    markup = entry.filename.endswith((".xml", ".rels", ".vml"))
    read = 0
    tail = b""
    with archive.open(entry) as stream:
        while (piece := stream.read(_STEP)) and read <= budget:
            read += len(piece)
            if markup:
                window = tail + piece
                if any(declaration in window for declaration in _DECLARATIONS):
                    raise CorruptDocument(
                        "a part of the document declares a document type, which Office files must not", "xml_entities"
                    )
                tail = piece[-_OVERLAP:]
    return read
