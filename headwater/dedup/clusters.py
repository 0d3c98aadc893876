"""Who survives among near-duplicates: the same answer in whatever order documents arrived.

Rows are taken best rank first. A row survives unless an earlier *survivor* with the same readers is similar to it;
then it is a duplicate of the most similar one. So every removed row is at least threshold similar to the survivor
that stands for it. (Connected components would also remove rows that resemble their survivor only through others.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl


@dataclass(frozen=True, slots=True)
class Clusters:
    """One entry per row. ``survivor`` is the row that stands for it (itself if it survives), ``similarity`` their
    Jaccard index (1.0 for itself), ``exact`` whether it is removed as an equal text of its survivor.
    """

    survivor: npt.NDArray[np.int64]
    similarity: npt.NDArray[np.float64]
    exact: npt.NDArray[np.bool_]


def exact_representatives(
    text_hashes: Sequence[str], order_rank: npt.NDArray[np.int64], groups: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return for each row the best-ranked row (lowest rank, then lowest index) with equal text and equal group."""
    frame = pl.DataFrame(
        {"text": text_hashes, "group": groups, "rank": order_rank}, schema_overrides={"text": pl.String}
    )
    best = pl.col("row").sort_by("rank", "row").first().over("text", "group")
    return frame.with_row_index("row").select(best.cast(pl.Int64))["row"].to_numpy()


def cluster(
    n: int,
    pairs: npt.NDArray[np.int64],
    similarities: npt.NDArray[np.float64],
    order_rank: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64],
    exact: npt.NDArray[np.int64] | None = None,
) -> Clusters:
    """Return the survivor of each of ``n`` rows.

    ``pairs`` (m, 2) with ``similarities`` (m,) are all pairs at or above the threshold, in any order, once or twice;
    ``order_rank`` (n,) is lowest for the row to keep first, ties going to the lower index; ``groups`` (n,) is equal
    for rows with the same readers, and only those are merged. ``exact`` (n,) comes from
    :func:`exact_representatives`: rows other than their own representative follow it, and need no pairs.
    """
    from headwater.dedup import _kernels

    place = np.empty(n, np.int64)
    place[np.lexsort((np.arange(n), order_rank))] = np.arange(n)
    representative = np.arange(n) if exact is None else exact
    own = representative == np.arange(n)
    left, right = pairs[:, 0], pairs[:, 1]
    usable = (groups[left] == groups[right]) & own[left] & own[right] & (left != right)
    left, right, weights = left[usable], right[usable], similarities[usable]
    swap = place[left] > place[right]
    earlier, later = np.where(swap, right, left), np.where(swap, left, right)
    order = np.lexsort((place[earlier], -weights, place[later]))
    survivor, similarity = np.arange(n), np.ones(n, np.float64)
    _kernels.assign_survivors(earlier[order], later[order], weights[order], survivor, similarity)
    return Clusters(
        survivor=survivor[representative],
        similarity=similarity[representative],
        exact=~own & (survivor[representative] == representative),
    )
