//! Mastra's own exporter: `{"logs":[…]}`, one object a line.

use domain::ids::DeploymentId;
use domain::ports::telemetry::{LogRecord, Severity};
use serde_json::Value;

use super::said::{Lines, Said};
use crate::error::ApiError;
use crate::telemetry::batch::Batch;
use crate::telemetry::mastra::{each, optional_id, rest, time};
use crate::telemetry::resource::Resource;
use crate::telemetry::walk::parsed;

/// What has a column of its own.
const COLUMNS: &[&str] = &["timestamp", "level", "message", "traceId", "spanId"];

/// Reads a body.
pub(super) fn read(body: &[u8], from: Option<DeploymentId>) -> Result<Batch<LogRecord>, ApiError> {
    let mut lines = Lines::default();
    each(body, "logs", |line| lines.add_with(|| said(parsed(line)?, from)))?;
    Ok(lines.batch)
}

fn said(line: Value, from: Option<DeploymentId>) -> Result<Said<'static>, String> {
    let context = &line["correlationContext"];
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let deployment = [&line["metadata"]["deploymentId"], &context["deploymentId"]];
    let deployment = deployment.into_iter().find_map(|id| id.as_str()?.parse().ok());
    Ok(Said {
        id: text(&line["logId"]),
        nanos: time(&line["timestamp"]).ok_or("a line has no timestamp")?,
        severity: line["level"].as_str().and_then(Severity::from_name),
        message: match &line["message"] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        },
        trace_id: optional_id(&line["traceId"]).map_err(|error| format!("a line: traceId {error}"))?,
        span_id: optional_id(&line["spanId"]).map_err(|error| format!("a line: spanId {error}"))?,
        service: text(&context["serviceName"]),
        deployment_id: deployment.or(from),
        attributes: rest(line, COLUMNS),
        resource: Resource::default(),
    })
}
