"""The ledger itself. Every public method is one transaction."""

from __future__ import annotations

from headwater.ledger.answers import Answers
from headwater.ledger.api_keys import ApiKeys
from headwater.ledger.audit import AuditLog
from headwater.ledger.costs import Costs
from headwater.ledger.engine import create_engine
from headwater.ledger.erasures import Erasures
from headwater.ledger.feedback import Feedback
from headwater.ledger.leases import Leases
from headwater.ledger.migrate import upgrade
from headwater.ledger.prompts import Prompts
from headwater.ledger.releases import Releases
from headwater.ledger.reveals import Reveals
from headwater.ledger.transfer import Transfer


class Ledger(ApiKeys, AuditLog, Releases, Answers, Leases, Erasures, Reveals, Prompts, Feedback, Costs, Transfer):
    """Releases, answers, leases, erasures, reveals and prompts of all corpora, in SQLite or PostgreSQL.

    Safe to use from several threads and processes.
    """

    def __init__(self, url: str) -> None:
        """Open the database at ``url`` (SQLAlchemy's form), creating it or bringing its schema up to date.

        Raises ConfigError for an unusable URL, a missing driver, or a ledger of a newer Headwater, and LedgerError for a
        database that can't be reached.
        """
        self._engine = create_engine(url)
        upgrade(self._engine)

    def close(self) -> None:
        """Close all connections. The ledger must not be used afterwards."""
        self._engine.dispose()
