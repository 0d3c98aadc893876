"""Traces by OpenTelemetry: one span per request, the library's steps within it, exported as the environment says."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers

import headwater
from headwater.errors import ConfigError
from headwater.tracing import failed, trace_with

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

LOG = logging.getLogger("headwater.serving")

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

_NOTED = frozenset(
    {"corpus", "release", "answer", "refused", "fallback", "unfinished", "k", "results", "kind", "limit", "feedback"}
)
"""Fields of the log line that a request's span has, too."""


class Traces:
    """Makes the spans of requests with ``tracer``; ``close`` sends what waits."""

    def __init__(self, tracer: Tracer, close: Callable[[], None] = lambda: None) -> None:
        self._tracer, self._close = tracer, close

    def start(self) -> None:
        """Have the library make spans."""
        trace_with(self._tracer)

    def close(self) -> None:
        """End it, and send what waits."""
        trace_with(None)
        self._close()

    @contextmanager
    def request(self, method: str, headers: Headers, request_id: str) -> Iterator[Span]:
        """Make a span of a request, inside of the caller's (``traceparent``, W3C Trace Context) where it names one."""
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}
        with self._tracer.start_as_current_span(
            method,
            context=TraceContextTextMapPropagator().extract(carrier),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method, "headwater.request_id": request_id},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except Exception as error:
                failed(span, error)
                raise

    @staticmethod
    def ended(span: Span, method: str, route: str | None, status: int, noted: Mapping[str, Any]) -> None:
        """Say what became of the request."""
        from opentelemetry.trace import Status, StatusCode

        if route is not None:
            span.update_name(f"{method} {route}")
            span.set_attribute("http.route", route)
        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        for name in _NOTED.intersection(noted):
            if isinstance(noted[name], (bool, int, float, str)):
                span.set_attribute(f"headwater.{name}", noted[name])


def configure_traces(environment: Mapping[str, str] = os.environ) -> Traces | None:
    """Return the traces that OpenTelemetry's variables ask for, None when they ask for none.

    Asked for by ``OTEL_TRACES_EXPORTER`` (``otlp`` or ``console``) or by an endpoint (``OTEL_EXPORTER_OTLP_ENDPOINT`` or
    ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``); the SDK itself reads the other variables. Raises ConfigError for an exporter
    that isn't known, or when the extra ``otel`` is not installed.
    """
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if not exporter and any(environment.get(name) for name in _ENDPOINTS):
        exporter = "otlp"
    if exporter in ("", "none") or environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    if exporter not in ("otlp", "console"):
        raise ConfigError(f"OTEL_TRACES_EXPORTER is {exporter!r}; Headwater knows otlp, console and none.")
    protocols = {environment.get(f"OTEL_EXPORTER_OTLP_{name}PROTOCOL") for name in ("", "TRACES_")} - {None, ""}
    if exporter == "otlp" and not protocols <= {"http/protobuf"}:
        raise ConfigError("Traces are sent by OTLP over HTTP; set OTEL_EXPORTER_OTLP_PROTOCOL to http/protobuf.")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
    except ImportError as error:
        raise ConfigError(
            "The environment asks for traces, but OpenTelemetry's SDK is not installed; "
            "install headwater[otel], or set OTEL_TRACES_EXPORTER=none."
        ) from error

    name = environment.get("OTEL_SERVICE_NAME") or "headwater"
    resource = Resource.create({"service.name": name, "service.version": headwater.__version__})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    sink: SpanExporter = ConsoleSpanExporter() if exporter == "console" else OTLPSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(sink))
    LOG.info("traces are exported", extra={"fields": {"exporter": exporter}})
    return Traces(provider.get_tracer("headwater", headwater.__version__), provider.shutdown)
