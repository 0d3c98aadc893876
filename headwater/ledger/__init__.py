"""The ledger: the small relational store of releases and answers.

SQLite by default, PostgreSQL by URL. It says which release of a corpus is live; it never holds document text.
"""

from headwater.ledger.records import AnswerRecord, ReleaseInfo, ReleaseState
from headwater.ledger.store import Ledger

__all__ = ["AnswerRecord", "Ledger", "ReleaseInfo", "ReleaseState"]
