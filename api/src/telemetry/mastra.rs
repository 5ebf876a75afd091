//! Mastra's own exporter: `{"spans":[…]}`, one object a span that has ended.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use domain::ids::DeploymentId;
use domain::ports::telemetry::{NotAnId, Span, SpanId, Status, TraceId};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::raw::Raw;
use super::resource::Resource;
use super::walk::{self, parsed};
use super::{Batch, conventions};
use crate::error::ApiError;

/// What has a column of its own, or stands there under a second name.
const COLUMNS: &[&str] = &[
    "id",
    "spanId",
    "traceId",
    "parentSpanId",
    "name",
    "type",
    "spanType",
    "startTime",
    "endTime",
    "startedAt",
    "endedAt",
    "isRootSpan",
    "tags",
    "createdAt",
    "updatedAt",
    "error",
    "errorInfo",
];

/// Reads a body.
pub(super) fn read(body: &[u8], deployment: Option<DeploymentId>) -> Result<Batch<Span>, ApiError> {
    let mut batch = Batch::default();
    each(body, "spans", |span| batch.add_with(|| row(parsed(span)?, deployment)))?;
    Ok(batch)
}

/// Shows each item of the list that a body consists of.
pub(super) fn each<'a>(
    body: &'a [u8],
    name: &'static str,
    mut show: impl FnMut(&'a RawValue),
) -> Result<(), ApiError> {
    let is_there = walk::each(body, name, |item| {
        show(item);
        Ok(())
    })?;
    if is_there {
        return Ok(());
    }
    Err(ApiError::field(name, "required", format!("must be a list of {name}")))
}

fn row(span: Value, deployment: Option<DeploymentId>) -> Result<Span, String> {
    let text = |keys: [&str; 2]| keys.iter().find_map(|key| span[key].as_str());
    let trace = text(["traceId", "traceId"]).unwrap_or_default();
    let trace_id: TraceId = trace.parse().map_err(|error| format!("traceId {error}"))?;
    let span_id: SpanId =
        text(["spanId", "id"]).unwrap_or_default().parse().map_err(|error| format!("spanId {error}"))?;
    let parent = span["parentSpanId"].as_str().map(str::parse).transpose();
    let parent_id: Option<SpanId> =
        parent.map_err(|error| format!("span {span_id}: parentSpanId {error}"))?;
    let time = |keys: [&str; 2]| {
        let time = text(keys).ok_or_else(|| format!("span {span_id}: it has no {}", keys[0]))?;
        let time: DateTime<Utc> =
            time.parse().map_err(|_| format!("span {span_id}: {} is no time", keys[0]))?;
        Ok::<_, String>(i128::from(time.timestamp_micros()) * 1000)
    };
    let (start, end) = (time(["startedAt", "startTime"])?, time(["endedAt", "endTime"])?);
    let meaning = conventions::of_mastra(text(["spanType", "type"]).unwrap_or("generic"), &span);
    let error = [&span["errorInfo"], &span["error"]].into_iter().find(|error| !error.is_null()).cloned();
    let message = error.as_ref().map(|error| error["message"].as_str().unwrap_or("failed").to_owned());
    let raw = Raw {
        trace_id,
        span_id,
        parent_id,
        is_root: span["isRootSpan"].as_bool().unwrap_or(false) || parent_id.is_none(),
        name: text(["name", "name"]).unwrap_or_default().to_owned(),
        kind: "generic",
        start,
        end,
        status: if error.is_some() { Status::Error } else { Status::Ok },
        message,
        events: error.map(exception).into_iter().collect(),
        links: vec![],
        attributes: rest(span, COLUMNS),
    };
    raw.row_with(meaning, Resource::default(), deployment)
}

/// What is left: under the sender's own names, as it was said.
pub(super) fn rest(row: Value, columns: &[&str]) -> Map<String, Value> {
    let Value::Object(mut rest) = row else { return Map::new() };
    rest.retain(|key, value| !columns.contains(&key.as_str()) && !value.is_null());
    rest
}

/// A time, as text or in milliseconds since 1970; in nanoseconds.
pub(super) fn time(said: &Value) -> Option<i128> {
    let micros = match said {
        Value::String(text) => text.parse::<DateTime<Utc>>().ok()?.timestamp_micros().into(),
        said => i128::from(said.as_i64()?) * 1000,
    };
    Some(micros * 1000)
}

/// An id that may be left out, also as a text of zeros.
pub(super) fn optional_id<T: FromStr<Err = NotAnId>>(said: &Value) -> Result<Option<T>, NotAnId> {
    match said {
        Value::Null => Ok(None),
        Value::String(text) if text.bytes().all(|digit| digit == b'0') => Ok(None),
        said => said.as_str().unwrap_or_default().parse().map(Some),
    }
}

/// An error, as OpenTelemetry tells one.
fn exception(error: Value) -> Value {
    let mut attributes = Map::new();
    for (name, ours) in [
        ("name", "exception.type"),
        ("message", "exception.message"),
        ("stack", "exception.stacktrace"),
        ("id", "error.type"),
        ("domain", "error.domain"),
        ("category", "error.category"),
        ("details", "error.details"),
    ] {
        if let Some(said) = error.get(name).filter(|said| !said.is_null()) {
            attributes.insert(ours.to_owned(), said.clone());
        }
    }
    json!({ "name": "exception", "attributes": attributes })
}
