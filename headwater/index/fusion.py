"""Ranking that depends on the points alone: ties broken by id, and the fusion of two rankings on top.

An engine orders equal scores by where a point happens to lie in its files, and sums float32 in an order that
depends on it too. Two builds of the same content would then rank differently, so both steps are done here, the
same for every engine. Measured with 2,000 points, built at once and built with churn: Qdrant's own fusion gave
another top 10 for 49 of 50 queries, this one for none.

Two fusions: by scores, with a weight (:func:`blend`), and by ranks (:func:`reciprocal_rank_fusion`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

Id = TypeVar("Id", str, int)
"""A chunk id: its text, or the number that it is; both have the same order."""

Ranking: TypeAlias = tuple[list[Id], list[float]]
"""Chunk ids and their scores, best first."""

TIE_TOLERANCE = 2e-6
"""Relative distance up to which neighbouring scores count as equal: above the noise of float32 sums (measured
1e-6 absolute at BM25 scores of about 10), far below any difference that means something."""

TIE_ROWS = 16
"""Rows fetched beyond what is asked for, to see whether the last place is shared."""

_MAX_TIE_ROWS = 4096  # a tie of more points than this is cut where the engine cuts it


def rank(ids: Sequence[Id], scores: Sequence[float]) -> Ranking[Id]:
    """Return ids and scores, best first; scores within the tolerance become one score, and its ids are in order."""
    values = np.asarray(scores, dtype=np.float64)
    order = np.argsort(-values, kind="stable")
    values = values[order]
    placed = [ids[place] for place in order.tolist()]
    starts = _starts(values)
    sizes = np.diff(starts, append=len(values))
    for start, size in zip(starts[sizes > 1].tolist(), sizes[sizes > 1].tolist(), strict=True):
        placed[start : start + size] = sorted(placed[start : start + size])
    return placed, np.repeat(values[starts], sizes).tolist()


def settle(first: Ranking[Id], depth: int, fetch: Callable[[int], Ranking[Id]]) -> Ranking[Id]:
    """Rank the best ``depth`` points, fetching more for as long as the last place is shared with one not fetched.

    ``first`` is what the engine returned for ``depth + TIE_ROWS`` rows; ``fetch(rows)`` asks it for more. Both in the
    engine's own order.
    """
    found, rows = first, depth + TIE_ROWS
    while True:
        ids, scores = rank(*found)
        settled = len(found[0]) < rows or scores[depth - 1] != scores[-1]
        if settled or rows >= depth + _MAX_TIE_ROWS:
            return ids[:depth], scores[:depth]
        rows = depth + 4 * (rows - depth)
        found = fetch(rows)


def fuse(
    dense: Ranking[Id] | None, sparse: Ranking[Id] | None, *, rrf_k: int, dense_weight: float | None
) -> Ranking[Id]:
    """Return the only ranking as it is; two are fused by scores, or by ranks where there is no ``dense_weight``."""
    if dense is None or sparse is None:
        return dense or sparse or ([], [])
    if dense_weight is None:
        return reciprocal_rank_fusion([dense[0], sparse[0]], rrf_k)
    return blend(dense, sparse, dense_weight)


def blend(dense: Ranking[Id], sparse: Ranking[Id], dense_weight: float) -> Ranking[Id]:
    """Return ids and fused scores in 0..1, best first: the weighted mean of both scores, each as a share of its best.

    A convex combination of normalised scores (Bruch et al. 2023), with 0 as the least score of both. What BM25 does
    not rank counts as 0; what the dense retriever does not rank counts as its last one, which it can't exceed.
    """
    shares = _shares(dense)
    floor = min(shares.values(), default=0.0)
    terms = _shares(sparse)
    ids = list(dict.fromkeys(dense[0] + sparse[0]))
    return rank(ids, [dense_weight * shares.get(one, floor) + (1 - dense_weight) * terms.get(one, 0.0) for one in ids])


def _shares(ranking: Ranking[Id]) -> dict[Id, float]:
    ids, scores = ranking
    best = max(scores, default=0.0)
    return {one: max(score, 0.0) / best if best > 0 else 0.0 for one, score in zip(ids, scores, strict=True)}


def places(rankings: Mapping[str, Ranking[Id] | None], ids: Iterable[Id]) -> dict[Id, dict[str, tuple[int, float]]]:
    """Return rank (from 1) and score of each of ``ids``, by retriever."""
    found: dict[Id, dict[str, tuple[int, float]]] = {one: {} for one in ids}
    for name, ranking in rankings.items():
        if ranking is not None:
            for place, (point, score) in enumerate(zip(*ranking, strict=True), 1):
                if point in found:
                    found[point][name] = (place, score)
    return found


def reciprocal_rank_fusion(rankings: Iterable[Sequence[Id]], k: int) -> Ranking[Id]:
    """Return ids and fused scores, best first: the sum of ``1 / (k + rank)``, ranks from 1 (Cormack et al. 2009)."""
    fused: dict[Id, float] = {}
    for ranking in rankings:
        for place, point in enumerate(ranking, 1):
            fused[point] = fused.get(point, 0.0) + 1.0 / (k + place)
    ids = sorted(fused, key=lambda point: (-fused[point], point))
    return ids, [fused[point] for point in ids]


def _starts(values: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Return where the runs of equal neighbours in descending ``values`` begin."""
    gaps = values[:-1] - values[1:] > TIE_TOLERANCE * np.maximum(1.0, np.abs(values[:-1]))
    return np.concatenate([np.zeros(min(1, len(values)), dtype=np.intp), np.flatnonzero(gaps) + 1])
