"""Answers without a language model: quote the sentences that support an answer best, or refuse."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from headwater.answering.candidates import Candidate, candidates
from headwater.answering.support import TextEncoder, coverage, support
from headwater.answering.verifier import verify
from headwater.policies import AnswerPolicy
from headwater.types import Answer, Citation, Passage, Sentence

METHOD = "extractive/1"
"""Recorded with every answer; counts up when the same passages could give another answer."""

MAX_SCORED = 40
"""At most this many sentences are embedded for one question, which bounds the latency."""

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
    found = _shortlist(question, candidates(passages))
    if not found:
        return _refusal(question, release, NO_SUPPORT if passages else NO_PASSAGES)
    if passage_vectors is not None:
        passage_vectors = passage_vectors[: len(passages)]
    scores, vectors = support(question, passages, found, embedder, passage_vectors)
    chosen = _choose(scores, vectors, policy)
    sentences = [_sentence(found[i], passages[found[i].rank], float(scores[i])) for i in chosen]
    sentences = [s for s in sentences if all(verify(s.text, citation.quote) for citation in s.citations)]
    if not sentences:
        return _refusal(question, release, NO_SUPPORT)
    if len({sentence.citations[0].doc for sentence in sentences}) == 1:
        sentences.sort(key=lambda sentence: sentence.citations[0].start)
    return Answer(uuid.uuid4().hex, question, tuple(sentences), False, None, release, METHOD)


def _shortlist(question: str, found: list[Candidate]) -> list[Candidate]:
    """Keep the :data:`MAX_SCORED` sentences with the most words of the question; ties go to the better passage."""
    if len(found) <= MAX_SCORED:
        return found
    held = coverage(question, found)
    best = sorted(range(len(found)), key=lambda i: (-held[i], found[i].rank, i))[:MAX_SCORED]
    return [found[i] for i in sorted(best)]


def _choose(scores: npt.NDArray[np.float32], vectors: npt.NDArray[np.float32], policy: AnswerPolicy) -> list[int]:
    order = np.argsort(-scores, kind="stable")
    least = max(policy.min_support, policy.min_relative_support * float(scores[order[0]]))
    chosen: list[int] = []
    for i in order:
        if len(chosen) == policy.max_sentences or scores[i] < least:
            break
        if all(float(vectors[i] @ vectors[j]) < SAME_COSINE for j in chosen):
            chosen.append(int(i))
    return chosen


def _sentence(candidate: Candidate, passage: Passage, score: float) -> Sentence:
    start, end = passage.start + candidate.start, passage.start + candidate.end
    citation = Citation(
        doc=passage.doc_id,
        start=start,
        end=end,
        quote=passage.text[candidate.start : candidate.end],
        key=passage.key,
        title=passage.title,
        section=passage.section,
        page=passage.page,
        revision=passage.revision,
        chunk_id=passage.chunk_id,
    )
    return Sentence(candidate.text, (citation,), round(score, 4))


def _refusal(question: str, release: int, reason: str) -> Answer:
    return Answer(uuid.uuid4().hex, question, (), True, reason, release, METHOD)
