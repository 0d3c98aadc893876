"""Answers whose every sentence is tied to a span of a source, or a refusal."""

from headwater.answering.extractive import METHOD, answer_extractive
from headwater.answering.support import TextEncoder
from headwater.answering.verifier import verify

__all__ = ["METHOD", "TextEncoder", "answer_extractive", "verify"]
