"""Passages cut to what a model's context takes: whole sentences, the last passages first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from headwater.errors import GenerationError
from headwater.sentences import split_sentences
from headwater.types import Passage

BYTES_PER_TOKEN = 3.0
"""Where nobody counts. English has 4 to 5 bytes of UTF-8 per token of the common tokenizers, most other scripts 3 to 6
(Petrov et al. 2023, arXiv 2305.15425): this errs on the safe side."""

_ROUNDS = 6
_SLACK = 0.95


def estimate(text: str) -> int:
    """Return about how many tokens ``text`` has, rather too many than too few."""
    return int(len(text.encode("utf-8", "replace")) / BYTES_PER_TOKEN) + 1


def fit(passages: Sequence[Passage], room: int, count: Callable[[Sequence[Passage]], int]) -> list[Passage]:
    """Return as much of ``passages``, in order, as makes a prompt of at most ``room`` tokens.

    ``count`` says how many tokens the whole prompt has with the passages it is given. The passage at the border ends
    with a whole sentence, and its ``end`` with it; those behind it are left out. GenerationError ``too_long`` when not
    even a sentence fits.
    """
    kept = list(passages)
    size = sum(map(_bytes, kept))
    for _ in range(_ROUNDS):
        tokens = count(kept)
        if tokens <= room and kept:
            return kept
        fixed = count([])
        if fixed >= room or not kept:
            break
        size = int(size * (room - fixed) / (tokens - fixed) * _SLACK)
        kept = _cut(passages, size)
    raise GenerationError(f"the prompt does not fit into {room} tokens with a single sentence of a passage", "too_long")


def _cut(passages: Sequence[Passage], size: int) -> list[Passage]:
    """Return the first ``size`` bytes of the passages' texts, whole sentences."""
    kept = []
    for passage in passages:
        length = _bytes(passage)
        if length > size:
            ends = [end for _, end in split_sentences(passage.text) if len(passage.text[:end].encode()) <= size]
            if ends:
                kept.append(replace(passage, text=passage.text[: ends[-1]], end=passage.start + ends[-1]))
            break
        kept.append(passage)
        size -= length
    return kept


def _bytes(passage: Passage) -> int:
    return len(passage.text.encode("utf-8", "replace"))
