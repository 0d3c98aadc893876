"""Names of persons, places and organisations, found offline by a small model that comes with the package.

In: texts. Out: spans with exact character offsets. The model is a head on the bundled MiniLM encoder; MODEL_CARD.md
beside this file says what it learned from, what it finds and what it misses. Each sentence is read alone, one that comes
twice is read once; then the mentions of a word in one text agree on what it is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from headwater.embedding.model import model_fingerprint
from headwater.hashing import digest
from headwater.privacy.names.candidates import COMMON_WORDS, may_hold_name, sentences
from headwater.privacy.names.decode import ENTITIES, LABELS, REPORTED, Floats, Ints, agree, best_labels, runs
from headwater.privacy.names.weights import WEIGHTS
from headwater.privacy.names.words import read_words
from headwater.types import PiiSpan

CODE_VERSION = "2"

_SENTENCES_AT_ONCE = 20_000  # bounds the memory: about 100 bytes per character of the sentences
_NAMES = [label for n, entity in enumerate(ENTITIES) if entity in REPORTED for label in (1 + 2 * n, 2 + 2 * n)]
_TITLES = re.compile(r"(?:(?:mr|mrs|ms|miss|dr|prof|sir)\b\.?\s*)+", re.IGNORECASE)  # one of the sets has them as names
_SURROGATES = re.compile("[\ud800-\udfff]")

__all__ = ["CODE_VERSION", "find_names", "fingerprint"]


def find_names(texts: Sequence[str], min_score: float = 0.5) -> list[list[PiiSpan]]:
    """Return the names in each text as PERSON, LOCATION and ORGANIZATION, in order and without overlaps.

    ``score`` is the model's probability that the words of the span are part of a name of these kinds (their mean).
    ``min_score`` (0 to 1) is how sure it has to be: 0.5 takes what is likelier a name than not; less finds more names
    and more that are none. A result depends on the text alone, not on the other texts of the call.
    """
    numbers: dict[str, int] = {}
    places: list[list[tuple[int, int]]] = []
    for text in texts:
        readable = _SURROGATES.sub("\ufffd", text)
        parts = ((start, readable[start:end]) for start, end in sentences(readable))
        places.append([(start, numbers.setdefault(part, len(numbers))) for start, part in parts if may_hold_name(part)])
    read = _read(list(numbers))
    return [
        _names(text, [(start, read[number]) for start, number in own], min_score)
        for text, own in zip(texts, places, strict=True)
    ]


@lru_cache(maxsize=1)
def fingerprint() -> str:
    """Return a digest of all that decides what :func:`find_names` finds; cheap: no model is loaded."""
    files = [hashlib.blake2b(path.read_bytes()).hexdigest() for path in (WEIGHTS, COMMON_WORDS)]
    return digest(CODE_VERSION, *files, model_fingerprint())


@dataclass(frozen=True, slots=True)
class _Sentence:
    """A sentence as the model read it: where its words are, and the logarithms of their labels' probabilities."""

    starts: Ints
    ends: Ints
    scores: Floats


def _read(texts: list[str]) -> list[_Sentence]:
    if not texts:
        return []
    from headwater.privacy.names.tagger import load_tagger

    tagger = load_tagger()
    read = []
    for first in range(0, len(texts), _SENTENCES_AT_ONCE):
        words = read_words(texts[first : first + _SENTENCES_AT_ONCE])
        scores = tagger.scores(words)
        for low, high in pairwise(words.borders.tolist()):
            read.append(_Sentence(words.starts[low:high], words.ends[low:high], scores[low:high]))
    return read


def _names(text: str, sentences: Sequence[tuple[int, _Sentence]], min_score: float) -> list[PiiSpan]:
    """Return the names in one text, of its sentences as (offset, sentence) in order."""
    if not sentences:
        return []
    starts = np.concatenate([sentence.starts + offset for offset, sentence in sentences])
    ends = np.concatenate([sentence.ends + offset for offset, sentence in sentences])
    borders = np.cumsum([0, *(len(sentence.starts) for _, sentence in sentences)])
    scores = np.concatenate([sentence.scores for _, sentence in sentences])
    scores = agree(scores, (text[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)))
    name = np.exp(scores[:, _NAMES]).sum(1)
    threshold = min(max(min_score, 1e-3), 1 - 1e-3)
    biased = scores + np.eye(1, LABELS, dtype=np.float32) * np.float32(np.log(threshold / (1 - threshold)))
    spans = []
    for begin, end, entity in runs(best_labels(biased, borders)):
        start, stop = int(starts[begin]), int(ends[end - 1])
        score = float(name[begin:end].mean())
        kind = REPORTED.get(ENTITIES[entity])
        if kind and score >= min_score:
            title = _TITLES.match(text, start, stop) if kind == "PERSON" else None
            trimmed = _trim(text, title.end() if title else start, stop)
            if trimmed:
                spans.append(PiiSpan(*trimmed, kind, min(1.0, score)))
    return spans


def _trim(text: str, start: int, end: int) -> tuple[int, int] | None:
    """Return the span without marks around it; a full stop or bracket at the end may belong to the name.

    None without a letter that has a capital form: the model learned nothing of scripts that have none.
    """
    while start < end and not text[start].isalnum():
        start += 1
    while start < end and not (text[end - 1].isalnum() or text[end - 1] in ".)'’"):
        end -= 1
    return (start, end) if text[start:end].upper() != text[start:end].lower() else None
