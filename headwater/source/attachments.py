"""What is attached to e-mails, as objects of their own.

An attachment's key is its mail's key, ``!/`` and its name: ``inbox/offer.eml!/terms.pdf``, and
``inbox/offer.eml!/earlier.eml!/draft.txt`` for what is attached to an attached mail. Mails are opened in worker
processes under the limits of the parse policy, never in the caller's: their bytes are whatever somebody sent.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from headwater import parsing
from headwater.errors import ParseError
from headwater.hashing import digest, digest_bytes
from headwater.policies import ParsePolicy
from headwater.pool import WorkerFailure, WorkerPool
from headwater.source.store import MissingObject, read_object

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SEPARATOR = "!/"
"""Between the key of a mail and the name of what is attached to it."""

CODE_VERSION = "1"
"""Raise it when other attachments would be found in the same bytes."""

NO_MAIL = CODE_VERSION
"""The mark of an object that can't be a mail."""

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_FIELD = re.compile(rb"^[A-Za-z][A-Za-z0-9-]*:(?=[ \t\r\n])", re.MULTILINE)
_HEAD = 4096
_MAIL_TYPES = ("message/rfc822", "application/vnd.ms-outlook")


def decider(doc_id: str, parents: Mapping[str, str], listed: Container[str]) -> str:
    """Return the object whose readers count for ``doc_id``: itself, or, once it is not ``listed``, its mail.

    ``parents`` has the mail of what is attached. A mail that can't be opened now has lost its attachments, but not the say
    over who may read them.
    """
    while doc_id not in listed and doc_id in parents:
        doc_id = parents[doc_id]
    return doc_id


@dataclass(frozen=True, slots=True)
class Attached:
    """One attachment of a mail: its names from the outermost mail inwards, and the hash and size of its bytes.

    ``note`` says what could not be read of a mail that is attached itself, None when all could.
    """

    path: tuple[str, ...]
    revision: str
    size: int
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Expansion:
    """What is attached to a mail, in order, and a note on what could not be read."""

    attached: tuple[Attached, ...] = ()
    note: str | None = None


def may_be_mail(head: bytes, key: str) -> bool:
    """Return whether an object that begins with ``head`` has to be opened to see whether it is a mail."""
    if head.startswith((_OLE, b"From ")) or PurePosixPath(key.lower()).suffix == ".eml":
        return True
    text = head[:_HEAD].removeprefix(b"\xef\xbb\xbf")
    return _FIELD.match(text) is not None and len(_FIELD.findall(text)) > 1


def mark_of(policy: ParsePolicy, exclude: Iterable[str], taken: Iterable[str]) -> str:
    """Return what, beside its bytes, decides what is attached to a mail. ``taken`` are keys that others have already."""
    limits = (
        policy.max_attachments,
        policy.max_nesting,
        policy.max_expanded_bytes,
        policy.timeout_seconds,
        policy.cpu_seconds,
        policy.memory_mb,
    )
    return digest(CODE_VERSION, parsing.CODE_VERSION, *limits, *sorted(exclude), "", *sorted(taken))


def expand_mails(
    mails: Iterable[tuple[bytes, str]], policy: ParsePolicy, workers: int | None = None
) -> Iterator[tuple[int, Expansion]]:
    """Yield (index of the mail, what is attached to it) as workers get done; ``mails`` are (bytes, key), read lazily.

    A mail that can't be opened within the limits gives a note and no attachments. No worker starts without a mail.
    """
    with WorkerPool(
        "headwater.source.attachments:expand",
        policy,
        workers=workers,
        memory_mb=policy.memory_mb,
        prepare="headwater.source.attachments:prepare_worker",
        spare=True,
    ) as pool:
        for index, outcome in pool.map(mails, policy.timeout_seconds):
            if isinstance(outcome, WorkerFailure):
                outcome = Expansion(note=_note(parsing.failure_error(outcome, policy)))
            yield index, outcome


def prepare_worker(policy: ParsePolicy) -> None:
    """Import what opens mails, before the memory limit is set, and take from the process what that does not need."""
    import charset_normalizer  # noqa: F401
    import olefile  # type: ignore[import-untyped]  # noqa: F401
    import oxmsg  # noqa: F401

    from headwater.parsing import detect, mail, outlook  # noqa: F401
    from headwater.parsing.confine import confine_process

    confine_process()


def expand(mail: tuple[bytes, str], policy: ParsePolicy) -> Expansion:
    """Return what is attached to ``mail`` (bytes, key); nothing for what turns out to be no mail."""
    files, note = _open_confined(*mail, policy)
    hashed = (Attached(path, digest_bytes(file.data), len(file.data), file.note) for path, file in files.items())
    return Expansion(tuple(hashed), note)


class ObjectReader:
    """Reads objects and attachments from a bucket. Keeps what is attached to the mail that it opened last.

    For worker processes: it opens mails in its own. ``policy`` must be the one that the attachments were listed by.
    """

    def __init__(self, store: ObjectStore, policy: ParsePolicy) -> None:
        self._store = store
        self._policy = policy
        self._mail: str | None = None
        self._files: dict[tuple[str, ...], _File] = {}

    def read(self, key: str, *, attached: bool = False) -> bytes:
        """Return the bytes of the object at ``key``, or of the attachment when it is one.

        Raises SourceError when it can't be read, MissingObject when it is not there (any more).
        """
        if not attached:
            return read_object(self._store, key)
        # Where folders are called "a!" the first separator need not be the one behind the mail.
        parts = key.split(SEPARATOR)
        for count in range(1, len(parts)):
            file = self._attachments(SEPARATOR.join(parts[:count])).get(tuple(parts[count:]))
            if file is not None:
                return file.data
        raise MissingObject(f"{key}: there is no such attachment.")

    def _attachments(self, mail: str) -> dict[tuple[str, ...], _File]:
        if mail != self._mail:
            try:
                self._files = _open_confined(read_object(self._store, mail), mail, self._policy)[0]
            except MissingObject:
                self._files = {}
            self._mail = mail
        return self._files


@dataclass(frozen=True, slots=True)
class _File:
    data: bytes
    note: str | None


def _open_confined(data: bytes, key: str, policy: ParsePolicy) -> tuple[dict[tuple[str, ...], _File], str | None]:
    from headwater.parsing.confine import one_document

    with one_document(policy):
        return _open(data, key, policy)


def _open(data: bytes, key: str, policy: ParsePolicy) -> tuple[dict[tuple[str, ...], _File], str | None]:
    """Return the attachments of a mail and of the mails among them, by path, and a note on what could not be read.

    ``policy.max_attachments`` and ``policy.max_expanded_bytes`` hold for all of them together.
    """
    from headwater.parsing.mail import attachments

    files: dict[tuple[str, ...], _File] = {}

    def visit(data: bytes, name: str, path: tuple[str, ...]) -> str | None:
        if not _is_mail(data, name):
            return None
        try:
            if len(path) >= policy.max_nesting and attachments(data, policy):
                return f"What is attached to it is nested deeper than parse.max_nesting = {policy.max_nesting} mails."
            inside = attachments(data, policy)
        except ParseError as error:
            return _note(error)
        size = sum(len(file.data) for file in files.values()) + sum(len(file.data) for file in inside)
        if len(files) + len(inside) > policy.max_attachments or size > policy.max_expanded_bytes:
            return (
                f"The mails in one another have more attachments than parse.max_attachments = {policy.max_attachments} "
                f"allows, or larger ones than parse.max_expanded_bytes = {policy.max_expanded_bytes}."
            )
        for file in inside:
            files[*path, file.name] = _File(file.data, None)
        for file in inside:
            note = visit(file.data, file.name, (*path, file.name))
            if note is not None:
                files[*path, file.name] = _File(file.data, note)
        return None

    return files, visit(data, key, ())


def _is_mail(data: bytes, name: str) -> bool:
    from headwater.parsing.detect import detect

    if not may_be_mail(data[:_HEAD], name):
        return False
    try:
        return detect(data, name).content_type in _MAIL_TYPES
    except ParseError:  # whoever parses it says what is wrong with it
        return False


def _note(error: ParseError) -> str:
    return f"What is attached to it could not be read: {error}."
