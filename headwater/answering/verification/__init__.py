"""Is what a sentence says in the passages that it cites? Aligned word by word, without a language model."""

from headwater.answering.verification.verifier import SpanVerifier

__all__ = ["SpanVerifier"]
