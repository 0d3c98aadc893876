"""What a writer of answers gives the verifier, and what the verifier says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from headwater.types import DropReason, Passage, Sentence


@dataclass(frozen=True, slots=True)
class Draft:
    """A sentence as a writer wrote it; ``cites`` are positions in the passages that it was given, from 0."""

    text: str
    cites: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Verified:
    """A verifier's word on one draft: the sentence with its citations, or the reasons why there is none (worst first)."""

    sentence: Sentence | None
    reasons: tuple[DropReason, ...] = ()


class Verifier(Protocol):
    """Checks drafts against the passages that they cite. Deterministic; never raises for what a draft holds."""

    def check(self, draft: Draft, passages: Sequence[Passage]) -> Verified:
        """Return what is supported of ``draft``; a citation's span is the smallest run of sentences that supports it."""
        ...
