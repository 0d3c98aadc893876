"""The page of Prometheus' metrics, from the registry of the service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from documentation.markdown import code, table, text

INTRODUCTION = """\
# Metrics

`GET /metrics` of `headwater serve`, in Prometheus' text format. [Observability](../observability.md) says how to scrape
it, and what the labels mean; the [runbook](../runbook/index.md) what to do when an alert fires. Counters are per
process: sum over replicas. A histogram has `_bucket`, `_sum` and `_count`. `process_*` are memory, processor time and
open files.

"""


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One metric as Prometheus sees it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


def metrics_page() -> str:
    """Return the page of all metrics."""
    rows = [
        (code(row.name), row.kind, ", ".join(map(code, row.labels)), text(row.meaning)) for row in service_metrics()
    ]
    return INTRODUCTION + table(("metric", "kind", "labels", "meaning"), rows)


def service_metrics() -> list[MetricRow]:
    """Return the service's own metrics, sorted by name."""
    from serving.observability import CorpusStates, Metrics
    from serving.shelf import Shelf

    metrics = Metrics()
    metrics.registry.register(CorpusStates(Shelf(None, {})))
    # The label names of a metric without samples are told by nothing public.
    collectors: list[Any] = list(metrics.registry._collector_to_names)
    rows = []
    for collector in collectors:
        for family in collector.describe() if hasattr(collector, "describe") else ():
            labels = getattr(family, "_labelnames", ()) or getattr(collector, "_labelnames", ())
            name = f"{family.name}_total" if family.type == "counter" else family.name
            rows.append(MetricRow(name, family.type, tuple(labels), family.documentation))
    return sorted((row for row in rows if row.name.startswith("headwater_")), key=lambda row: row.name)
