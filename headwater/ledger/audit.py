"""The audit log: who did what, when, to which corpus and release, and how much; never any text."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import sqlalchemy as sa

from headwater.ledger.base import LedgerPart
from headwater.ledger.engine import write
from headwater.ledger.migrate import current_revision, is_known
from headwater.ledger.schema import audit

Outcome = Literal["ok", "refused", "failed"]


def _new_id() -> str:
    return uuid.uuid4().hex


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One action. ``who`` is a caller's id (``key:...``, ``oidc:...``, ``token``, ``local``, or ``os:`` and a user).

    ``action`` is what was done (``answer``, ``document.read``, ``release.promote`` ...), ``target`` the id of what it
    was done to (a document, an answer, a key), ``counts`` how much (passages, sentences ...). Times are UTC.
    """

    who: str
    action: str
    corpus: str | None = None
    release: int | None = None
    target: str | None = None
    outcome: Outcome = "ok"
    counts: Mapping[str, int] = field(default_factory=dict)
    request_id: str | None = None
    at: datetime = field(default_factory=_now)
    id: str = field(default_factory=_new_id)


class AuditLog(LedgerPart):
    """The audit log of all corpora."""

    def record_audit(self, entries: Collection[AuditEntry]) -> None:
        """Store entries, all of them or none."""
        if not entries:
            return
        rows = [
            {**{name: getattr(entry, name) for name in AuditEntry.__dataclass_fields__}, "counts": dict(entry.counts)}
            for entry in entries
        ]
        with write(self._engine) as connection:
            connection.execute(audit.insert(), rows)

    def audit_entries(
        self,
        *,
        corpus: str | None = None,
        since: datetime | None = None,
        who: str | None = None,
        action: str | None = None,
        limit: int | None = None,
    ) -> list[AuditEntry]:
        """Return entries, newest first; ``action`` may be the start of a name up to a dot (``release``)."""
        query = sa.select(audit).order_by(audit.c.at.desc(), audit.c.id)
        for column, value in ((audit.c.corpus, corpus), (audit.c.who, who)):
            if value is not None:
                query = query.where(column == value)
        if since is not None:
            query = query.where(audit.c.at >= since)
        if action is not None:
            inside = audit.c.action.startswith(f"{action}.", autoescape=True)
            query = query.where(sa.or_(audit.c.action == action, inside))
        if limit is not None:
            query = query.limit(limit)
        with self._engine.connect() as connection:
            return [AuditEntry(**row) for row in connection.execute(query).mappings()]

    def expire_audit(self, before: datetime) -> int:
        """Delete the entries from before ``before`` and return how many there were."""
        with write(self._engine) as connection:
            return connection.execute(audit.delete().where(audit.c.at < before)).rowcount


class UnmigratedAuditLog(AuditLog):
    """The audit log of a ledger as it is: before, between and after changes of its schema."""

    def __init__(self, engine: sa.Engine) -> None:
        """``engine`` stays the caller's to dispose of."""
        self._engine = engine

    def record_audit(self, entries: Collection[AuditEntry]) -> None:
        """Store entries, all of them or none: none in a newer version's schema, or in one without an audit log."""
        with self._engine.connect() as connection:
            if not is_known(current_revision(connection)) or not sa.inspect(connection).has_table(audit.name):
                return
        super().record_audit(entries)
