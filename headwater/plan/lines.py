"""What a stage takes, as a line over the units of its work, and how such a line is learnt from runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

_FEW = 0.25
"""A run with less than this share of the rows of the largest one says what a stage takes to start."""


@dataclass(frozen=True, slots=True)
class Line:
    """What a stage takes: ``idle`` in every run; ``start`` more when it has anything to compute, and ``each`` per unit; or
    ``touch`` more when rows only leave its table or are written again.

    A unit is a row that a text is read for; of ``embeddings``, a token; of ``retrieval_evaluation``, a point of the index
    that is new and so is looked through for personal data.
    """

    idle: float = 0.0
    start: float = 0.0
    each: float = 0.0
    touch: float = 0.0

    def of(self, units: float, *, touched: bool = False) -> float:
        """Return what ``units`` take; where there are none, what it takes that the table is ``touched``."""
        if units > 0:
            return self.idle + self.start + self.each * units
        return self.idle + (self.touch if touched else 0.0)


def fit(runs: Iterable[tuple[float, float, bool]], shipped: Line) -> Line:
    """Return the line through runs (units, measured, touched), ``shipped`` where they don't tell.

    The slope is that of all runs together, so large ones weigh more. Of what takes a second or two, ``shipped`` counts as
    one more run: what else the machine did then is as large.
    """
    pairs = list(runs)
    idle = median([value for units, value, touched in pairs if not units and not touched] or [shipped.idle])
    touches = [max(value - idle, 0.0) for units, value, touched in pairs if not units and touched]
    touch = median([*touches, shipped.touch])
    start, each = _start_and_each([(units, max(value - idle, 0.0)) for units, value, _ in pairs if units], shipped)
    return Line(idle, start, each, touch)


def _start_and_each(worked: list[tuple[float, float]], shipped: Line) -> tuple[float, float]:
    if not worked:
        return shipped.start, shipped.each
    most = max(amount for amount, _ in worked)
    small = [(amount, value) for amount, value in worked if amount < _FEW * most]
    large = [(amount, value) for amount, value in worked if amount >= _FEW * most]
    amount, value = _mean(large)
    if shipped.each * amount < shipped.start:
        # All of them took their time to start; how long a row takes would be guessed from what is left.
        amount, value = _mean(worked)
        return max(value - shipped.each * amount, 0.0), shipped.each
    if small:
        # Two unknowns: start from the small runs, slope from the large ones, by the line through both means.
        few, took = _mean(small)
        each = max((value - took) / (amount - few), 0.0)
        return max(took - each * few, 0.0), each
    # Of what one kind of run took, the start can't be told apart: half of it at most is believed to be one.
    start = min(shipped.start, value / 2)
    return start, (value - start) / amount


def _mean(runs: list[tuple[float, float]]) -> tuple[float, float]:
    return sum(amount for amount, _ in runs) / len(runs), sum(value for _, value in runs) / len(runs)
