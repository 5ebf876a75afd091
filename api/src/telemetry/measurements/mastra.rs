//! Mastra's own exporter: `{"metrics":[…]}`, one object a value.

use domain::ids::DeploymentId;
use domain::ports::telemetry::{MetricKind, Point};
use serde_json::{Map, Value};

use super::said::{Measured, Said};
use crate::error::ApiError;
use crate::telemetry::batch::Batch;
use crate::telemetry::mastra::{each, optional_id, rest, time};
use crate::telemetry::resource::Resource;
use crate::telemetry::walk::parsed;

/// What has a column of its own.
const COLUMNS: &[&str] = &["timestamp", "name", "value", "labels", "unit", "traceId", "spanId"];
/// What else values are told apart by, and where that is said.
const LABELS: [(&str, &str); 4] = [
    ("correlationContext", "entityType"),
    ("correlationContext", "entityName"),
    ("costContext", "model"),
    ("costContext", "provider"),
];

/// Reads a body.
pub(super) fn read(body: &[u8], from: Option<DeploymentId>) -> Result<Batch<Point>, ApiError> {
    let mut batch = Batch::default();
    each(body, "metrics", |sent| batch.add_with(|| said(parsed(sent)?, from).and_then(Said::row)))?;
    Ok(batch)
}

fn said(value: Value, from: Option<DeploymentId>) -> Result<Said<'static>, String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = text(&value["name"]);
    let refused = |why: &str| format!("measurement of {}: {why}", name.chars().take(100).collect::<String>());
    let mut labels = value["labels"].as_object().cloned().unwrap_or_else(Map::new);
    for (place, label) in LABELS {
        if let Some(said) = value[place].get(label).filter(|said| !said.is_null()) {
            labels.entry(label).or_insert_with(|| said.clone());
        }
    }
    let context = &value["correlationContext"];
    let deployment = [&value["metadata"]["deploymentId"], &context["deploymentId"]];
    let deployment = deployment.into_iter().find_map(|id| id.as_str()?.parse().ok());
    Ok(Said {
        id: Some(text(&value["metricId"])).filter(|id| !id.is_empty()),
        kind: MetricKind::Gauge,
        unit: text(&value["unit"]),
        nanos: time(&value["timestamp"]).ok_or_else(|| refused("it has no timestamp"))?,
        start: 0,
        value: Measured::Number(value["value"].as_f64().ok_or_else(|| refused("its value is no number"))?),
        labels,
        service: Some(text(&context["serviceName"])),
        deployment_id: deployment.or(from),
        trace_id: optional_id(&value["traceId"]).map_err(|error| refused(&format!("traceId {error}")))?,
        span_id: optional_id(&value["spanId"]).map_err(|error| refused(&format!("spanId {error}")))?,
        name,
        context: Resource::of_row(rest(value, COLUMNS)),
    })
}
