"""Traces by OpenTelemetry, where the setting `otel` names who collects them. Without it nothing of it is imported.

Spans wait in a bounded queue that a thread empties: whoever collects may be slow or dead, and no request notices.
W3C Trace Context (traceparent) is accepted from callers and passed on to what serves.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from gateway.settings import OtelSettings

QUEUE = 2048  # spans that wait to be sent; of more the oldest are dropped
BATCH = 512
EVERY_SECONDS = 1.0
SEND_SECONDS = 5.0  # for one batch, with all its tries
CLOSE_SECONDS = 2.0  # for what waits when the gateway stops
WORDS = (b"traceparent", b"tracestate")
Headers = Sequence[tuple[bytes, bytes]]
_parent: ContextVar[Any] = ContextVar("span", default=None)  # the span that a request or job of this context is in


class Span(Protocol):
    """What a span is told."""

    def set_attribute(self, key: str, value: str | int | float) -> None:
        """Something that is known of it."""

    def update_name(self, name: str) -> None:
        """What it is called, once that is known."""


class Off:
    """Where nobody collects."""

    @contextmanager
    def request(self, _headers: Headers) -> Iterator[Span | None]:
        """Nothing."""
        yield None

    @contextmanager
    def upstream(self, _model: str, _headers: dict[str, str]) -> Iterator[None]:
        """Nothing."""
        yield

    def close(self) -> None:
        """Nothing."""


class Traces:
    """Spans of requests, and of what they ask of models. Making and ending one waits for nothing."""

    def __init__(self, settings: OtelSettings) -> None:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # it says a line for every span that it drops
        self._exporter = OTLPSpanExporter(endpoint=settings.endpoint, timeout=SEND_SECONDS)
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(settings.sample)),
            resource=Resource.create({"service.name": settings.service_name}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                self._exporter,
                max_queue_size=QUEUE,
                max_export_batch_size=BATCH,
                schedule_delay_millis=EVERY_SECONDS * 1000,
            )
        )
        self._tracer = self._provider.get_tracer("atelier.gateway")
        self._carrier = TraceContextTextMapPropagator()
        self._kinds, self._in = trace.SpanKind, trace.set_span_in_context

    @contextmanager
    def request(self, headers: Headers) -> Iterator[Span | None]:
        """The span of a request; below the one that its caller names, if he does."""
        carrier = {name.decode(): value.decode("latin-1") for name, value in headers if name in WORDS}
        context = self._carrier.extract(carrier)
        span = self._tracer.start_span("request", context, self._kinds.SERVER)
        token = _parent.set(self._in(span, context))
        try:
            yield span
        finally:
            _parent.reset(token)
            span.end()

    @contextmanager
    def upstream(self, model: str, headers: dict[str, str]) -> Iterator[None]:
        """The span of what is asked of a model, which `headers` hand on to it."""
        context = _parent.get()
        span = self._tracer.start_span(f"generate {model}", context, self._kinds.CLIENT, {"atelier.model": model})
        self._carrier.inject(headers, self._in(span, context))
        try:
            yield
        except Exception as error:  # seen and raised again: a span says what ended it
            span.set_attribute("error.type", type(error).__name__)
            raise
        finally:
            span.end()

    def close(self) -> None:
        """Send what waits, for a bounded time. It blocks."""
        late = threading.Timer(CLOSE_SECONDS, self._exporter.shutdown)
        late.daemon = True
        late.start()
        self._provider.shutdown()
        late.cancel()


def tell(span: Span, identity: str, method: str, route: str, status: int) -> None:
    """What became of a request, in the words of OpenTelemetry's conventions for HTTP."""
    span.update_name(f"{method} {route}")
    span.set_attribute("http.request.method", method)
    span.set_attribute("http.route", route)
    span.set_attribute("http.response.status_code", status)
    span.set_attribute("atelier.request", identity)


def traces(settings: OtelSettings | None) -> Traces | Off:
    """What these settings want."""
    return Off() if settings is None else Traces(settings)
