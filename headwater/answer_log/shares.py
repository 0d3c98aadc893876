"""Shares of answers, with what chance leaves open: the interval of one, and of the difference of two.

Whole conversations are given to a version of a prompt, and what is said in one of them is alike. So a share is as
certain as that of so many independent answers as vary as much: the design effect (Kish 1965, *Survey Sampling*).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Verdict = Literal["higher", "lower", "no difference shown", "too few"]

FEWEST = 30
"""Independent answers on each side below which nothing is said: the interval of a half would reach over a third."""

_SURE = 1.959964
"""Standard normal quantile of 0.975, for intervals of 95 %."""


@dataclass(frozen=True, slots=True)
class Share:
    """``count`` of ``of``, as a share of 0..1 with its 95 % interval: None of nothing.

    ``independent`` is how many independent ones it is as certain as, ``of`` at most.
    """

    count: int
    of: int
    independent: float
    share: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Difference:
    """A share on two sides, how much more it is on the side ``b``, with the 95 % interval, and what that shows of ``b``.

    The difference is None when one of the shares is.
    """

    a: Share
    b: Share
    difference: float | None
    low: float | None
    high: float | None
    verdict: Verdict


def share_of(counts: Sequence[int], totals: Sequence[int]) -> Share:
    """Return the share of ``counts`` in ``totals``: one number each per conversation, the first not above the second.

    The interval is Wilson's (1927), which holds for shares near 0 and 1, too.
    """
    hits, sizes = np.asarray(counts, dtype=np.float64), np.asarray(totals, dtype=np.float64)
    hits, sizes = hits[sizes > 0], sizes[sizes > 0]
    count, of = int(hits.sum()), int(sizes.sum())
    if not of:
        return Share(0, 0, 0.0, None, None, None)
    share = count / of
    independent = _independent(hits, sizes, share)
    low, high = _wilson(share, independent)
    return Share(count, of, independent, share, low, high)


def difference_of(a: Share, b: Share) -> Difference:
    """Return how much more ``b`` is than ``a``. The interval is Newcombe's (1998, *Statistics in Medicine*, method 10)."""
    if a.share is None or b.share is None or a.low is None or a.high is None or b.low is None or b.high is None:
        return Difference(a, b, None, None, None, "too few")
    found = b.share - a.share
    low = found - math.hypot(b.share - b.low, a.high - a.share)
    high = found + math.hypot(b.high - b.share, a.share - a.low)
    verdict: Verdict = "no difference shown"
    if min(a.independent, b.independent) < FEWEST:
        verdict = "too few"
    elif low > 0:
        verdict = "higher"
    elif high < 0:
        verdict = "lower"
    return Difference(a, b, found, low, high, verdict)


def _independent(hits: np.ndarray, sizes: np.ndarray, share: float) -> float:
    """Return how many independent answers vary as much as these do from conversation to conversation."""
    groups, of = len(sizes), float(sizes.sum())
    if groups < 2 or share in (0.0, 1.0):  # nothing varies, so no more is known than that conversations do not
        return float(groups)
    between = groups / (groups - 1) * float(((hits - share * sizes) ** 2).sum()) / of**2
    return max(1.0, of / max(1.0, between / (share * (1 - share) / (of - 1))))


def _wilson(share: float, n: float) -> tuple[float, float]:
    z = _SURE**2 / n
    middle = (share + z / 2) / (1 + z)
    half = math.sqrt(z * share * (1 - share) + z * z / 4) / (1 + z)
    return max(0.0, middle - half), min(1.0, middle + half)
