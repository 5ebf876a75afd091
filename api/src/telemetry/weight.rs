//! What a body takes up once it is read, reckoned before it is: a few bytes may become a hundred times as many.

use std::mem::size_of;

use http::StatusCode;
use opentelemetry_proto::tonic::common::v1::{AnyValue, EntityRef, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, SummaryDataPoint, summary_data_point::ValueAtQuantile,
};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

use super::Room;
use super::room::READING;
use crate::error::ApiError;

/// No deeper than what reads it.
const DEPTH: usize = 100;

/// A message: what it takes up by itself, what each of its bytes does, and the messages in it by their numbers.
pub(super) struct Shape {
    size: usize,
    each: usize,
    fields: &'static [(u64, &'static Shape)],
}

const fn message<T>(fields: &'static [(u64, &'static Shape)]) -> Shape {
    // What grows one by one has twice the room that it needs.
    Shape { size: 2 * size_of::<T>(), each: 0, fields }
}

static TEXT: Shape = message::<String>(&[]);
/// Numbers that are packed: one byte each where they are small.
static NUMBERS: Shape = Shape { size: 0, each: 2 * size_of::<u64>(), fields: &[] };
static ANY: Shape = message::<AnyValue>(&[(5, &ARRAY), (6, &OBJECT)]);
static ARRAY: Shape = message::<()>(&[(1, &ANY)]);
static OBJECT: Shape = message::<()>(&[(1, &MEMBER)]);
static MEMBER: Shape = message::<KeyValue>(&[(2, &ANY)]);
static ENTITY: Shape = message::<EntityRef>(&[(3, &TEXT), (4, &TEXT)]);
static RESOURCE: Shape = message::<()>(&[(1, &MEMBER), (3, &ENTITY)]);
static SCOPE: Shape = message::<InstrumentationScope>(&[(3, &MEMBER)]);

static EVENT: Shape = message::<Event>(&[(3, &MEMBER)]);
static LINK: Shape = message::<Link>(&[(4, &MEMBER)]);
static SPAN: Shape = message::<Span>(&[(9, &MEMBER), (11, &EVENT), (13, &LINK)]);
static SPANS_OF_SCOPE: Shape = message::<ScopeSpans>(&[(1, &SCOPE), (2, &SPAN)]);
static SPANS_OF_SENDER: Shape = message::<ResourceSpans>(&[(1, &RESOURCE), (2, &SPANS_OF_SCOPE)]);
/// A body of spans.
pub(super) static SPANS: Shape = message::<()>(&[(1, &SPANS_OF_SENDER)]);

static LINE: Shape = message::<LogRecord>(&[(5, &ANY), (6, &MEMBER)]);
static LINES_OF_SCOPE: Shape = message::<ScopeLogs>(&[(1, &SCOPE), (2, &LINE)]);
static LINES_OF_SENDER: Shape = message::<ResourceLogs>(&[(1, &RESOURCE), (2, &LINES_OF_SCOPE)]);
/// A body of lines.
pub(super) static LINES: Shape = message::<()>(&[(1, &LINES_OF_SENDER)]);

static EXEMPLAR: Shape = message::<Exemplar>(&[(7, &MEMBER)]);
static NUMBER: Shape = message::<NumberDataPoint>(&[(7, &MEMBER), (5, &EXEMPLAR)]);
static GAUGE: Shape = message::<()>(&[(1, &NUMBER)]);
static HISTOGRAM_POINT: Shape = message::<HistogramDataPoint>(&[(9, &MEMBER), (8, &EXEMPLAR)]);
static HISTOGRAM: Shape = message::<()>(&[(1, &HISTOGRAM_POINT)]);
static BUCKETS: Shape = message::<()>(&[(2, &NUMBERS)]);
static EXPONENTIAL_POINT: Shape =
    message::<ExponentialHistogramDataPoint>(&[(1, &MEMBER), (8, &BUCKETS), (9, &BUCKETS), (11, &EXEMPLAR)]);
static EXPONENTIAL: Shape = message::<()>(&[(1, &EXPONENTIAL_POINT)]);
static QUANTILE: Shape = message::<ValueAtQuantile>(&[]);
static SUMMARY_POINT: Shape = message::<SummaryDataPoint>(&[(7, &MEMBER), (6, &QUANTILE)]);
static SUMMARY: Shape = message::<()>(&[(1, &SUMMARY_POINT)]);
static METRIC: Shape = message::<Metric>(&[
    (5, &GAUGE),
    (7, &GAUGE),
    (9, &HISTOGRAM),
    (10, &EXPONENTIAL),
    (11, &SUMMARY),
    (12, &MEMBER),
]);
static METRICS_OF_SCOPE: Shape = message::<ScopeMetrics>(&[(1, &SCOPE), (2, &METRIC)]);
static METRICS_OF_SENDER: Shape = message::<ResourceMetrics>(&[(1, &RESOURCE), (2, &METRICS_OF_SCOPE)]);
/// A body of measurements.
pub(super) static METRICS: Shape = message::<()>(&[(1, &METRICS_OF_SENDER)]);

/// How a body is written.
pub(super) enum Form {
    Json,
    Protobuf(&'static Shape),
}

impl Form {
    /// Takes room for what a body becomes. JSON is read row by row, and each row is weighed by itself (`walk`).
    pub(super) fn admit(&self, room: &Room, body: &[u8]) -> Result<(), ApiError> {
        match self {
            Self::Json => Ok(()),
            Self::Protobuf(shape) => take(room, weigh(body, shape, 0)),
        }
    }
}

fn take(room: &Room, bytes: usize) -> Result<(), ApiError> {
    if bytes > READING {
        let detail = "The body consists of too many parts: send fewer at a time.";
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail));
    }
    room.take_reading(bytes)
}

/// What is no protobuf weighs what was found of it: who reads it says what is wrong.
fn weigh(mut bytes: &[u8], shape: &Shape, depth: usize) -> usize {
    let mut weight = 0usize;
    while let Some((tag, rest)) = varint(bytes) {
        let (skipped, field) = match tag & 7 {
            0 => (varint(rest).map(|(_, rest)| rest), None),
            1 => (rest.get(8..), None),
            2 => match varint(rest) {
                Some((length, rest)) => {
                    let cut = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
                    (cut.map(|(_, rest)| rest), cut.map(|(field, _)| field))
                }
                None => (None, None),
            },
            5 => (rest.get(4..), None),
            // The ends of a group: what is in it is looked at as if it were outside.
            _ => (Some(rest), None),
        };
        let known = shape.fields.iter().find(|(number, _)| *number == tag >> 3);
        if let Some((field, (_, shape))) = field.zip(known) {
            weight += shape.size + shape.each * field.len();
            if depth < DEPTH && !shape.fields.is_empty() {
                weight += weigh(field, shape, depth + 1);
            }
        }
        let Some(rest) = skipped else { break };
        bytes = rest;
    }
    weight
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (n, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[n + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use prost::Message;

    use super::*;
    use crate::telemetry::{Intake, MAX_UNPACKED};

    fn status(admitted: Result<(), ApiError>) -> u16 {
        admitted.map_or_else(|error| error.into_response().status().as_u16(), |()| 200)
    }

    fn body(spans: Vec<Span>) -> Vec<u8> {
        let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
        let sender = ResourceSpans { scope_spans, ..ResourceSpans::default() };
        ExportTraceServiceRequest { resource_spans: vec![sender] }.encode_to_vec()
    }

    #[test]
    fn a_small_body_of_many_parts_is_refused_before_it_is_read() {
        let room = Intake::default().room(None);
        // Two bytes a span, of which each takes up some hundred.
        let spans = [0x12, 0x00].repeat(2_000_000);
        assert_eq!(status(Form::Protobuf(&SPANS_OF_SCOPE).admit(&room, &spans)), 413);
        // Two bytes an attribute of a span.
        let attributes = [0x4a, 0x00].repeat(MAX_UNPACKED / 2);
        assert_eq!(status(Form::Protobuf(&SPAN).admit(&room, &attributes)), 413);
        // Lists in lists in lists, as deep as is read.
        let list = [0x2a, 0x02, 0x0a, 0x00].repeat(1000);
        assert_eq!(weigh(&list, &ANY, 0), 1000 * ANY.size);
        // One byte a number.
        let numbers = [[0x12].as_slice(), &[0x80, 0x80, 0x80, 0x04], &vec![1; 8 << 20]].concat();
        assert_eq!(weigh(&numbers, &BUCKETS, 0), 16 * (8 << 20));
    }

    #[test]
    fn what_senders_send_is_let_in_and_room_comes_back() {
        let attribute = |n: usize| KeyValue {
            key: format!("some.attribute.{}", n % 20),
            value: Some(AnyValue { value: Some(Value::StringValue("x".repeat(12))) }),
            ..KeyValue::default()
        };
        let span =
            Span { attributes: (0..20).map(attribute).collect(), name: "chat".into(), ..Span::default() };
        let large = body(vec![span; 20_000]);
        assert!((12 << 20..MAX_UNPACKED).contains(&large.len()), "{}", large.len());
        let intake = Intake::default();
        let [one, two, other] = [(); 3].map(|()| intake.room(None));
        let admit = |room: &Room| status(Form::Protobuf(&SPANS).admit(room, &large));
        assert_eq!([&one, &two, &other].map(|room| admit(room)), [200, 200, 503], "more is too much for now");
        one.read();
        assert_eq!(admit(&other), 200);
        for odd in [&[][..], &[0xff; 20], &[0x0a, 0x7f], &[0x0b, 0x0c], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff]]
        {
            weigh(odd, &SPANS, 0);
        }
    }
}
