//! OTLP in protobuf.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::ids::DeploymentId;
use domain::ports::telemetry::{Span as Row, SpanId, Status, TraceId};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource as Said;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use prost::Message;
use serde_json::{Map, Value, json};

use super::{float, is_root, kind};
use crate::error::ApiError;
use crate::telemetry::raw::Raw;
use crate::telemetry::resource::Resource;
use crate::telemetry::{Batch, caps, malformed};

pub(super) fn read(body: &[u8], deployment: Option<DeploymentId>) -> Result<Batch<Row>, ApiError> {
    let request: ExportTraceServiceRequest = decode(body)?;
    let mut batch = Batch::default();
    for sender in request.resource_spans {
        let resource = of_sender(sender.resource);
        for scope in sender.scope_spans {
            let resource = Resource::new(&resource, of_scope(scope.scope.as_ref()));
            for span in scope.spans {
                batch.add_with(|| row(span, &resource, deployment));
            }
        }
    }
    Ok(batch)
}

pub(in crate::telemetry) fn decode<M: Message + Default>(body: &[u8]) -> Result<M, ApiError> {
    M::decode(body).map_err(|error| malformed(format!("The body is no OTLP in protobuf: {error}.")))
}

/// What is said about the sender, within the caps.
pub(in crate::telemetry) fn of_sender(resource: Option<Said>) -> Map<String, Value> {
    caps::object(attributes(resource.map(|resource| resource.attributes).unwrap_or_default()))
}

fn row(span: Span, resource: &Resource<'_>, deployment: Option<DeploymentId>) -> Result<Row, String> {
    let trace_id = TraceId::try_from(&span.trace_id[..]).map_err(|error| format!("traceId {error}"))?;
    let span_id = SpanId::try_from(&span.span_id[..]).map_err(|error| format!("spanId {error}"))?;
    let parent = Some(&span.parent_span_id[..]).filter(|parent| !parent.is_empty()).map(SpanId::try_from);
    let parent_id = parent.transpose().map_err(|error| format!("span {span_id}: parentSpanId {error}"))?;
    let (code, message) = span.status.map(|status| (status.code, status.message)).unwrap_or_default();
    let raw = Raw {
        trace_id,
        span_id,
        parent_id,
        is_root: is_root(parent_id.is_some(), span.flags),
        name: span.name,
        kind: kind(span.kind.into()),
        start: span.start_time_unix_nano.into(),
        end: span.end_time_unix_nano.into(),
        status: match code {
            1 => Status::Ok,
            2 => Status::Error,
            _ => Status::Unset,
        },
        message: Some(message).filter(|message| !message.is_empty()),
        attributes: attributes(span.attributes),
        events: span.events.into_iter().map(event).collect(),
        links: span.links.into_iter().map(link).collect(),
    };
    raw.row(resource, deployment)
}

/// The name and the version of the part of a sender that speaks.
pub(in crate::telemetry) fn of_scope(scope: Option<&InstrumentationScope>) -> Option<[&str; 2]> {
    scope.map(|scope| [&*scope.name, &*scope.version])
}

fn event(event: Event) -> Value {
    let time = event.time_unix_nano.to_string();
    json!({ "name": event.name, "timeUnixNano": time, "attributes": attributes(event.attributes) })
}

fn link(link: Link) -> Value {
    let (trace, span) = (hex::encode(link.trace_id), hex::encode(link.span_id));
    json!({ "traceId": trace, "spanId": span, "attributes": attributes(link.attributes) })
}

pub(in crate::telemetry) fn attributes(pairs: Vec<KeyValue>) -> Map<String, Value> {
    pairs.into_iter().map(|pair| (pair.key, pair.value.map_or(Value::Null, value))).collect()
}

pub(in crate::telemetry) fn value(said: AnyValue) -> Value {
    use any_value::Value::{
        ArrayValue, BoolValue, BytesValue, DoubleValue, IntValue, KvlistValue, StringValue,
    };
    match said.value {
        Some(StringValue(text)) => text.into(),
        Some(BoolValue(it)) => it.into(),
        Some(IntValue(number)) => number.into(),
        Some(DoubleValue(number)) => float(number),
        Some(ArrayValue(items)) => items.values.into_iter().map(value).collect(),
        Some(KvlistValue(pairs)) => attributes(pairs.values).into(),
        Some(BytesValue(bytes)) => STANDARD.encode(bytes).into(),
        // A reference into a table that traces do not have.
        _ => Value::Null,
    }
}
