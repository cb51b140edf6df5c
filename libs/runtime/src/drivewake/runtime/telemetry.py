"""Traces: a span context travels with every message as a W3C `traceparent`.

Without an OTLP endpoint no span is exported; ids are still made, so that log lines and
messages of one story can be joined. Metrics stand in `metrics`.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.trace import Span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

TRACEPARENT: Final = "traceparent"
"""Name of the header that carries the span (W3C Trace Context)."""

_PROPAGATOR: Final = TraceContextTextMapPropagator()
_MAX_TRACEPARENT: Final = 128


class _Telemetry:
    """The provider of this process; a service sets it once, tests may set it again."""

    provider: TracerProvider | None = None
    tracer: trace.Tracer = trace.NoOpTracer()
    recording: bool = False


def configure(service: str, otlp_endpoint: str | None = None) -> None:
    """Start tracing in this process; spans go to `otlp_endpoint` (OTLP over HTTP) if given."""
    shutdown()
    provider = TracerProvider(
        resource=Resource.create({"service.name": f"drivewake-{service}"}),
        # Nobody reads the spans: give them ids and nothing else, which is cheap.
        sampler=ParentBased(ALWAYS_ON) if otlp_endpoint else ALWAYS_OFF,
        shutdown_on_exit=False,
    )
    if otlp_endpoint:
        url = f"{otlp_endpoint.rstrip('/')}/v1/traces"
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url)))
    _Telemetry.provider = provider
    _Telemetry.recording = bool(otlp_endpoint)
    _Telemetry.tracer = provider.get_tracer("drivewake")


def shutdown() -> None:
    """Send what waits and stop tracing."""
    if _Telemetry.provider is not None:
        _Telemetry.provider.shutdown()
    _Telemetry.provider = None
    _Telemetry.recording = False
    _Telemetry.tracer = trace.NoOpTracer()


def recording() -> bool:
    """Say whether anybody reads the spans: hot paths make none in vain."""
    return _Telemetry.recording


def traceparent() -> str | None:
    """Return the current span as a W3C traceparent, None outside of any."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def with_traceparent(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers with the current span's traceparent, unless they have one."""
    parent = None if TRACEPARENT in headers else traceparent()
    return dict(headers) if parent is None else {**headers, TRACEPARENT: parent}


@contextlib.contextmanager
def span(name: str) -> Iterator[Span]:
    """Run a block as a child of the current span."""
    with _Telemetry.tracer.start_as_current_span(name) as current:
        yield current


@contextlib.contextmanager
def continue_trace(parent: str | None, name: str) -> Iterator[Span]:
    """Run a block as a child of the sender's span; a new trace if `parent` is not a valid one."""
    carrier = {TRACEPARENT: parent} if parent and len(parent) <= _MAX_TRACEPARENT else {}
    context = _PROPAGATOR.extract(carrier)
    with _Telemetry.tracer.start_as_current_span(name, context=context) as current:
        yield current
