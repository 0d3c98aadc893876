"""What the service tells those who run it: metrics for Prometheus, and traces for OpenTelemetry."""

from serving.observability.metrics import Metrics
from serving.observability.state import CorpusStates
from serving.observability.traces import Traces, configure_traces

__all__ = ["CorpusStates", "Metrics", "Traces", "configure_traces"]
