"""Results that are unlike one another: maximal marginal relevance (Carbonell and Goldstein 1998)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from headwater.index.contract import Hit


def diversify(hits: Sequence[Hit], vectors: Mapping[str, npt.NDArray[np.float32]], share: float) -> list[Hit]:
    """Return ``hits`` in the order of ``(1 - share) * relevance - share * similarity``, ties by id.

    Relevance is the score as a part of the best one; similarity the highest cosine with a result above. ``vectors`` has
    the unit vector of every hit.
    """
    if not hits:
        return []
    scores = np.array([hit.score for hit in hits], dtype=np.float64)
    low, high = float(scores.min()), float(scores.max())
    # A cross-encoder's scores may be negative: they are put on the same scale first.
    relevance = scores / high if low >= 0 and high > 0 else (scores - low) / (high - low) if high > low else scores * 0
    matrix = np.stack([vectors[hit.chunk_id] for hit in hits]).astype(np.float64)
    nearest = np.full(len(hits), -1.0)
    left, order = set(range(len(hits))), list[int]()
    while left:
        similarity = nearest if order else np.zeros(len(hits))
        values = (1 - share) * relevance - share * similarity
        chosen = min(left, key=lambda place: (-round(float(values[place]), 6), hits[place].chunk_id))
        left.remove(chosen)
        order.append(chosen)
        nearest = np.maximum(nearest, matrix @ matrix[chosen])
    return [hits[place] for place in order]
