"""What differs between two sides that answered the same questions, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headwater.answer_evaluation.measures import METRICS, Outcome
from headwater.answer_evaluation.statistics import FEWEST_PAIRS, bootstrap_interval, mcnemar_exact

SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure over the ``pairs`` questions that have it on both sides: means of a and b, and b - a.

    ``low`` and ``high`` bound the mean difference (95 %, paired bootstrap); None with fewer than six pairs.
    ``shown``: the interval leaves out 0.
    """

    metric: str
    pairs: int
    a: float
    b: float
    difference: float
    low: float | None
    high: float | None
    shown: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sides, question by question.

    ``both_right``, ``only_a``, ``only_b`` and ``neither`` count questions; ``p`` is McNemar's exact test of them.
    ``verdict`` says in words what that shows; it goes by right and wrong alone, so that looking at a dozen figures
    doesn't find a difference by chance.
    """

    questions: int
    both_right: int
    only_a: int
    only_b: int
    neither: int
    p: float
    differences: tuple[Difference, ...]
    verdict: str
    changed: tuple[str, ...]


def compare(a: Sequence[Outcome], b: Sequence[Outcome]) -> Comparison:
    """Return what differs between two sides' outcomes of the same questions, in any order.

    ``changed`` are the ids of the questions that one side alone got right. Raises ValueError for sides that answered
    different questions, or a question twice.
    """
    ours, theirs = {one.question: one for one in a}, {one.question: one for one in b}
    if ours.keys() != theirs.keys() or not len(ours) == len(a) == len(b):
        raise ValueError("both sides have to have answered the same questions, each once")
    pairs = [(one, theirs[name]) for name, one in ours.items()]
    rights = [(one.right, other.right) for one, other in pairs]
    only_a, only_b = rights.count((True, False)), rights.count((False, True))
    both, p = rights.count((True, True)), mcnemar_exact(only_a, only_b)
    return Comparison(
        questions=len(pairs),
        both_right=both,
        only_a=only_a,
        only_b=only_b,
        neither=rights.count((False, False)),
        p=p,
        differences=tuple(found for name in METRICS if (found := _difference(name, pairs)) is not None),
        verdict=_verdict(len(pairs), both, only_a, only_b, p),
        changed=tuple(one.question for one, other in pairs if one.right != other.right),
    )


def _difference(metric: str, pairs: Sequence[tuple[Outcome, Outcome]]) -> Difference | None:
    values = [
        (x, y)
        for one, other in pairs
        if (x := one.figures[metric]) is not None and (y := other.figures[metric]) is not None
    ]
    if not values:
        return None
    changes = [y - x for x, y in values]
    low, high = bootstrap_interval(changes) if len(values) >= FEWEST_PAIRS else (None, None)
    return Difference(
        metric=metric,
        pairs=len(values),
        a=sum(x for x, _ in values) / len(values),
        b=sum(y for _, y in values) / len(values),
        difference=sum(changes) / len(values),
        low=low,
        high=high,
        shown=low is not None and high is not None and (low > 0 or high < 0),
    )


def _verdict(questions: int, both: int, only_a: int, only_b: int, p: float) -> str:
    counts = f"a is right on {both + only_a} and b on {both + only_b} of {questions} questions (p = {p:.2g})"
    if p < SIGNIFICANT:
        return f"{'b' if only_b > only_a else 'a'} is better: {counts}."
    few = "" if questions >= FEWEST_PAIRS else f" With fewer than {FEWEST_PAIRS} questions none can be."
    return f"No difference shown: {counts}.{few}"
