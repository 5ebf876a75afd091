//! OTLP in JSON: ids are hexadecimal, long numbers may be texts, numbers of kinds may be names.

use domain::ids::DeploymentId;
use domain::ports::telemetry::{Span as Row, SpanId, Status, TraceId};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::{float, is_root, kind};
use crate::error::ApiError;
use crate::telemetry::raw::Raw;
use crate::telemetry::resource::Resource;
use crate::telemetry::walk::{self, parsed};
use crate::telemetry::{Batch, caps};

pub(super) fn read(body: &[u8], deployment: Option<DeploymentId>) -> Result<Batch<Row>, ApiError> {
    let mut batch = Batch::default();
    each(body, ["resourceSpans", "scopeSpans", "spans"], |span, resource| {
        batch.add_with(|| row(&parsed(span)?, resource, deployment));
        Ok(())
    })?;
    Ok(batch)
}

/// Walks through a body: lists in lists, each by its name, and what was said about the sender.
pub(in crate::telemetry) fn each(
    body: &[u8],
    [senders, scopes, rows]: [&'static str; 3],
    mut row: impl FnMut(&RawValue, &Resource<'_>) -> Result<(), ApiError>,
) -> Result<(), ApiError> {
    walk::each(body, senders, |sender| {
        let resource = member(sender, "resource")?;
        let resource = caps::object(attributes(&resource["attributes"]));
        walk::each(sender.get().as_bytes(), scopes, |part| {
            let scope = member(part, "scope")?;
            let text = |key: &str| scope[key].as_str().unwrap_or_default();
            let resource = Resource::new(&resource, Some([text("name"), text("version")]));
            walk::each(part.get().as_bytes(), rows, |it| row(it, &resource)).map(drop)
        })
        .map(drop)
    })
    .map(drop)
}

/// What is said once about all that stands beside it.
fn member(of: &RawValue, name: &'static str) -> Result<Value, ApiError> {
    walk::member(of, name)?
        .map_or(Ok(Value::Null), parsed)
        .map_err(|why| ApiError::field(name, "invalid", why))
}

/// A list that may be left out. What stands there instead was meant to be one: nothing of it is dropped in silence.
pub(in crate::telemetry) fn list<'a>(of: &'a Value, name: &'static str) -> Result<&'a [Value], ApiError> {
    match &of[name] {
        Value::Null => Ok(&[]),
        Value::Array(items) => Ok(items),
        _ => Err(ApiError::field(name, "invalid", "must be a list")),
    }
}

fn row(span: &Value, resource: &Resource<'_>, deployment: Option<DeploymentId>) -> Result<Row, String> {
    let text = |key: &str| span[key].as_str().unwrap_or_default();
    let trace_id: TraceId = text("traceId").parse().map_err(|error| format!("traceId {error}"))?;
    let span_id: SpanId = text("spanId").parse().map_err(|error| format!("spanId {error}"))?;
    let parent = Some(text("parentSpanId")).filter(|parent| !parent.is_empty()).map(str::parse);
    let parent_id: Option<SpanId> =
        parent.transpose().map_err(|error| format!("span {span_id}: parentSpanId {error}"))?;
    let time = |key: &str| number(&span[key]).ok_or_else(|| format!("span {span_id}: {key} is no number"));
    let flags = number(&span["flags"]).and_then(|flags| u32::try_from(flags).ok()).unwrap_or_default();
    let raw = Raw {
        trace_id,
        span_id,
        parent_id,
        is_root: is_root(parent_id.is_some(), flags),
        name: text("name").to_owned(),
        kind: named_kind(&span["kind"]),
        start: time("startTimeUnixNano")?,
        end: time("endTimeUnixNano")?,
        status: match (span["status"]["code"].as_i64(), span["status"]["code"].as_str()) {
            (Some(1), _) | (_, Some("STATUS_CODE_OK")) => Status::Ok,
            (Some(2), _) | (_, Some("STATUS_CODE_ERROR")) => Status::Error,
            _ => Status::Unset,
        },
        message: span["status"]["message"].as_str().filter(|text| !text.is_empty()).map(str::to_owned),
        attributes: attributes(&span["attributes"]),
        events: items(&span["events"]).iter().map(event).collect(),
        links: items(&span["links"]).iter().map(link).collect(),
    };
    raw.row(resource, deployment)
}

fn named_kind(said: &Value) -> &'static str {
    const NAMES: [&str; 6] = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];
    let name = said.as_str().and_then(|name| name.strip_prefix("SPAN_KIND_"));
    let named = name.and_then(|name| NAMES.iter().position(|known| *known == name));
    kind(named.map_or_else(|| said.as_i64().unwrap_or_default(), |at| i64::try_from(at).unwrap_or_default()))
}

fn items(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

fn event(event: &Value) -> Value {
    let time = number(&event["timeUnixNano"]).unwrap_or_default().to_string();
    json!({ "name": event["name"], "timeUnixNano": time, "attributes": attributes(&event["attributes"]) })
}

fn link(link: &Value) -> Value {
    let attributes = attributes(&link["attributes"]);
    json!({ "traceId": link["traceId"], "spanId": link["spanId"], "attributes": attributes })
}

pub(in crate::telemetry) fn number(said: &Value) -> Option<i128> {
    match said {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.as_u64().map(i128::from).or(number.as_i64().map(i128::from)),
        _ => None,
    }
}

pub(in crate::telemetry) fn attributes(pairs: &Value) -> Map<String, Value> {
    let pair = |pair: &Value| Some((pair["key"].as_str()?.to_owned(), value(&pair["value"])));
    items(pairs).iter().filter_map(pair).collect()
}

pub(in crate::telemetry) fn value(said: &Value) -> Value {
    let Some((kind, said)) = said.as_object().and_then(|said| said.iter().next()) else { return Value::Null };
    match (kind.as_str(), said) {
        ("intValue", said) => {
            let whole = number(said).and_then(|number| i64::try_from(number).ok());
            whole.map_or_else(|| said.clone(), Value::from)
        }
        ("doubleValue", Value::String(text)) => text.parse().map_or(Value::Null, float),
        ("arrayValue", said) => items(&said["values"]).iter().map(value).collect(),
        ("kvlistValue", said) => attributes(&said["values"]).into(),
        _ => said.clone(),
    }
}
