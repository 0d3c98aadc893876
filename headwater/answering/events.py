"""What happens while a question is answered, in order: one Started, sentences as each is verified, one Finished.

Nothing unverified is among it: a sentence that the verifier does not support is told by its reason alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from headwater.types import Answer, DropReason, Passage, Sentence


@dataclass(frozen=True, slots=True)
class Started:
    """The passages are found and writing begins. ``id``, ``release``, ``searched`` and the rest as in the answer."""

    id: str
    release: int
    method: str
    searched: str
    prompt: str | None
    model: str | None
    passages: tuple[Passage, ...]


@dataclass(frozen=True, slots=True)
class SentenceReady:
    """A verified sentence with its citations; the answer's next one."""

    sentence: Sentence


@dataclass(frozen=True, slots=True)
class SentenceDropped:
    """A sentence was left out."""

    reason: DropReason


@dataclass(frozen=True, slots=True)
class Restarted:
    """The sentences sent so far don't count: the model failed midway, and the fallback begins again. ``reason`` says why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer as a whole; its sentences are those that were ready since the start, or since the restart."""

    answer: Answer


AnswerEvent: TypeAlias = Started | SentenceReady | SentenceDropped | Restarted | Finished
