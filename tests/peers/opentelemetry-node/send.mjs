// Sends ten traces of 100 ms, three lines and the values 5, 7 and 9 with the OpenTelemetry SDK of Node: in protobuf, and the
// same again in JSON.

import { ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { OTLPLogExporter as JsonLogs } from '@opentelemetry/exporter-logs-otlp-http';
import { OTLPLogExporter as ProtobufLogs } from '@opentelemetry/exporter-logs-otlp-proto';
import { OTLPMetricExporter as JsonMetrics } from '@opentelemetry/exporter-metrics-otlp-http';
import { OTLPMetricExporter as ProtobufMetrics } from '@opentelemetry/exporter-metrics-otlp-proto';
import { OTLPTraceExporter as JsonTraces } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter as ProtobufTraces } from '@opentelemetry/exporter-trace-otlp-proto';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { InMemoryLogRecordExporter, LoggerProvider, SimpleLogRecordProcessor } from '@opentelemetry/sdk-logs';
import { AggregationTemporality, MeterProvider, MetricReader } from '@opentelemetry/sdk-metrics';
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';

const [url, token] = process.argv.slice(2);
const headers = { authorization: `Bearer ${token}` };
const resource = resourceFromAttributes({ 'service.name': 'node-sender' });
const sent = [];

/** What came of it: 0 is a success. */
const send = (exporter, rows) =>
  new Promise((done) => exporter.export(rows, (result) => done(sent.push(result.code))));

const to = (path, compression) => ({ url: `${url}/v1/${path}`, headers, compression });

const kept = new InMemorySpanExporter();
const tracer = new BasicTracerProvider({ resource, spanProcessors: [new SimpleSpanProcessor(kept)] }).getTracer('tests');
const begin = Date.now() - 60_000;
for (let number = 0; number < 10; number++) {
  const start = begin + number * 1000;
  const options = { kind: SpanKind.SERVER, startTime: start, attributes: { 'user.id': 'u1' } };
  const root = tracer.startSpan(`request ${number}`, options, ROOT_CONTEXT);
  const attributes = {
    'gen_ai.operation.name': 'chat',
    'gen_ai.provider.name': 'openai',
    'gen_ai.request.model': 'gpt-4o-mini',
    'gen_ai.response.model': 'gpt-4o-mini-2024-07-18',
    'gen_ai.usage.input_tokens': 1000,
    'gen_ai.usage.cache_read.input_tokens': 400,
    'gen_ai.usage.output_tokens': 100,
    list: ['a', 'b'],
    big: 2 ** 53,
    half: 0.5,
  };
  const below = trace.setSpan(ROOT_CONTEXT, root);
  const chat = tracer.startSpan('chat gpt-4o-mini', { kind: SpanKind.CLIENT, startTime: start + 10, attributes }, below);
  if (number === 9) {
    chat.recordException(new TypeError('asked to fail'));
    root.setStatus({ code: SpanStatusCode.ERROR, message: 'asked to fail' });
  }
  chat.end(start + 90);
  root.end(start + 100);
}
const spans = kept.getFinishedSpans();
await send(new ProtobufTraces(to('traces', 'gzip')), spans);
await send(new JsonTraces(to('traces', 'none')), spans);

const lines = new InMemoryLogRecordExporter();
const logger = new LoggerProvider({ resource, processors: [new SimpleLogRecordProcessor({ exporter: lines })] }).getLogger('tests');
logger.emit({ timestamp: begin, severityNumber: 9, body: 'the beginning', attributes: { number: 1 } });
logger.emit({ timestamp: begin + 1000, severityNumber: 13, body: { what: 'failed', times: 3 } });
logger.emit({
  timestamp: begin + 2000,
  severityNumber: 17,
  body: 'it broke',
  attributes: { 'exception.type': 'RangeError', 'exception.message': 'out of 7' },
});
await send(new ProtobufLogs(to('logs', 'gzip')), lines.getFinishedLogRecords());
await send(new JsonLogs(to('logs', 'none')), lines.getFinishedLogRecords());

class Reader extends MetricReader {
  async onShutdown() {}
  async onForceFlush() {}
}
for (const [kind, temporality] of [['cumulative', AggregationTemporality.CUMULATIVE], ['delta', AggregationTemporality.DELTA]]) {
  const reader = new Reader({ aggregationTemporalitySelector: () => temporality });
  const meter = new MeterProvider({ resource, readers: [reader] }).getMeter('tests');
  const counter = meter.createCounter(`${kind}.counter`);
  const histogram = meter.createHistogram(`${kind}.histogram`, { unit: 'ms' });
  for (const value of [5, 7, 9]) {
    counter.add(value, { route: '/a' });
    histogram.record(value);
    const { resourceMetrics } = await reader.collect();
    await send(new ProtobufMetrics(to('metrics', 'gzip')), resourceMetrics);
    await send(new JsonMetrics(to('metrics', 'none')), resourceMetrics);
  }
}
console.log('READY', [...new Set(sent)].join());
