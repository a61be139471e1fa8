"""OpenTelemetry spans of requests, where the environment says to whom they go (`OTEL_EXPORTER_OTLP_ENDPOINT`)."""

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from finerank import __version__
from finerank.errors import MissingExtra
from finerank.ranking import Usage

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""OpenTelemetry's own settings: without one of them nothing is traced, and nothing sent."""
STAGES = ("encode", "queue", "forward")


class Tracer:
    """Writes a span for each request once it is answered, and one inside it for each stage it went through."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("finerank", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def record(
        self, headers: Mapping[str, str], attributes: Mapping[str, str | int], seconds: float, usage: Usage | None
    ) -> None:
        """A request that took so long and ends now; a child of the caller's span if `headers` name one."""
        from opentelemetry.trace import SpanKind, set_span_in_context

        end = time.time_ns()
        start = end - int(seconds * 1e9)
        span = self._tracer.start_span(
            "rerank", self._propagator.extract(headers), SpanKind.SERVER, attributes, start_time=start
        )
        inside = set_span_in_context(span)
        seconds_of = usage.seconds if usage is not None else {}
        for stage in STAGES:
            if stage not in seconds_of:
                continue
            after = start + int(seconds_of[stage] * 1e9)
            self._tracer.start_span(stage, inside, start_time=start).end(after)
            start = after
        span.end(end)

    def close(self) -> None:
        """Send what is not sent yet."""
        self._provider.shutdown()


def open_tracer() -> Tracer | None:
    """A tracer if the environment names an endpoint. Raises `MissingExtra` if it does and nothing can be sent."""
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise MissingExtra("tracing", "otel") from error
    service = {"service.name": os.environ.get("OTEL_SERVICE_NAME", "finerank"), "service.version": __version__}
    provider = TracerProvider(resource=Resource.create(service))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracer(provider)
