"""The ledger: the small relational store of releases, answers, leases, erasures and reveals.

SQLite by default, PostgreSQL by URL. It says which release of a corpus is live; it never holds document text.
"""

from headwater.ledger.records import (
    AnswerRecord,
    ErasureRecord,
    Pin,
    Pointer,
    ReleaseInfo,
    ReleaseState,
    RevealRecord,
)
from headwater.ledger.store import Ledger

__all__ = [
    "AnswerRecord",
    "ErasureRecord",
    "Ledger",
    "Pin",
    "Pointer",
    "ReleaseInfo",
    "ReleaseState",
    "RevealRecord",
]
