"""What is kept of answers and of what people said of them: free of personal data, for as long as the policy says.

The ledger holds the record (:meth:`headwater.ledger.Ledger.record_answer`); here are the scrubbing of questions, the
cache of answers, retention, the way from a correction to a golden question, and the figures that monitors watch.
"""

from headwater.answer_log.cache import AnswerCache, AnswerKey, CachedAnswer, key_of
from headwater.answer_log.scrubbing import scrubber

CODE_VERSION = "1"
"""Counts up when the tables or the figures of the same answers would be others."""

__all__ = ["CODE_VERSION", "AnswerCache", "AnswerKey", "CachedAnswer", "key_of", "scrubber"]
