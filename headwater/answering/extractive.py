"""Answers without a language model: quote the sentences that support an answer best, or refuse."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from headwater.answering.candidates import Candidate, candidates
from headwater.answering.support import TextEncoder, support
from headwater.answering.verification.citations import cite
from headwater.answering.verifier import verify
from headwater.policies import AnswerPolicy
from headwater.types import Alignment, Answer, Passage, Sentence

METHOD = "extractive/3"
"""Recorded with every answer; counts up when the same passages could give another answer."""

SAME_COSINE = 0.92
"""Two sentences at least this similar say the same; the second one is not quoted."""

NO_PASSAGES = "No document in this corpus that you may read matches the question."
NO_SUPPORT = "The documents that you may read do not seem to answer this question."


def answer_extractive(
    question: str,
    passages: Sequence[Passage],
    *,
    embedder: TextEncoder,
    policy: AnswerPolicy,
    release: int,
    passage_vectors: npt.NDArray[np.float32] | None = None,
) -> Answer:
    """Return up to ``policy.max_sentences`` verbatim sentences of ``passages`` (best first), each with its citation.

    Refuses, with a reason for people, when there are no passages or no sentence reaches ``policy.min_support``.
    Sentences stand best first, and in reading order when all are from one document. ``citation.start`` and
    ``citation.end`` are offsets into the document's cleaned text. ``passage_vectors`` (n, d) are the vectors that
    the index holds of ``passages``; without them the passages are embedded again, which takes most of the time.
    """
    passages = passages[: policy.passages]
    found = candidates(passages)
    if not found:
        return _refusal(question, release, NO_SUPPORT if passages else NO_PASSAGES)
    if passage_vectors is not None:
        passage_vectors = passage_vectors[: len(passages)]
    scored = support(question, passages, found, embedder, passage_vectors)
    sentences = [
        _sentence(scored.candidates[i], passages[scored.candidates[i].rank], float(scored.support[i]))
        for i in _choose(scored.support, scored.vectors, policy)
    ]
    sentences = [s for s in sentences if all(verify(s.text, citation.quote) for citation in s.citations)]
    if not sentences:
        return _refusal(question, release, NO_SUPPORT)
    if len({sentence.citations[0].doc for sentence in sentences}) == 1:
        sentences.sort(key=lambda sentence: sentence.citations[0].start)
    return Answer(uuid.uuid4().hex, question, tuple(sentences), False, None, release, METHOD)


def _choose(scores: npt.NDArray[np.float32], vectors: npt.NDArray[np.float32], policy: AnswerPolicy) -> list[int]:
    order = np.argsort(-scores, kind="stable")
    chosen: list[int] = []
    for i in order:
        least = max(policy.min_support, policy.further_support) if chosen else policy.min_support
        if len(chosen) == policy.max_sentences or scores[i] < least:
            break
        if all(float(vectors[i] @ vectors[j]) < SAME_COSINE for j in chosen):
            chosen.append(int(i))
    return chosen


def _sentence(candidate: Candidate, passage: Passage, score: float) -> Sentence:
    citation = cite(passage, candidate.start, candidate.end)
    whole = Alignment(0, len(candidate.text), 0, citation.start, citation.end)
    return Sentence(candidate.text, (citation,), round(score, 4), alignments=(whole,))


def _refusal(question: str, release: int, reason: str) -> Answer:
    return Answer(uuid.uuid4().hex, question, (), True, reason, release, METHOD)
