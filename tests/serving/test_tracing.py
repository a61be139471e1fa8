import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from finerank.ranking import Usage
from finerank.serving.tracing import Tracer, open_tracer

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_request_is_a_span_of_its_caller_with_its_stages_inside() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    usage = Usage(seconds={"queue": 0.25, "encode": 0.125, "forward": 0.5, "total": 1.0})
    Tracer(provider).record({"traceparent": PARENT}, {"dialect": "jina", "status": 200}, 1.0, usage)
    *stages, request = exporter.get_finished_spans()
    assert [span.name for span in stages] == ["encode", "queue", "forward"]
    assert [(span.end_time - span.start_time) / 1e9 for span in stages] == [0.125, 0.25, 0.5]
    assert stages[0].start_time == request.start_time
    assert {span.parent.span_id for span in stages} == {request.context.span_id}
    assert f"{request.context.trace_id:032x}" in PARENT
    assert request.attributes["dialect"] == "jina"
    provider.shutdown()


def test_nothing_is_sent_unless_the_environment_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    assert open_tracer() is None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    tracer = open_tracer()
    assert tracer is not None
    tracer.close()
