"""How long answers are kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headwater.corpus import Corpus


def expire_answers(corpus: Corpus, now: datetime | None = None) -> int:
    """Delete the answers that are older than the corpus' policy keeps them, and all that was said of them.

    Returns how many answers there were. ``now`` is timezone-aware; default: the time.
    """
    days = corpus.policy.answer.retention_days
    if days is None:
        return 0
    return corpus.ledger.expire_answers(corpus.name, (now or datetime.now(UTC)) - timedelta(days=days))
