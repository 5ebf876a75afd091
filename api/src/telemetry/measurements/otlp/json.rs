//! OTLP in JSON.

use domain::ids::DeploymentId;
use domain::ports::telemetry::{MetricKind, Point};
use serde_json::Value;

use super::{Metric, NOTHING, of_histogram, of_sum, refuse};
use crate::error::ApiError;
use crate::telemetry::batch::Batch;
use crate::telemetry::measurements::said::{Histogram, Measured, Said};
use crate::telemetry::otlp::json::{attributes, each, list, number};
use crate::telemetry::resource::Resource;
use crate::telemetry::walk::parsed;

pub(super) fn read(body: &[u8], from: Option<DeploymentId>) -> Result<Batch<Point>, ApiError> {
    let mut batch = Batch::default();
    each(body, ["resourceMetrics", "scopeMetrics", "metrics"], |sent, resource| {
        match parsed(sent) {
            Ok(sent) => metric(&mut batch, &sent, resource, from)?,
            Err(why) => batch.refuse(|| format!("a measurement: {why}")),
        }
        Ok(())
    })?;
    Ok(batch)
}

fn metric(
    batch: &mut Batch<Point>,
    sent: &Value,
    resource: &Resource<'_>,
    from: Option<DeploymentId>,
) -> Result<(), ApiError> {
    let text = |key: &str| sent[key].as_str().unwrap_or_default();
    let (name, unit) = (text("name"), text("unit"));
    let of = |kind| Metric { name, unit, kind, resource, from };
    for (key, not_taken) in [
        ("gauge", None),
        ("sum", None),
        ("histogram", None),
        ("exponentialHistogram", Some("exponential histograms are not taken in")),
        ("summary", Some("summaries are not taken in")),
    ] {
        let data = &sent[key];
        let points = list(data, "dataPoints")?;
        let temporality = temporality(&data["aggregationTemporality"]);
        let kind = match (key, not_taken) {
            (_, Some(why)) => Err(why),
            ("gauge", _) => Ok(MetricKind::Gauge),
            ("sum", _) => of_sum(temporality, data["isMonotonic"].as_bool().unwrap_or(false)),
            _ => of_histogram(temporality),
        };
        match kind {
            Ok(kind) => points.iter().filter(|point| is_one(point)).for_each(|point| {
                batch.add_with(|| said(&of(kind), point).and_then(Said::row));
            }),
            Err(why) => refuse(batch, name, points.len(), why),
        }
    }
    Ok(())
}

fn temporality(said: &Value) -> i64 {
    match said.as_str() {
        Some("AGGREGATION_TEMPORALITY_DELTA") => 1,
        Some("AGGREGATION_TEMPORALITY_CUMULATIVE") => 2,
        _ => said.as_i64().unwrap_or_default(),
    }
}

fn is_one(point: &Value) -> bool {
    number(&point["flags"]).unwrap_or_default() & NOTHING == 0
}

fn said<'a>(metric: &Metric<'a>, point: &Value) -> Result<Said<'a>, String> {
    let refused =
        |what: &str| format!("measurement of {}: {what}", metric.name.chars().take(100).collect::<String>());
    let time = |key: &str| number(&point[key]).unwrap_or_default();
    let value = match metric.kind.is_histogram() {
        false => {
            let value = [&point["asDouble"], &point["asInt"]].into_iter().find_map(float);
            Measured::Number(value.ok_or_else(|| refused("its value is no number"))?)
        }
        true => {
            let count = |said: &Value| number(said).and_then(|count| u64::try_from(count).ok());
            let all = |key: &str| point[key].as_array().map(Vec::as_slice).unwrap_or_default();
            let buckets: Option<_> = all("bucketCounts").iter().map(count).collect();
            let bounds: Option<_> = all("explicitBounds").iter().map(float).collect();
            Measured::Histogram(Histogram {
                count: count(&point["count"]).ok_or_else(|| refused("its count is no number"))?,
                sum: float(&point["sum"]),
                min: float(&point["min"]),
                max: float(&point["max"]),
                bounds: bounds.ok_or_else(|| refused("explicitBounds are no numbers"))?,
                buckets: buckets.ok_or_else(|| refused("bucketCounts are no whole numbers"))?,
            })
        }
    };
    Ok(metric.said(
        [time("startTimeUnixNano"), time("timeUnixNano")],
        attributes(&point["attributes"]),
        value,
    ))
}

/// A number, also as text: `NaN`, `Infinity`.
fn float(said: &Value) -> Option<f64> {
    match said {
        Value::String(text) => text.parse().ok(),
        said => said.as_f64(),
    }
}
