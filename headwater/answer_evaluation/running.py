"""Asking a golden set of one side, or of two in turns."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.answer_evaluation.comparison import Comparison, compare
from headwater.answer_evaluation.measures import METRICS, Outcome, outcome_of
from headwater.answer_evaluation.sides import OpenSide, Side, open_side
from headwater.answering.events import Finished
from headwater.errors import ConfigError
from headwater.reports import NoProgress, Progress
from headwater.stages.evaluation import GoldenQuestion, answerable_questions, read_golden
from headwater.types import Answer, Principal

if TYPE_CHECKING:
    from headwater.corpus import Corpus

STAGE = "answers"


@dataclass(frozen=True, slots=True)
class SideResult:
    """One side's answers: ``release``, ``methods``, ``prompts`` and ``models`` are what really answered."""

    release: int
    methods: tuple[str, ...]
    prompts: tuple[str, ...]
    models: tuple[str, ...]
    fallbacks: int
    figures: Mapping[str, float | None]
    outcomes: tuple[Outcome, ...]


def measure(corpus: Corpus, side: Side, progress: Progress | None = None) -> SideResult:
    """Return how one side answers the corpus' golden set. Raises ConfigError for a corpus without one."""
    golden = _golden(corpus)
    with open_side(corpus, side) as opened:
        (result,) = _ask_all([opened], golden, progress or NoProgress())
    return result


def evaluate_answers(
    corpus: Corpus, a: Side, b: Side, progress: Progress | None = None
) -> tuple[SideResult, SideResult, Comparison]:
    """Return how both sides answer the corpus' golden set, and what differs.

    Each question is asked of both before the next one is, of ``a`` first and of ``b`` first in turns, so that neither
    gains by what the machine remembers or by what else it does. No answer is recorded. Raises ConfigError for a corpus
    without golden set, and for sides that are the same.
    """
    golden = _golden(corpus)
    with ExitStack() as stack:
        sides = [stack.enter_context(open_side(corpus, side)) for side in (a, b)]
        if sides[0].same_as(sides[1]):
            raise ConfigError("The two sides are the same. Say what differs, such as: --b prompt=answer@2")
        first, second = _ask_all(sides, golden, progress or NoProgress())
    return first, second, compare(first.outcomes, second.outcomes)


def _golden(corpus: Corpus) -> list[GoldenQuestion]:
    path = corpus.policy.gate.golden
    if path is None:
        raise ConfigError(f"Corpus {corpus.name!r} has no golden set: name its file in gate.golden of its defs.yaml.")
    golden = read_golden(Path(path))
    if not golden:
        raise ConfigError(f"{path}: the golden set holds no question.")
    return golden


def _ask_all(sides: Sequence[OpenSide], golden: Sequence[GoldenQuestion], progress: Progress) -> list[SideResult]:
    asked = list(golden)
    for side in sides:  # a question counts where every side's release holds a document that answers it
        asked, _ = answerable_questions(side.corpus, side.release, asked)
    if not asked:
        raise ConfigError("The releases hold no document of the golden set any more; there is nothing to ask.")
    for side in sides:  # models are loaded and connections opened before the clock runs
        _ask(side, asked[0].question)
    progress.start(STAGE, len(asked) * len(sides))
    outcomes: list[list[Outcome]] = [[] for _ in sides]
    used: list[dict[str, set[str]]] = [{"method": set(), "prompt": set(), "model": set()} for _ in sides]
    for number, question in enumerate(asked):
        places = range(len(sides)) if number % 2 == 0 else reversed(range(len(sides)))
        for place in places:
            side = sides[place]
            started = time.perf_counter()
            answer = _ask(side, question.question)
            outcomes[place].append(outcome_of(question, answer, time.perf_counter() - started))
            for name, values in used[place].items():
                value = getattr(answer, name)
                if value is not None:
                    values.add(value)
            progress.advance(STAGE, 1)
    return [
        SideResult(
            release=side.release,
            methods=tuple(sorted(seen["method"])),
            prompts=tuple(sorted(seen["prompt"])),
            models=tuple(sorted(seen["model"])),
            fallbacks=sum(outcome.fallback for outcome in found),
            figures=means(found),
            outcomes=tuple(found),
        )
        for side, seen, found in zip(sides, used, outcomes, strict=True)
    ]


def _ask(side: OpenSide, question: str) -> Answer:
    """Answer as a caller would be answered who may read everything, leaving no trace."""
    from headwater.answering.flow import Request, answer_events

    asked = Request(question, Principal(name="evaluation"), None, release=side.release, kept=False)
    (answer,) = (event.answer for event in answer_events(side.corpus, asked) if isinstance(event, Finished))
    return answer


def means(outcomes: Sequence[Outcome]) -> dict[str, float | None]:
    """Return the mean of every figure over the questions that have one; None where no question has."""
    result: dict[str, float | None] = {}
    for name in METRICS:
        values = [value for outcome in outcomes if (value := outcome.figures[name]) is not None]
        result[name] = sum(values) / len(values) if values else None
    return result
