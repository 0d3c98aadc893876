"""What is counted while the service works.

Labels are bounded: routes are patterns (``/v1/documents/{doc_id}``), corpora are those that exist, the rest is lists of
words in the code. No id, no key and no text is ever a label.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from headwater.types import Answer, DropReason

CONTENT_TYPE = CONTENT_TYPE_LATEST

Work: TypeAlias = Literal["retrieval", "answer"]
"""What a step belongs to: a search, or an answer with the search in it."""

_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
_OTHER = "other"

_SEARCH_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Close together around 0.15 s, below which 99 of 100 searches should stay."""

_ANSWER_SECONDS = (0.005, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0)
"""From quoted answers, which take as long as a search, to a model that writes until its deadline."""


class Metrics:
    """The counters of one application, in a registry of their own. Thread-safe."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        registry = self.registry
        self._requests = Histogram(
            "headwater_request_seconds",
            "Seconds from a request's headers to the end of its response, streams included.",
            ["route", "method", "status"],
            buckets=_ANSWER_SECONDS,
            registry=registry,
        )
        self._in_flight = Gauge("headwater_requests_in_flight", "Requests being answered now.", registry=registry)
        self._rate_limited = Counter(
            "headwater_rate_limited_requests", "Requests over a rate limit or quota.", ["route"], registry=registry
        )
        self._retrieval = Histogram(
            "headwater_retrieval_step_seconds",
            "Seconds of each step of a search; total is the whole of it.",
            ["corpus", "step"],
            buckets=_SEARCH_SECONDS,
            registry=registry,
        )
        self._answer_steps = Histogram(
            "headwater_answer_step_seconds",
            "Seconds of each step of an answer; total is the whole of it.",
            ["corpus", "step"],
            buckets=_ANSWER_SECONDS,
            registry=registry,
        )
        self._answers = Counter(
            "headwater_answers",
            "Answers: answered, fallback (quoted although a model is configured), refused, unfinished.",
            ["corpus", "outcome", "cached"],
            registry=registry,
        )
        self._sentences = Counter("headwater_sentences", "Verified sentences.", ["corpus"], registry=registry)
        self._dropped = Counter(
            "headwater_sentences_dropped", "Sentences left out, by reason.", ["corpus", "reason"], registry=registry
        )
        self._tokens = Counter(
            "headwater_tokens", "Tokens that the language model read and wrote.", ["corpus", "kind"], registry=registry
        )
        self._cost = Counter(
            "headwater_cost", "What the tokens cost, in the price list's currency.", ["corpus"], registry=registry
        )
        self._feedback = Counter("headwater_feedback", "What people said.", ["corpus", "kind"], registry=registry)

    def request_began(self) -> None:
        """Count a request in."""
        self._in_flight.inc()

    def request_ended(self, route: str | None, method: str, status: int, seconds: float) -> None:
        """Count a request out. ``route`` is the pattern that it matched, None where it matched none."""
        self._in_flight.dec()
        route = route or _OTHER
        self._requests.labels(route, method if method in _METHODS else _OTHER, str(status)).observe(seconds)
        if status == 429:
            self._rate_limited.labels(route).inc()

    def steps(self, work: Work, corpus: str, timings: Mapping[str, float]) -> None:
        """Take the seconds that the steps of a search or an answer took."""
        histogram = self._retrieval if work == "retrieval" else self._answer_steps
        for step, seconds in timings.items():
            histogram.labels(corpus, step).observe(seconds)

    def answered(self, corpus: str, answer: Answer) -> None:
        """Count an answer and what it was made of."""
        outcome = "refused" if answer.refused else "fallback" if answer.fallback else "answered"
        self._answers.labels(corpus, outcome, "yes" if answer.cached else "no").inc()
        if answer.cached:  # its sentences were counted when they were made
            return
        self._sentences.labels(corpus).inc(len(answer.sentences))
        for reason in answer.dropped:
            self._dropped.labels(corpus, reason if reason in get_args(DropReason) else _OTHER).inc()
        if answer.usage is not None:
            self._tokens.labels(corpus, "prompt").inc(answer.usage.prompt_tokens)
            self._tokens.labels(corpus, "completion").inc(answer.usage.completion_tokens)
            self._cost.labels(corpus).inc(answer.usage.cost or 0.0)

    def unfinished(self, corpus: str) -> None:
        """Count an answer that failed, or that its reader left."""
        self._answers.labels(corpus, "unfinished", "no").inc()

    def feedback(self, corpus: str, kind: str) -> None:
        """Count what somebody said of an answer; ``kind`` as the API has it."""
        self._feedback.labels(corpus, kind).inc()

    def exposition(self) -> bytes:
        """Return all of it in Prometheus' text format; corpora are asked how they stand, which may read the ledger."""
        return generate_latest(self.registry)
