"""Questions by what they mean: which are about the same, what they are about, and whether they have moved on.

In: questions free of personal data, and their vectors (n, d), float32, unit length, from the corpus' embedding model.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headwater.privacy.actions import WRITTEN

Vectors = npt.NDArray[np.float32]

TOPICS = 10
"""Groups that questions are sorted into to compare two periods: as many as PSI customarily has bins."""

_SURE = 2.326
"""Standard normal quantile of 0.99."""

_WORD = re.compile(r"[^\W\d_]{4,}")


@dataclass(frozen=True, slots=True)
class Topic:
    """A group of questions: words that tell it from the others, and its share of the reference and of now."""

    terms: tuple[str, ...]
    before: float
    now: float


@dataclass(frozen=True, slots=True)
class Drift:
    """How far questions have moved between two periods.

    ``psi`` is the population stability index of their topics, ``limit`` the index above which that counts as drift
    (the policy's, or what chance alone gives for so few questions), ``distance`` is 1 - cosine of the two centroids.
    All are None when there were too few questions (``questions`` now, ``reference`` before). ``topics`` stand in the
    order of their change, the largest first.
    """

    questions: int
    reference: int
    psi: float | None = None
    limit: float | None = None
    distance: float | None = None
    topics: tuple[Topic, ...] = ()

    @property
    def drifted(self) -> bool:
        """Whether the questions have drifted; False when that can't be said."""
        return self.psi is not None and self.limit is not None and self.psi > self.limit


def group(vectors: Vectors, same: float) -> list[list[int]]:
    """Return groups of row numbers whose mean cosine is at least ``same``, the largest first, then in order of rows.

    Average-linkage clustering (Sokal and Michener 1958): no row joins a group for being like a single one of it.
    """
    if len(vectors) < 2:
        return [[row] for row in range(len(vectors))]
    from sklearn.cluster import AgglomerativeClustering

    clustering = AgglomerativeClustering(
        n_clusters=None, metric="cosine", linkage="average", distance_threshold=1 - same + 1e-6
    )
    labels = clustering.fit_predict(np.asarray(vectors, dtype=np.float64))
    found: dict[int, list[int]] = {}
    for row, label in enumerate(labels.tolist()):
        found.setdefault(label, []).append(row)
    return sorted(found.values(), key=lambda rows: (-len(rows), rows[0]))


def medoid(vectors: Vectors, rows: Sequence[int]) -> int:
    """Return the row that is most like all of ``rows``; the first of equals."""
    chosen = vectors[list(rows)]
    return rows[int(np.argmax(chosen @ chosen.sum(axis=0)))]


def terms(questions: Sequence[str], others: Sequence[str], count: int = 4) -> tuple[str, ...]:
    """Return the words of ``questions`` that ``others`` have least: TF-IDF over whole questions (Spärck Jones 1972).

    Single words of four letters and more, so that nothing can be read from them but the subject.
    """
    inside = Counter(word for question in questions for word in _words(question))
    outside = Counter(word for question in others for word in _words(question))
    total = len(questions) + len(others)
    score = {word: n * math.log((1 + total) / (1 + n + outside[word])) for word, n in inside.items()}
    return tuple(sorted(score, key=lambda word: (-score[word], -inside[word], word))[:count])


def _words(question: str) -> set[str]:
    return {word.casefold() for word in _WORD.findall(WRITTEN.sub(" ", question))}


def psi(expected: Sequence[int], actual: Sequence[int]) -> float:
    """Return the population stability index of two histograms over the same bins: sum of (a - e) ln(a / e) over shares.

    An empty bin counts as half a row, so that the index stays finite. Siddiqi (2006, *Credit Risk Scorecards*): below
    0.1 no change, above 0.25 a shift.
    """
    e = np.maximum(np.asarray(expected, dtype=np.float64), 0.5)
    a = np.maximum(np.asarray(actual, dtype=np.float64), 0.5)
    e, a = e / e.sum(), a / a.sum()
    return float(np.sum((a - e) * np.log(a / e)))


def psi_by_chance(bins: int, n: int, m: int) -> float:
    """Return what the index of two samples of ``n`` and ``m`` rows of one population exceeds in one case of a hundred.

    (1/n + 1/m) times the quantile of chi-square with bins - 1 degrees of freedom (Yurdakul 2018, *Statistical
    Properties of Population Stability Index*); the quantile is Wilson and Hilferty's (1931).
    """
    k = max(bins - 1, 1)
    quantile = k * (1 - 2 / (9 * k) + _SURE * math.sqrt(2 / (9 * k))) ** 3
    return (1 / n + 1 / m) * quantile


def drift(
    before: Vectors,
    now: Vectors,
    questions_before: Sequence[str],
    questions_now: Sequence[str],
    *,
    max_drift: float,
    min_questions: int,
) -> Drift:
    """Compare the questions of now with those of before; deterministic.

    The reference is sorted into at most :data:`TOPICS` topics (k-means), the questions of now go to the nearest one, and
    the two histograms are compared. Fewer than ``min_questions`` on either side say nothing.
    """
    if min(len(before), len(now)) < max(min_questions, 2):
        return Drift(len(now), len(before))
    from sklearn.cluster import KMeans

    distinct = len(np.unique(before, axis=0))
    model = KMeans(n_clusters=min(TOPICS, distinct), n_init=4, random_state=0).fit(before)
    labels, nearest = model.predict(before).tolist(), model.predict(now).tolist()
    bins = range(model.n_clusters)
    expected, actual = Counter(labels), Counter(nearest)
    everything = [*zip(labels, questions_before, strict=True), *zip(nearest, questions_now, strict=True)]
    topics = [
        Topic(
            terms([q for label, q in everything if label == bin], [q for label, q in everything if label != bin]),
            expected[bin] / len(labels),
            actual[bin] / len(nearest),
        )
        for bin in bins
    ]
    return Drift(
        questions=len(now),
        reference=len(before),
        psi=psi([expected[bin] for bin in bins], [actual[bin] for bin in bins]),
        limit=max(max_drift, psi_by_chance(len(bins), len(before), len(now))),
        distance=1 - _cosine(before.mean(axis=0), now.mean(axis=0)),
        topics=tuple(sorted(topics, key=lambda topic: (-abs(topic.now - topic.before), topic.terms))),
    )


def _cosine(a: Vectors, b: Vectors) -> float:
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm else 1.0
