//! OTLP in protobuf.

use domain::ids::DeploymentId;
use domain::ports::telemetry::{MetricKind, Point};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{HistogramDataPoint, Metric as Sent, NumberDataPoint};

use super::{Metric, NOTHING, of_histogram, of_sum, refuse};
use crate::error::ApiError;
use crate::telemetry::batch::Batch;
use crate::telemetry::measurements::said::{Histogram, Measured};
use crate::telemetry::otlp::protobuf::{attributes, decode, of_scope, of_sender};
use crate::telemetry::resource::Resource;

pub(super) fn read(body: &[u8], from: Option<DeploymentId>) -> Result<Batch<Point>, ApiError> {
    let request: ExportMetricsServiceRequest = decode(body)?;
    let mut batch = Batch::default();
    for sender in request.resource_metrics {
        let resource = of_sender(sender.resource);
        for scope in sender.scope_metrics {
            let resource = Resource::new(&resource, of_scope(scope.scope.as_ref()));
            for sent in scope.metrics {
                metric(&mut batch, sent, &resource, from);
            }
        }
    }
    Ok(batch)
}

fn metric(batch: &mut Batch<Point>, sent: Sent, resource: &Resource<'_>, from: Option<DeploymentId>) {
    let (name, unit) = (sent.name.as_str(), sent.unit.as_str());
    let of = |kind| Metric { name, unit, kind, resource, from };
    match sent.data {
        None => {}
        Some(Data::Gauge(gauge)) => numbers(batch, &of(MetricKind::Gauge), gauge.data_points),
        Some(Data::Sum(sum)) => match of_sum(sum.aggregation_temporality.into(), sum.is_monotonic) {
            Ok(kind) => numbers(batch, &of(kind), sum.data_points),
            Err(why) => refuse(batch, name, sum.data_points.len(), why),
        },
        Some(Data::Histogram(all)) => match of_histogram(all.aggregation_temporality.into()) {
            Ok(kind) => histograms(batch, &of(kind), all.data_points),
            Err(why) => refuse(batch, name, all.data_points.len(), why),
        },
        Some(Data::ExponentialHistogram(all)) => {
            refuse(batch, name, all.data_points.len(), "exponential histograms are not taken in");
        }
        Some(Data::Summary(all)) => refuse(batch, name, all.data_points.len(), "summaries are not taken in"),
    }
}

fn numbers(batch: &mut Batch<Point>, metric: &Metric<'_>, points: Vec<NumberDataPoint>) {
    for point in points {
        #[expect(clippy::cast_precision_loss, reason = "whole numbers beyond 2^53 are kept as floats")]
        let value = match point.value {
            Some(Number::AsDouble(value)) => value,
            Some(Number::AsInt(value)) => value as f64,
            None => f64::NAN,
        };
        if i128::from(point.flags) & NOTHING == 0 {
            let times = [point.start_time_unix_nano, point.time_unix_nano].map(i128::from);
            batch
                .add_with(|| metric.said(times, attributes(point.attributes), Measured::Number(value)).row());
        }
    }
}

fn histograms(batch: &mut Batch<Point>, metric: &Metric<'_>, points: Vec<HistogramDataPoint>) {
    for point in points {
        if i128::from(point.flags) & NOTHING == 0 {
            let times = [point.start_time_unix_nano, point.time_unix_nano].map(i128::from);
            let histogram = Histogram {
                count: point.count,
                sum: point.sum,
                min: point.min,
                max: point.max,
                bounds: point.explicit_bounds,
                buckets: point.bucket_counts,
            };
            batch.add_with(|| {
                metric.said(times, attributes(point.attributes), Measured::Histogram(histogram)).row()
            });
        }
    }
}
