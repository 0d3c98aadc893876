"""How each corpus stands when the metrics are read: what is live, since when, and whether its model is left alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from headwater.corpus import Corpus
    from serving.shelf import Shelf

BREAKER_STATES = ("closed", "half-open", "open")


class CorpusStates(Collector):
    """Gauges of the corpora of ``shelf``. A corpus that can't be asked says so, and doesn't spoil the others' figures."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def describe(self) -> list[Metric]:
        """Return the gauges without values, so that registering asks no corpus."""
        return list(_families())

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges."""
        readable, number, published, breaker = families = _families()
        for name in self._shelf.names():
            try:
                corpus = self._shelf.get(name)
                live = corpus.live()
                at = corpus.ledger.release(name, live).published_at if live is not None else None
                state = _breaker_state(corpus)
            except Exception:  # whatever it is, it is counted here and told by /readyz and the log
                readable.add_metric([name], 0)
                continue
            readable.add_metric([name], 1)
            if live is not None:
                number.add_metric([name], live)
            if at is not None:
                published.add_metric([name], at.timestamp())
            if state is not None:
                for one in BREAKER_STATES:
                    breaker.add_metric([name, one], one == state)
        yield from families


def _families() -> tuple[GaugeMetricFamily, GaugeMetricFamily, GaugeMetricFamily, GaugeMetricFamily]:
    return (
        GaugeMetricFamily("headwater_corpus_readable", "Whether ledger and corpus can be read.", labels=["corpus"]),
        GaugeMetricFamily("headwater_live_release", "Number of the live release.", labels=["corpus"]),
        GaugeMetricFamily(
            "headwater_live_release_published_timestamp_seconds",
            "When the live release went live, in seconds since 1970.",
            labels=["corpus"],
        ),
        GaugeMetricFamily(
            "headwater_llm_breaker",
            "1 for the state that the breaker before the language model is in.",
            labels=["corpus", "state"],
        ),
    )


def _breaker_state(corpus: Corpus) -> str | None:
    """Return the state of the breaker, None for a corpus without a language model."""
    from headwater.answering.generation.client import open_client

    policy = corpus.policy.answer.llm
    return open_client(policy).breaker.state if policy is not None else None
