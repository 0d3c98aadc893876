"""Leases: one writer per corpus across machines, with a fencing token (Kleppmann 2017, ch. 8).

A lease expires unless it is renewed. A writer that slept past its expiry may not know that it was taken over; so
what decides about readers takes the token along and is refused when it is not the current one any more.
"""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa

from headwater.errors import LeaseError
from headwater.ledger.base import LedgerPart, ensure, lock_lease, now
from headwater.ledger.engine import write
from headwater.ledger.schema import leases


class Leases(LedgerPart):
    """The leases of all corpora."""

    def acquire_lease(self, corpus: str, holder: str, seconds: float, *, dead: str | None = None) -> int:
        """Take the lease of a corpus for ``seconds`` and return its token, greater than every one before it.

        Raises LeaseError, which names the holder and the expiry, while somebody else holds it. A lease that expired is
        taken over, and so is one whose holder is ``dead``: the caller knows that this process is no more.
        """
        with write(self._engine) as connection:
            ensure(connection, leases, corpus=corpus, token=0)
            row = lock_lease(connection, corpus)
            assert row is not None
            moment = now(connection)
            if row["holder"] is not None and row["expires_at"] > moment and row["holder"] != dead:
                raise LeaseError(
                    f"Another process is writing corpus {corpus!r}: {row['holder']} holds the lease, for now until "
                    f"{row['expires_at'].isoformat(timespec='seconds')}. Wait for it, or stop it, and try again."
                )
            token = int(row["token"]) + 1
            connection.execute(
                leases.update()
                .where(leases.c.corpus == corpus)
                .values(token=token, holder=holder, expires_at=moment + timedelta(seconds=seconds))
            )
        return token

    def renew_lease(self, corpus: str, token: int, seconds: float) -> None:
        """Let the lease expire ``seconds`` from now; LeaseError when it was taken over or given back."""
        with write(self._engine) as connection:
            require_lease(connection, corpus, token)
            connection.execute(
                leases.update()
                .where(leases.c.corpus == corpus)
                .values(expires_at=now(connection) + timedelta(seconds=seconds))
            )

    def release_lease(self, corpus: str, token: int) -> None:
        """Give the lease back; a lease that was taken over is left to its new holder."""
        with write(self._engine) as connection:
            connection.execute(
                leases.update()
                .where(leases.c.corpus == corpus, leases.c.token == token)
                .values(holder=None, expires_at=None)
            )

    def lease_holder(self, corpus: str) -> str | None:
        """Return who holds the lease of a corpus (or held it and let it expire), None when nobody does."""
        with self._engine.connect() as connection:
            return connection.execute(sa.select(leases.c.holder).where(leases.c.corpus == corpus)).scalar()

    def writer(self, corpus: str) -> str | None:
        """Return who is writing a corpus now: the holder of a lease that has not expired."""
        with self._engine.connect() as connection:
            query = sa.select(leases.c.holder).where(leases.c.corpus == corpus, leases.c.expires_at > now(connection))
            return connection.execute(query).scalar()


def require_lease(connection: sa.Connection, corpus: str, token: int | None) -> None:
    """Raise LeaseError unless ``token`` is the current one; None asks for nothing.

    The row stays locked to the end of the transaction, so that a takeover comes before it or after it.
    """
    if token is None:
        return
    row = lock_lease(connection, corpus)
    if row is None or row["holder"] is None or row["token"] != token:
        by = f" ({row['holder']})" if row is not None and row["holder"] else ""
        raise LeaseError(
            f"Another writer took over corpus {corpus!r}{by}: this one was silent for too long. Nothing more was "
            "written; run it again once the other one has finished."
        )
