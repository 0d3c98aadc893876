"""What a request's log line says beside its route and status, and the one place where what happened is counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import HTTPConnection

from headwater.types import Answer
from serving.observability.metrics import Metrics, Work

METRICS = "metrics"
"""Where the outermost middleware leaves the :class:`Metrics` in a connection's state."""


def note(request: HTTPConnection | None, **fields: Any) -> None:
    """Add fields to the request's log line: names of corpora, numbers and ids only, never keys or text.

    None is a request that came over no network and has no line.
    """
    if request is not None:
        request.scope.setdefault("state", {}).setdefault("log", {}).update(fields)


def note_steps(request: HTTPConnection | None, corpus: str, timings: Mapping[str, float], work: Work) -> None:
    """Take the seconds that the steps of a search or an answer took."""
    if timings:
        steps = {name: round(1000 * seconds, 1) for name, seconds in timings.items()}
        note(request, corpus=corpus, steps_milliseconds=steps)
        if (metrics := metrics_of(request)) is not None:
            metrics.steps(work, corpus, timings)


def note_answer(request: HTTPConnection | None, corpus: str, answer: Answer) -> None:
    """Take an answer: its outcome, its steps, and what it was made of."""
    note(request, corpus=corpus, release=answer.release, answer=answer.id, refused=answer.refused)
    if answer.fallback is not None:
        note(request, fallback=True)
    note_steps(request, corpus, answer.timings, "answer")
    if (metrics := metrics_of(request)) is not None:
        metrics.answered(corpus, answer)


def note_unfinished(request: HTTPConnection | None, corpus: str) -> None:
    """Take an answer that failed, or that its reader left."""
    note(request, corpus=corpus, unfinished=True)
    if (metrics := metrics_of(request)) is not None:
        metrics.unfinished(corpus)


def note_feedback(request: HTTPConnection | None, corpus: str, kind: str) -> None:
    """Take what somebody said of an answer."""
    note(request, corpus=corpus, kind=kind)
    if (metrics := metrics_of(request)) is not None:
        metrics.feedback(corpus, kind)


def metrics_of(request: HTTPConnection | None) -> Metrics | None:
    """Return the counters of the application that the request came to; None for one that came over no network."""
    found = request.scope.get("state", {}).get(METRICS) if request is not None else None
    return found if isinstance(found, Metrics) else None
