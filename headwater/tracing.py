"""The one hook for traces: steps become spans where a tracer is set, and cost nothing where none is.

Whoever takes a request begins its trace; what the library does outside of one makes no spans. Spans hold names, numbers
and ids. Exceptions are told by their type alone: their words may quote a document.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

_tracer: Tracer | None = None


def trace_with(tracer: Tracer | None) -> None:
    """Make spans with ``tracer`` from now on, in the whole process; None makes no more."""
    global _tracer
    _tracer = tracer


@contextmanager
def step(name: str, **numbers: int | float) -> Iterator[None]:
    """Make a span of the block, inside of the one that is current, and current itself; where none is, it makes none."""
    tracer = _tracing()
    if tracer is None:
        yield
        return
    with tracer.start_as_current_span(
        name, attributes=_named(numbers), record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield
        except Exception as error:
            failed(span, error)
            raise


def lap(name: str, seconds: float) -> None:
    """Make a span of what has just ended after ``seconds``, inside of the one that is current; where none is, none."""
    tracer = _tracing()
    if tracer is not None:
        now = time.time_ns()
        tracer.start_span(name, start_time=now - round(seconds * 1e9)).end(now)


def failed(span: Span, error: BaseException) -> None:
    """Mark a span as failed."""
    from opentelemetry.trace import Status, StatusCode

    span.set_attribute("error.type", type(error).__name__)
    span.set_status(Status(StatusCode.ERROR))


def headers() -> dict[str, str]:
    """Return the headers that make another service's spans part of this trace (W3C Trace Context); none without one."""
    if _tracer is None:
        return {}
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier


def _tracing() -> Tracer | None:
    """Return the tracer, where what runs belongs to a trace: not a probe's search, and not the warm-up."""
    if _tracer is None:
        return None
    from opentelemetry.trace import get_current_span

    return _tracer if get_current_span().get_span_context().is_valid else None


def _named(numbers: Mapping[str, int | float]) -> dict[str, int | float]:
    return {f"headwater.{name}": number for name, number in numbers.items()}
