"""Measures 5, 7 and 9 in three ways with the OpenTelemetry SDK: in protobuf, and the same again in JSON."""

import sys

from opentelemetry.exporter.otlp.json.http.metric_exporter import OTLPMetricExporter as Json
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as Protobuf
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.resources import Resource

url, token = sys.argv[1:]
headers = {"authorization": f"Bearer {token}"}
by_protobuf = Protobuf(f"{url}/v1/metrics", headers=headers, compression=Compression.Gzip)
by_json = Json(endpoint=f"{url}/v1/metrics", headers=headers)
delta = {Counter: AggregationTemporality.DELTA, Histogram: AggregationTemporality.DELTA}
said = set()
for kind, temporality in [("cumulative", None), ("delta", delta)]:
    reader = InMemoryMetricReader(preferred_temporality=temporality)
    resource = Resource.create({"service.name": "python-sender"})
    meter = MeterProvider(metric_readers=[reader], resource=resource).get_meter("tests")
    now = []
    counter = meter.create_counter(f"{kind}.counter", unit="1")
    histogram = meter.create_histogram(f"{kind}.histogram", unit="ms")
    meter.create_observable_gauge(f"{kind}.gauge", [lambda _: [Observation(now[-1], {"route": "/a"})]])
    for value in (5, 7, 9):
        now.append(value)
        counter.add(value, {"route": "/a" if value < 9 else "/b"})
        histogram.record(value, {"route": "/a"})
        data = reader.get_metrics_data()
        said |= {by_protobuf.export(data).name, by_json.export(data).name}
print("READY", *said, flush=True)
