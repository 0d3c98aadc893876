"""Entering in the audit log what people do to a corpus from the command line, a job, or the service."""

from __future__ import annotations

import getpass
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import sqlalchemy as sa

from headwater.errors import HeadwaterError, LedgerError
from headwater.ledger.audit import AuditEntry

if TYPE_CHECKING:
    from headwater.ledger.audit import AuditLog

LOG = logging.getLogger("headwater.audit")


def operator() -> str:
    """Return who runs this process, as the audit log names them: ``os:`` and the account's name, or its number."""
    try:
        return f"os:{getpass.getuser()}"
    except (KeyError, OSError):  # a container's account may have a number alone
        return f"os:{os.getuid()}"


class Noted:
    """What an action may add to its entry while it is at work."""

    def __init__(self, entry: AuditEntry) -> None:
        self.entry = entry

    def add(
        self, *, release: int | None = None, target: str | None = None, counts: Mapping[str, int] | None = None
    ) -> None:
        """Set what is only known now."""
        self.entry = replace(
            self.entry,
            release=self.entry.release if release is None else release,
            target=self.entry.target if target is None else target,
            counts=self.entry.counts if counts is None else dict(counts),
        )


@contextmanager
def audited(
    ledger: AuditLog, action: str, *, corpus: str | None = None, who: str | None = None, target: str | None = None
) -> Iterator[Noted]:
    """Enter an action when the block ends: ``ok``, ``refused`` after an error of Headwater that is not the ledger's own, or else
    ``failed``.

    ``who`` is the caller of a service; default: who runs this process. The entry is stored before this returns.
    """
    noted = Noted(AuditEntry(who=who or operator(), action=action, corpus=corpus, target=target))
    try:
        yield noted
    except BaseException as error:
        refused = isinstance(error, HeadwaterError) and not isinstance(error, LedgerError)
        entry = replace(noted.entry, outcome="refused" if refused else "failed")
        try:
            ledger.record_audit([entry])
        except (LedgerError, sa.exc.SQLAlchemyError) as second:  # must not hide what went wrong first
            LOG.error("%s by %s could not be entered in the audit log: %s", action, entry.who, type(second).__name__)
        raise
    ledger.record_audit([noted.entry])
