"""Logs five lines with the OpenTelemetry SDK: in protobuf, and the same lines again in JSON."""

import sys
import time

from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.json.http._log_exporter import OTLPLogExporter as Json
from opentelemetry.exporter.otlp.proto.http._log_exporter import Compression, OTLPLogExporter as Protobuf
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import set_span_in_context

url, token = sys.argv[1:]
memory = InMemoryLogRecordExporter()
resource = Resource.create({"service.name": "python-sender"})
provider = LoggerProvider(resource=resource)
provider.add_log_record_processor(SimpleLogRecordProcessor(memory))
logger = provider.get_logger("tests")
span = TracerProvider(resource=resource).get_tracer("tests").start_span("work")

begin = time.time_ns() - 60_000_000_000
for number, (severity, body, context) in enumerate(
    [
        (SeverityNumber.INFO, "the beginning", None),
        (SeverityNumber.WARN, "all of it in a trace", set_span_in_context(span)),
        (SeverityNumber.ERROR2, {"what": "failed", "times": 3}, None),
    ]
):
    logger.emit(
        timestamp=begin + number * 1_000_000_000,
        observed_timestamp=begin,
        context=context,
        severity_number=severity,
        severity_text=severity.name,
        body=body,
        attributes={"number": number},
    )
for _ in range(2):
    logger.emit(timestamp=begin, observed_timestamp=begin, severity_number=SeverityNumber.DEBUG, body="tick")

lines = memory.get_finished_logs()
headers = {"authorization": f"Bearer {token}"}
by_protobuf = Protobuf(f"{url}/v1/logs", headers=headers, compression=Compression.Gzip).export(lines)
by_json = Json(endpoint=f"{url}/v1/logs", headers=headers).export(lines)
trace = format(span.get_span_context().trace_id, "032x")
print("READY", by_protobuf.name, by_json.name, trace, flush=True)
