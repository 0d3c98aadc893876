"""Statistics of paired comparisons: the same questions, answered twice."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

RESAMPLES = 10_000
SEED = 20240501
"""The same figures give the same interval, today and in a year."""

LEVEL = 0.95
FEWEST_PAIRS = 6
"""With fewer pairs no exact test of signs reaches 5 %: 2 x 0.5^5 is 6 %, 2 x 0.5^6 is 3 %."""

_ROWS = 500  # resamples drawn at a time, to bound the memory


def bootstrap_interval(values: Sequence[float], *, resamples: int = RESAMPLES, seed: int = SEED) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the mean of ``values`` (Efron and Tibshirani 1993, ch. 13).

    For paired data, ``values`` are the differences of the pairs. Raises ValueError without any.
    """
    data = np.asarray(values, dtype=np.float64)
    if not data.size:
        raise ValueError("an interval needs at least one value")
    rng = np.random.default_rng(seed)
    means = np.concatenate(
        [
            data[rng.integers(0, data.size, size=(min(_ROWS, resamples - start), data.size))].mean(axis=1)
            for start in range(0, resamples, _ROWS)
        ]
    )
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Return the two-sided p-value of McNemar's exact test: the binomial test of the pairs that differ (1947; Fay 2010).

    ``only_a`` and ``only_b`` count the questions that one side alone got right. 1 when there are none.
    """
    changed = only_a + only_b
    tail = sum(math.comb(changed, count) for count in range(min(only_a, only_b) + 1))
    # Whole numbers up to here, so that thousands of questions neither overflow nor round.
    return min(1.0, 2 * tail / 2**changed) if changed else 1.0
