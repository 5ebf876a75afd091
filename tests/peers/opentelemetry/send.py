"""Sends ten traces of 100 ms with the OpenTelemetry SDK: in protobuf, and the same spans again in JSON."""

import sys
import time

from opentelemetry.exporter.otlp.json.http.trace_exporter import OTLPSpanExporter as Json
from opentelemetry.exporter.otlp.proto.http.trace_exporter import Compression, OTLPSpanExporter as Protobuf
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

url, token = sys.argv[1:]
memory = InMemorySpanExporter()
provider = TracerProvider(resource=Resource.create({"service.name": "python-sender"}))
provider.add_span_processor(SimpleSpanProcessor(memory))
tracer = provider.get_tracer("tests")

begin = time.time_ns() - 60_000_000_000
for number in range(10):
    start = begin + number * 1_000_000_000
    root = tracer.start_span(f"request {number}", kind=SpanKind.SERVER, start_time=start, attributes={"user.id": "u1"})
    chat = tracer.start_span(
        "chat gpt-4o-mini",
        context=set_span_in_context(root),
        kind=SpanKind.CLIENT,
        start_time=start + 10_000_000,
        attributes={
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
            "gen_ai.usage.input_tokens": 1000,
            "gen_ai.usage.cache_read.input_tokens": 400,
            "gen_ai.usage.output_tokens": 100,
            "nothing": float("nan"),
        },
    )
    if number == 9:
        chat.record_exception(ValueError("asked to fail"))
        root.set_status(Status(StatusCode.ERROR, "asked to fail"))
    chat.end(start + 90_000_000)
    root.end(start + 100_000_000)

spans = memory.get_finished_spans()
headers = {"authorization": f"Bearer {token}"}
by_protobuf = Protobuf(f"{url}/v1/traces", headers=headers, compression=Compression.Gzip).export(spans)
by_json = Json(endpoint=f"{url}/v1/traces", headers=headers).export(spans)
print("READY", by_protobuf.name, by_json.name, flush=True)
