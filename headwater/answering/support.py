"""How well a sentence supports an answer to a question: the probability that a person would answer from it, in 0..1.

A logistic regression over six features of a sentence (:data:`WEIGHTS`), fitted by ``benchmarks/answers_fit.py`` on two
kinds of text: ClapNQ (Rosenthal et al. 2024), where a long passage is on the subject and one of its sentences answers, and
English XQuAD (Artetxe et al. 2020), where short passages are on many subjects. Half of the questions of each are held out;
``benchmarks/answers.py`` measures them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from headwater.answering.candidates import Candidate
from headwater.answering.kinds import fits_kind
from headwater.answering.verification.tokens import tokenize
from headwater.types import Passage

BIAS = -7.2
WEIGHTS = np.array([3.2, 6.1, 13.8, 0.5, 2.6, 3.7])
"""Of: cosine of question and sentence; cosine of question and passage; how far that is below the best passage's (at most
0); whether it holds the kind of thing asked for (1, 0 or -1); the share of the question's words beyond the document's
title that it holds; the :func:`coverage` of all of them."""

MAX_SCORED = 40
"""At most this many sentences are embedded for one question, which bounds the latency."""

NAME_WEIGHT = 2.0
"""Names and numbers say which thing is asked about; a sentence about another year or person is no answer."""

_WORD = re.compile(r"\w+(?:['’]\w+)?")
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


@dataclass(frozen=True, slots=True)
class Scored:
    """The candidates that were scored, their support in 0..1 and their vectors (n, d), in the order of the candidates."""

    candidates: list[Candidate]
    support: npt.NDArray[np.float32]
    vectors: npt.NDArray[np.float32]


def support(
    question: str,
    passages: Sequence[Passage],
    candidates: Sequence[Candidate],
    encoder: TextEncoder,
    passage_vectors: npt.NDArray[np.float32] | None = None,
) -> Scored:
    """Score the :data:`MAX_SCORED` candidates that are ahead by all features but their own cosine.

    ``passage_vectors`` are the passages' own vectors (one row each) where they are at hand; else they are computed.
    """
    asked = encoder.encode_queries([question])[0]
    if passage_vectors is None:
        passage_vectors = encoder.encode_documents([f"{passage.title}\n{passage.text}" for passage in passages])
    features = sentence_features(question, passages, candidates, passage_vectors @ asked)
    known = features @ WEIGHTS[1:] + BIAS
    kept = sorted(np.argsort(-known, kind="stable")[:MAX_SCORED].tolist())
    vectors = encoder.encode_documents([candidates[i].scored for i in kept])
    total = 1.0 / (1.0 + np.exp(-(known[kept] + WEIGHTS[0] * (vectors @ asked))))
    return Scored([candidates[i] for i in kept], total.astype(np.float32), vectors)


def sentence_features(
    question: str,
    passages: Sequence[Passage],
    candidates: Sequence[Candidate],
    cosines: npt.NDArray[np.float32],
) -> npt.NDArray[np.float64]:
    """Return all features but the first one, shape (candidates, 5); ``cosines`` are those of question and passages."""
    nearness = cosines.astype(np.float64)
    ranks = np.array([candidate.rank for candidate in candidates])
    covered = coverage(question, candidates)
    return np.column_stack(
        [
            nearness[ranks],
            (nearness - nearness.max())[ranks],
            [fits_kind(question, candidate.text) for candidate in candidates],
            _news(question, passages, candidates, covered),
            covered,
        ]
    )


def _news(
    question: str, passages: Sequence[Passage], candidates: Sequence[Candidate], covered: npt.NDArray[np.float32]
) -> list[float]:
    """Return the share of the question's words beyond its document's title that each candidate holds.

    Every sentence of a document is about its title; what is asked about it tells them apart. Where the title says all
    that the question says, it is the :func:`coverage`.
    """
    asked = _content_keys(question, None)
    beyond = [asked - _content_keys(passage.title, passage.language) for passage in passages]
    shares = []
    for candidate, share in zip(candidates, covered, strict=True):
        left = beyond[candidate.rank]
        held = left & _content_keys(candidate.text, passages[candidate.rank].language) if left else left
        shares.append(len(held) / len(left) if left else float(share))
    return shares


def _content_keys(text: str, language: str | None) -> set[str]:
    return {token.key for token in tokenize(text, language) if token.is_content}
