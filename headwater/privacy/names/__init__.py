"""Names of persons, places and organisations, found offline by a small model that comes with the package.

In: texts. Out: spans with exact character offsets. The model is a head on the bundled MiniLM encoder; MODEL_CARD.md
beside this file says what it learned from, what it finds and what it misses. Each sentence is read alone, so what is
found in it is the same in every document and chunk that holds it; a sentence that comes twice is read once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from headwater.embedding.model import model_fingerprint
from headwater.hashing import digest
from headwater.privacy.names.candidates import COMMON_WORDS, may_hold_name, sentences
from headwater.privacy.names.decode import ENTITIES, REPORTED, best_labels, runs
from headwater.privacy.names.weights import WEIGHTS
from headwater.privacy.names.words import read_words
from headwater.types import PiiSpan

CODE_VERSION = "1"

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
    found: list[list[PiiSpan]] = [[] for _ in texts]
    places: dict[str, list[tuple[int, int]]] = {}
    for row, text in enumerate(texts):
        readable = _SURROGATES.sub("\ufffd", text)
        for start, end in sentences(readable):
            sentence = readable[start:end]
            if may_hold_name(sentence):
                places.setdefault(sentence, []).append((row, start))
    for sentence, spans in _read(list(places), min_score):
        for row, offset in places[sentence]:
            found[row] += [PiiSpan(offset + s.start, offset + s.end, s.entity, s.score) for s in spans]
    for spans in found:
        spans.sort(key=lambda span: span.start)
    return found


@lru_cache(maxsize=1)
def fingerprint() -> str:
    """Return a digest of all that decides what :func:`find_names` finds; cheap: no model is loaded."""
    files = [hashlib.blake2b(path.read_bytes()).hexdigest() for path in (WEIGHTS, COMMON_WORDS)]
    return digest(CODE_VERSION, *files, model_fingerprint())


def _read(texts: list[str], min_score: float) -> Iterator[tuple[str, list[PiiSpan]]]:
    if not texts:
        return
    from headwater.privacy.names.tagger import load_tagger

    tagger = load_tagger()
    threshold = min(max(min_score, 1e-3), 1 - 1e-3)
    bias = np.float32(np.log(threshold / (1 - threshold)))
    for first in range(0, len(texts), _SENTENCES_AT_ONCE):
        part = texts[first : first + _SENTENCES_AT_ONCE]
        words = read_words(part)
        scores = tagger.scores(words)
        name = np.exp(scores[:, _NAMES]).sum(1)
        scores[:, 0] += bias
        labels = best_labels(scores, words.borders)
        for row, sentence in enumerate(part):
            low, high = words.borders[row], words.borders[row + 1]
            here = labels[low:high]
            if not here.any():
                continue
            spans = []
            for begin, end, entity in runs(here):
                start, stop = int(words.starts[low + begin]), int(words.ends[low + end - 1])
                score = float(name[low + begin : low + end].mean())
                kind = REPORTED.get(ENTITIES[entity])
                if kind and score >= min_score:
                    title = _TITLES.match(sentence, start, stop) if kind == "PERSON" else None
                    trimmed = _trim(sentence, title.end() if title else start, stop)
                    if trimmed:
                        spans.append(PiiSpan(*trimmed, kind, min(1.0, score)))
            if spans:
                yield sentence, spans


def _trim(sentence: str, start: int, end: int) -> tuple[int, int] | None:
    """Return the span without marks around it; a full stop or bracket at the end may belong to the name.

    None without a letter that has a capital form: the model learned nothing of scripts that have none.
    """
    while start < end and not sentence[start].isalnum():
        start += 1
    while start < end and not (sentence[end - 1].isalnum() or sentence[end - 1] in ".)'’"):
        end -= 1
    return (start, end) if sentence[start:end].upper() != sentence[start:end].lower() else None
