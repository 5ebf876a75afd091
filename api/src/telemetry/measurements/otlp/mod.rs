//! OTLP: `resourceMetrics`, in protobuf and in JSON.

mod json;
mod protobuf;

use domain::ids::DeploymentId;
use domain::ports::telemetry::{MetricKind, Point};
use serde_json::{Map, Value};

use super::said::{Measured, Said};
use crate::error::ApiError;
use crate::telemetry::batch::Batch;
use crate::telemetry::conventions;
use crate::telemetry::otlp::Format;

/// The flag of a point that says that there is none.
const NOTHING: i128 = 1;

/// Reads a body.
pub(super) fn read(
    format: Format,
    body: &[u8],
    from: Option<DeploymentId>,
) -> Result<Batch<Point>, ApiError> {
    match format {
        Format::Protobuf => protobuf::read(body, from),
        Format::Json => json::read(body, from),
    }
}

/// What all measurements of a metric have in common.
struct Metric<'a> {
    name: &'a str,
    unit: &'a str,
    kind: MetricKind,
    resource: &'a Map<String, Value>,
    /// The deployment that speaks, when its sender was told to say so.
    from: Option<DeploymentId>,
}

impl Metric<'_> {
    fn said(&self, [start, nanos]: [i128; 2], labels: Map<String, Value>, value: Measured) -> Said {
        let service = self.resource.get("service.name").and_then(Value::as_str);
        Said {
            id: None,
            name: self.name.to_owned(),
            kind: self.kind,
            unit: self.unit.to_owned(),
            nanos,
            start,
            value,
            deployment_id: conventions::deployment(&labels, self.resource).or(self.from),
            labels,
            context: self.resource.clone(),
            service: service.map(str::to_owned),
            trace_id: None,
            span_id: None,
        }
    }
}

/// How a sum is told: what may fall is a value at a time.
fn of_sum(temporality: i64, is_monotonic: bool) -> Result<MetricKind, &'static str> {
    match (temporality, is_monotonic) {
        (1, _) => Ok(MetricKind::Delta),
        (2, true) => Ok(MetricKind::Cumulative),
        (2, false) => Ok(MetricKind::Gauge),
        _ => Err("it does not say its aggregationTemporality"),
    }
}

fn of_histogram(temporality: i64) -> Result<MetricKind, &'static str> {
    match temporality {
        1 => Ok(MetricKind::Histogram),
        2 => Ok(MetricKind::CumulativeHistogram),
        _ => Err("it does not say its aggregationTemporality"),
    }
}

/// Refuses what is not taken in, each measurement by itself.
fn refuse(batch: &mut Batch<Point>, name: &str, points: usize, why: &str) {
    let name: String = name.chars().take(100).collect();
    (0..points).for_each(|_| batch.add(Err(format!("measurement of {name}: {why}"))));
}
