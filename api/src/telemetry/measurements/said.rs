//! A measurement as its sender said it, whatever the format, and what becomes of it.

use chrono::{DateTime, Utc};
use domain::ids::DeploymentId;
use domain::ports::telemetry::{MetricKind, Point, SpanId, TraceId};
use serde_json::{Map, Value};

use crate::telemetry::caps;
use crate::telemetry::identity::Identity;
use crate::telemetry::resource::Resource;

/// No number is larger: sums of them are numbers, too.
const LARGEST: f64 = 1e200;
/// What is smaller is nothing: what databases divide stays a number that they can hold.
const LEAST: f64 = 1e-200;
/// No histogram counts more: sums of them are whole numbers, too.
const MOST: u64 = 1 << 53;
/// Ranges of one histogram.
const RANGES: usize = 1024;

/// What was measured.
pub(super) enum Measured {
    Number(f64),
    Histogram(Histogram),
}

/// Values by their range.
pub(super) struct Histogram {
    pub(super) count: u64,
    pub(super) sum: Option<f64>,
    pub(super) min: Option<f64>,
    pub(super) max: Option<f64>,
    pub(super) bounds: Vec<f64>,
    pub(super) buckets: Vec<u64>,
}

/// A measurement as it was said.
pub(super) struct Said<'a> {
    /// Its sender's own id for it.
    pub(super) id: Option<String>,
    pub(super) name: String,
    pub(super) kind: MetricKind,
    pub(super) unit: String,
    /// Since 1970, in nanoseconds.
    pub(super) nanos: i128,
    /// Since when it counts; 0 when that is not said.
    pub(super) start: i128,
    pub(super) value: Measured,
    pub(super) labels: Map<String, Value>,
    pub(super) context: Resource<'a>,
    pub(super) service: Option<String>,
    pub(super) deployment_id: Option<DeploymentId>,
    pub(super) trace_id: Option<TraceId>,
    pub(super) span_id: Option<SpanId>,
}

impl Said<'_> {
    pub(super) fn row(self) -> Result<Point, String> {
        let named = Some(&self.name).filter(|name| !name.trim().is_empty());
        let name = caps::text(named.ok_or("a measurement has no name")?, caps::NAME);
        let refused = |why: &str| format!("measurement of {name}: {why}");
        let at = moment(self.nanos).filter(|at| at.timestamp() > 0);
        let at = at.ok_or_else(|| refused("it was made at no time that there is"))?;
        let (count, sum, min, max, bounds, buckets) = match self.value {
            Measured::Number(value) => {
                let value =
                    within(value).ok_or_else(|| refused("its value is no number that can be kept"))?;
                (1, Some(value), Some(value), Some(value), vec![], vec![])
            }
            Measured::Histogram(histogram) => {
                let checked = checked(histogram).map_err(refused)?;
                let buckets = checked.buckets.iter().map(|count| count.cast_signed()).collect();
                let (sum, min, max) = (checked.sum, checked.min, checked.max);
                (checked.count.cast_signed(), sum, min, max, checked.bounds, buckets)
            }
        };
        let context = self.context.into_map();
        let series = Identity::new("series")
            .bytes(self.name.as_bytes())
            .bytes(self.kind.as_str().as_bytes())
            .object(&self.labels)
            .object(&context)
            .id();
        // What one sender says of one thing about one time is one measurement, whatever its value is.
        let id = match &self.id {
            Some(id) => Identity::new("metric id").bytes(id.as_bytes()).id(),
            None => {
                Identity::new("metric").bytes(series.as_bytes()).number(self.nanos).number(self.start).id()
            }
        };
        let text = |text: String| {
            Some(text).filter(|text| !text.is_empty()).map(|text| caps::text(&text, caps::NAME))
        };
        Ok(Point {
            id,
            kind: self.kind,
            unit: text(self.unit),
            at,
            started_at: Some(self.start).filter(|start| *start > 0).and_then(moment),
            series,
            count,
            sum,
            min,
            max,
            bounds,
            buckets,
            labels: caps::object(self.labels),
            context,
            service: self.service.and_then(text),
            deployment_id: self.deployment_id,
            trace_id: self.trace_id,
            span_id: self.span_id,
            name,
        })
    }
}

fn moment(nanos: i128) -> Option<DateTime<Utc>> {
    // What a database can hold.
    let known = |at: &DateTime<Utc>| at.timestamp() < 253_402_300_800;
    i64::try_from(nanos.div_euclid(1000)).ok().and_then(DateTime::from_timestamp_micros).filter(known)
}

/// A number that can be added up and divided.
fn within(number: f64) -> Option<f64> {
    let number = if number.abs() < LEAST { 0.0 } else { number };
    Some(number).filter(|number| number.abs() <= LARGEST)
}

fn checked(mut histogram: Histogram) -> Result<Histogram, &'static str> {
    let Histogram { sum, min, max, bounds, .. } = &mut histogram;
    for number in [sum, min, max].into_iter().flatten().chain(bounds) {
        *number = within(*number).ok_or("its numbers cannot be kept")?;
    }
    let Histogram { count, bounds, buckets, .. } = &histogram;
    if *count > MOST || buckets.iter().any(|count| *count > MOST) {
        return Err("it counts more than can be kept");
    }
    if buckets.len() > RANGES {
        return Err("it has too many ranges");
    }
    let matching = if buckets.is_empty() { bounds.is_empty() } else { buckets.len() == bounds.len() + 1 };
    if !matching {
        return Err("bucketCounts must be one more than explicitBounds");
    }
    if !bounds.is_sorted_by(|low, high| low < high) {
        return Err("explicitBounds must rise");
    }
    if !buckets.is_empty() && buckets.iter().sum::<u64>() != *count {
        return Err("count must be the sum of bucketCounts");
    }
    Ok(histogram)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(count: u64, bounds: &[f64], buckets: &[u64]) -> Result<(), &'static str> {
        let (bounds, buckets) = (bounds.to_vec(), buckets.to_vec());
        checked(Histogram { count, sum: Some(1.0), min: None, max: None, bounds, buckets }).map(|_| ())
    }

    #[test]
    fn what_is_next_to_nothing_is_nothing() {
        assert_eq!([5e-324, -1e-201, 0.0, 1e-200].map(within), [0.0, 0.0, 0.0, 1e-200].map(Some));
        assert_eq!([f64::NAN, f64::INFINITY, -1e201].map(within), [None; 3]);
        let [sum, min, max] = [Some(5e-324); 3];
        let told = Histogram { count: 2, sum, min, max, bounds: vec![5e-324], buckets: vec![1, 1] };
        let kept = checked(told).unwrap();
        assert_eq!((kept.sum, kept.min, kept.max, kept.bounds), (Some(0.0), Some(0.0), Some(0.0), vec![0.0]));
    }

    #[test]
    fn a_histogram_must_add_up() {
        assert_eq!(histogram(3, &[1.0, 2.0], &[1, 2, 0]), Ok(()));
        assert_eq!(histogram(3, &[], &[3]), Ok(()));
        assert_eq!(histogram(3, &[], &[]), Ok(()), "without ranges");
        assert!(histogram(4, &[1.0, 2.0], &[1, 2, 0]).is_err());
        assert!(histogram(3, &[1.0, 2.0], &[1, 2]).is_err());
        assert!(histogram(3, &[2.0, 2.0], &[1, 2, 0]).is_err());
        assert!(histogram(3, &[1.0, f64::NAN], &[1, 2, 0]).is_err());
        assert!(histogram(3, &[1.0, f64::INFINITY], &[1, 2, 0]).is_err());
        assert!(histogram(u64::MAX, &[], &[]).is_err());
        assert!(histogram(3, &[1.0], &[]).is_err());
    }
}
