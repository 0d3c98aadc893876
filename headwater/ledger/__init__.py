"""The ledger: the small relational store of releases, answers, leases, erasures and reveals.

SQLite by default, PostgreSQL by URL. It says which release of a corpus is live; it never holds document text.
"""

from headwater.ledger.api_keys import ApiKey
from headwater.ledger.audit import AuditEntry
from headwater.ledger.records import (
    AnswerRecord,
    ErasureRecord,
    FeedbackKind,
    FeedbackRecord,
    FeedbackState,
    Pin,
    Pointer,
    ReleaseInfo,
    ReleaseState,
    RevealRecord,
)
from headwater.ledger.store import Ledger

__all__ = [
    "AnswerRecord",
    "ApiKey",
    "AuditEntry",
    "ErasureRecord",
    "FeedbackKind",
    "FeedbackRecord",
    "FeedbackState",
    "Ledger",
    "Pin",
    "Pointer",
    "ReleaseInfo",
    "ReleaseState",
    "RevealRecord",
]
