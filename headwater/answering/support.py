"""How well a sentence supports an answer to a question: one number in 0..1.

support = (cosine of question and sentence + cosine of question and passage + 0.3 coverage) / 2.3
          (the passage's cosine counts as no less than 0.7 of the sentence's)
          + 0.02 if the sentence holds the kind of thing asked for, - 0.02 if it doesn't
          + 0.02 for the first passage, falling to 0 for the last

Coverage is the share of the question's content words found in the sentence, by stem, weighted by how rare each is
among the passages at hand; names and numbers count double, and words that no passage holds count fully.
The weights were chosen on the odd rows of ClapNQ's development set (Rosenthal et al. 2024); see
``benchmarks/answers.py`` for the figures on the even rows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from headwater.answering.candidates import Candidate
from headwater.types import Passage

COVERAGE_WEIGHT = 0.3
KIND_BONUS = 0.02
RANK_BONUS = 0.02
PASSAGE_FLOOR = 0.7
"""The passage counts as at least this share of its sentence's cosine: a long one on many things is not held against
the sentence in it that answers. On ClapNQ it changes nothing."""

NAME_WEIGHT = 2.0
"""Names and numbers say which thing is asked about; a sentence about another year or person is no answer."""

_WORD = re.compile(r"\w+(?:['’]\w+)?")
_NUMBER = re.compile(
    r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozen|hundred|thousand|million|billion"
    r"|half|daily|weekly|monthly|annual(?:ly)?|yearly|century|january|february|march|april|may|june|july|august"
    r"|september|october|november|december|monday|tuesday|wednesday|thursday|friday|saturday|sunday)\b",
    re.IGNORECASE,
)
_ASKS_NUMBER = re.compile(
    r"\b(?:when|how (?:many|much|long|old|far|tall|big|large|often|soon)|wh(?:at|ich) (?:year|date|time|day|month|percentage|share))\b",
    re.IGNORECASE,
)
_ASKS_NAME = re.compile(r"\b(?:who|whose|whom)\b", re.IGNORECASE)
_INNER_NAME = re.compile(r"(?<=[\w,;)] )[A-Z]\w+")


class TextEncoder(Protocol):
    """The part of an embedder that answering needs; vectors have unit length."""

    def encode_queries(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return one row per question."""
        ...

    def encode_documents(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return one row per text."""
        ...


def coverage(question: str, candidates: Sequence[Candidate]) -> npt.NDArray[np.float32]:
    """Return, for each candidate, the weighted share in 0..1 of the question's content words that it holds."""
    from headwater.embedding import Bm25Encoder

    # The index's own lower-casing, stop words and stemmer; only which terms occur counts here.
    encoder = Bm25Encoder()
    names = set(_INNER_NAME.findall(question))
    weights: dict[int, float] = {}
    words = _WORD.findall(question)
    for word, vector in zip(words, encoder.encode_documents(words), strict=True):
        named = word in names or any(character.isdigit() for character in word)
        for term in vector.indices.tolist():
            weights[term] = max(weights.get(term, 0.0), NAME_WEIGHT if named else 1.0)
    if not weights or not candidates:
        return np.zeros(len(candidates), dtype=np.float32)
    terms = np.array(list(weights), dtype=np.uint32)
    texts = encoder.encode_documents([candidate.scored for candidate in candidates])
    held = np.array([np.isin(terms, vector.indices) for vector in texts], dtype=np.float32)
    count, frequency = len(candidates), held.sum(axis=0)
    rarity = np.log1p((count - frequency + 0.5) / (frequency + 0.5)) / np.log(2.0 * count + 2.0)
    weight = np.array(list(weights.values())) * (1.0 + rarity)
    shares: npt.NDArray[np.float32] = (held @ weight / weight.sum()).astype(np.float32)
    return shares


def support(
    question: str,
    passages: Sequence[Passage],
    candidates: Sequence[Candidate],
    encoder: TextEncoder,
    passage_vectors: npt.NDArray[np.float32] | None = None,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the support of each candidate in 0..1, and the candidates' vectors (n, d).

    ``passage_vectors`` are the passages' own vectors (one row each) where they are at hand; else they are computed.
    """
    asked = encoder.encode_queries([question])[0]
    texts = [candidate.scored for candidate in candidates]
    if passage_vectors is None:
        texts += [f"{passage.title}\n{passage.text}" for passage in passages]
    vectors = encoder.encode_documents(texts)
    sentences = vectors[: len(candidates)]
    whole = vectors[len(candidates) :] if passage_vectors is None else passage_vectors
    ranks = np.array([candidate.rank for candidate in candidates])
    cosine = np.clip(sentences @ asked, 0.0, 1.0)
    passage_cosine = np.maximum(np.clip(whole @ asked, 0.0, 1.0)[ranks], PASSAGE_FLOOR * cosine)
    kind = np.array([_kind(question, candidate.text) for candidate in candidates])
    position = 1.0 - ranks / max(1, len(passages) - 1)
    base = (cosine + passage_cosine + COVERAGE_WEIGHT * coverage(question, candidates)) / (2.0 + COVERAGE_WEIGHT)
    total = np.clip(base + KIND_BONUS * kind + RANK_BONUS * position, 0.0, 1.0)
    return total.astype(np.float32), sentences


def _kind(question: str, sentence: str) -> float:
    """+1 when the sentence holds a number or date, or a name, and that is asked for; -1 when it lacks it; else 0."""
    if _ASKS_NUMBER.search(question):
        return 1.0 if _NUMBER.search(sentence) else -1.0
    if _ASKS_NAME.search(question):
        asked = {word.casefold() for word in _WORD.findall(question)}
        return 1.0 if any(name.casefold() not in asked for name in _INNER_NAME.findall(sentence)) else -1.0
    return 0.0
