"""Answers given before: the same question of people with the same groups, on the same state of the corpus."""

from __future__ import annotations

import json
import pickle
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from time import monotonic
from typing import Any

from cachetools import TTLCache

from headwater.hashing import digest
from headwater.ledger.records import Pointer
from headwater.types import Answer, Passage, Turn


@dataclass(frozen=True, slots=True)
class AnswerKey:
    """What an answer hangs on: the state of the corpus, and a digest of all that was asked.

    ``question`` is as this caller typed it, for the answer to say so.
    """

    pointer: Pointer
    asked: str
    question: str


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """An answer and the passages that were read for it, best first.

    ``rewrite`` is the prompt that made its question stand alone; None where none did.
    """

    answer: Answer
    passages: tuple[Passage, ...]
    rewrite: str | None = None


def key_of(
    corpus: str,
    pointer: Pointer,
    release: int,
    readers: frozenset[str],
    question: str,
    *,
    prompt: str | None,
    model: str | None,
    rewrite: str | None = None,
    parameters: Mapping[str, Any],
    filters: Mapping[str, Any] | str | None = None,
    history: Sequence[Turn] = (),
) -> AnswerKey:
    """Return the key of an answer from ``release`` for a reader with the groups ``readers`` (everyone's included).

    ``pointer`` is the corpus' at the time of asking, so that an answer never outlives a release, a rollback or a change
    in place. ``prompt`` and ``rewrite`` are the prompts that the answer is written with, and its question made to stand
    alone. ``parameters`` are JSON values of all policies that decide the answer. Questions that differ in white
    space alone are the same; anything else may change their meaning.
    """
    return AnswerKey(
        pointer=pointer,
        question=question,
        asked=digest(
            corpus,
            release,
            *(digest(*sorted(readers)), " ".join(question.split()), prompt, model, rewrite),
            *(_json(parameters), _json(filters)),
            *(digest(turn.question, turn.answer) for turn in history),
        ),
    )


def _json(value: Any) -> str:
    """Return a value as JSON that is the same for equal values, whatever the order of their names."""
    return json.dumps(value, sort_keys=True, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return sorted(value, key=repr) if isinstance(value, (set, frozenset)) else repr(value)


class AnswerCache:
    """The answers of one corpus that this process gave lately: least recently used ones go first. Thread-safe.

    It holds document text, so it is emptied when the corpus' pointer moves: another release went live, or releases were
    changed in place by an erasure or a revoked permission. Whoever opens the corpus tells it so with :meth:`follow`;
    answers that belong to another pointer are neither given nor kept.
    """

    def __init__(self, max_bytes: int, max_age_seconds: float) -> None:
        """Hold at most ``max_bytes`` (as pickled; 0 holds nothing), nothing older than ``max_age_seconds``."""
        self._answers: TTLCache[str, bytes] = TTLCache(max_bytes, max_age_seconds, timer=monotonic, getsizeof=len)
        self._pointer: Pointer | None = None
        self._lock = Lock()

    def follow(self, pointer: Pointer) -> None:
        """Forget everything unless ``pointer`` is the one that is followed already."""
        with self._lock:
            if pointer != self._pointer:
                self._pointer = pointer
                self._answers.clear()

    def get(self, key: AnswerKey, *, conversation: str | None = None, turn: int = 0) -> CachedAnswer | None:
        """Return what was answered before as an answer of its own, or None.

        It has a new id and says that it is cached; no model was asked for it, so it has neither usage nor timings.
        """
        with self._lock:
            held = self._answers.get(key.asked) if key.pointer == self._pointer else None
        if held is None:
            return None
        found: CachedAnswer = pickle.loads(held)
        answer = found.answer
        again = replace(
            answer,
            id=uuid.uuid4().hex,
            question=key.question,
            searched=key.question if answer.searched == answer.question else answer.searched,
            cached=True,
            usage=None,
            timings={},
            conversation=conversation,
            turn=turn,
        )
        return CachedAnswer(again, found.passages, found.rewrite)

    def put(self, key: AnswerKey, answer: Answer, passages: Sequence[Passage], *, rewrite: str | None = None) -> None:
        """Keep an answer. One that is a stopgap (``fallback``) or larger than the whole cache is not kept."""
        if answer.fallback is not None:
            return
        held = pickle.dumps(CachedAnswer(answer, tuple(passages), rewrite), protocol=pickle.HIGHEST_PROTOCOL)
        with self._lock:
            if key.pointer == self._pointer and len(held) <= self._answers.maxsize:
                self._answers[key.asked] = held

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._answers.clear()

    @property
    def bytes(self) -> int:
        """The size of what is held."""
        with self._lock:
            self._answers.expire()
            return int(self._answers.currsize)

    def __len__(self) -> int:
        with self._lock:
            self._answers.expire()
            return len(self._answers)
