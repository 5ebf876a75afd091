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
use crate::telemetry::resource::Resource;

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
    resource: &'a Resource<'a>,
    /// The deployment that speaks, when its sender was told to say so.
    from: Option<DeploymentId>,
}

impl<'a> Metric<'a> {
    fn said(&self, [start, nanos]: [i128; 2], labels: Map<String, Value>, value: Measured) -> Said<'a> {
        Said {
            id: None,
            name: self.name.to_owned(),
            kind: self.kind,
            unit: self.unit.to_owned(),
            nanos,
            start,
            value,
            deployment_id: conventions::deployment(&labels, self.resource.sender()).or(self.from),
            labels,
            context: self.resource.clone(),
            service: self.resource.service().map(str::to_owned),
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
    (0..points).for_each(|_| batch.refuse(|| format!("measurement of {name}: {why}")));
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
    use opentelemetry_proto::tonic::metrics::v1::{
        Gauge, Metric as Sent, NumberDataPoint, ResourceMetrics, ScopeMetrics,
    };
    use prost::Message;

    use super::*;
    use crate::telemetry::batch::MOST;
    use crate::telemetry::resource::tests::large;

    const MANY: usize = 100_000;

    #[test]
    fn what_is_said_once_about_many_measurements_does_not_fill_the_memory() {
        let of = |value| {
            let point = NumberDataPoint {
                time_unix_nano: 1_700_000_000_000_000_000,
                value: Some(Number::AsDouble(value)),
                ..NumberDataPoint::default()
            };
            let data = Some(Data::Gauge(Gauge { data_points: vec![point; MANY] }));
            let metrics = vec![Sent { name: "a".to_owned(), data, ..Sent::default() }];
            let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
            let resource = Some(large());
            let sender = ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() };
            let body = ExportMetricsServiceRequest { resource_metrics: vec![sender] }.encode_to_vec();
            read(Format::Protobuf, &body, None).unwrap()
        };
        let batch = of(1.0);
        let kept = batch.rows.len();
        assert!((100..200).contains(&kept), "{kept}");
        assert!((MOST..MOST + (1 << 20)).contains(&batch.size()), "{}", batch.size());
        assert_eq!(batch.rejected(), (MANY - kept) as u64);
        let batch = of(f64::NAN);
        assert_eq!((batch.rows.len(), batch.rejected()), (0, MANY as u64), "they are no numbers");
    }
}
