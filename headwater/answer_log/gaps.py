"""What people ask and the corpus can't answer, and whether they ask about something else than they used to.

Both embed the questions that the ledger holds, so they need the corpus' model and a live release. What they give to
Dagster has no question in it: that keeps what it is shown for ever, and retention and erasures do not reach it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from headwater.answer_log.questions import Drift, Vectors, drift, group, medoid, terms
from headwater.answer_log.scrubbing import is_withheld

if TYPE_CHECKING:
    from headwater.corpus import Corpus

MOST_QUESTIONS = 2000
"""Questions that are embedded per period, evenly chosen: bounds a run to seconds on a CPU."""

_NEAREST = 5
"""Passages of which the nearest one is taken."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Questions about the same that got no good answer.

    ``question`` is the one most like all of them (free of personal data), ``answer_id`` the record of it, ``terms`` are
    what it is about. Of ``asked`` times ``refused`` were refusals; ``best_support`` is the best that an answer had, None
    when all were refused. ``nearest`` is the key of the document that comes nearest in the live release now (whoever
    may read it, unless readers were named), and ``similarity`` the cosine of its passage with the question: None without
    a live release.
    """

    question: str
    answer_id: str
    terms: tuple[str, ...]
    asked: int
    refused: int
    best_support: float | None
    last_asked: datetime
    nearest: str | None
    similarity: float | None


@dataclass(frozen=True, slots=True)
class _Asked:
    """One question as it stands alone, and what became of it; no more is held of the many that a period has."""

    answer_id: str
    text: str
    at: datetime
    refused: bool
    support: float | None

    def is_weak(self, least: float) -> bool:
        return self.refused or self.support is None or self.support < least


def find_gaps(
    corpus: Corpus,
    now: datetime | None = None,
    *,
    days: int | None = None,
    limit: int = 50,
    readers: frozenset[str] | None = None,
) -> list[Gap]:
    """Return the at most ``limit`` largest groups of questions of the last ``days`` without a good passage.

    Default: the monitor's window.

    That is a refusal, or an answer whose best sentence has less support than ``monitor.weak_support``. ``nearest``
    is of the documents that the groups ``readers`` may read; None: of all. Raises ReleaseError and its like when the live
    release can't be searched.
    """
    policy = corpus.policy.monitor
    end = now or datetime.now(UTC)
    asked = _asked(corpus, end - timedelta(days=days or policy.window_days), end)
    weak = _sample([one for one in asked if one.is_weak(policy.weak_support)])
    if not weak:
        return []
    release = corpus.live()
    vectors = _embedded(corpus, [one.text for one in weak])
    compared = _sample(asked)
    gaps = []
    for rows in group(vectors, policy.same_question)[:limit]:
        typical = medoid(vectors, rows)
        question = weak[typical]
        members = [weak[row] for row in rows]
        names = {member.answer_id for member in members}
        others = [one.text for one in compared if one.answer_id not in names]
        nearest = _nearest(corpus, question.text, vectors[typical], release, readers) if release is not None else None
        gaps.append(
            Gap(
                question=question.text,
                answer_id=question.answer_id,
                terms=terms([member.text for member in members], others),
                asked=len(members),
                refused=sum(member.refused for member in members),
                best_support=max((member.support for member in members if member.support is not None), default=None),
                last_asked=max(member.at for member in members),
                nearest=nearest[0] if nearest else None,
                similarity=nearest[1] if nearest else None,
            )
        )
    return gaps


def question_drift(corpus: Corpus, now: datetime | None = None) -> Drift:
    """Compare the questions of the monitor's window with those of the reference period before it."""
    policy = corpus.policy.monitor
    end = now or datetime.now(UTC)
    middle = end - timedelta(days=policy.window_days)
    periods = ((middle - timedelta(days=policy.reference_days), middle), (middle, end))
    before, recent = ([one.text for one in _sample(_asked(corpus, *period))] for period in periods)
    few = min(len(before), len(recent)) < policy.min_questions
    if few:  # no model is loaded to say so
        return Drift(len(recent), len(before))
    return drift(
        _embedded(corpus, before),
        _embedded(corpus, recent),
        before,
        recent,
        max_drift=policy.max_drift,
        min_questions=policy.min_questions,
    )


def _asked(corpus: Corpus, start: datetime, end: datetime) -> list[_Asked]:
    """Return what was asked in a period, oldest first, without what could not be stored."""
    found = []
    for record in corpus.ledger.each_answer(corpus.name, start):
        text = record.searched or record.question
        if record.asked_at < end and text.strip() and not is_withheld(text):
            support = max((float(sentence["support"]) for sentence in record.sentences), default=None)
            found.append(_Asked(record.id, text, record.asked_at, record.refused, support))
    return found


def _sample(asked: Sequence[_Asked]) -> list[_Asked]:
    return list(asked[:: -(-len(asked) // MOST_QUESTIONS) or 1])


def _embedded(corpus: Corpus, questions: Sequence[str]) -> Vectors:
    """Return the questions' vectors; the same question is embedded once."""
    distinct = list(dict.fromkeys(questions))
    release = corpus.live()
    model = corpus.embedder if release is None else corpus.embedder_of(release)
    rows = dict(zip(distinct, np.asarray(model.encode_queries(distinct), dtype=np.float32), strict=True))
    return np.stack([rows[question] for question in questions])


def _nearest(
    corpus: Corpus, question: str, vector: Vectors, release: int, readers: frozenset[str] | None
) -> tuple[str, float] | None:
    passages = corpus.search_as(readers, question, _NEAREST, release=release, dense=vector)
    with corpus.searcher(release) as searcher:
        hits = searcher.retrieve([passage.chunk_id for passage in passages], with_vectors=True)
    found = [(float(np.asarray(hit.payload["vector"]) @ vector), str(hit.payload["key"])) for hit in hits]
    if not found:
        return None
    similarity, key = max(found, key=lambda pair: (pair[0], pair[1]))
    return key, round(similarity, 4)
