//! Measurements that deployed servers send: values, increments and histograms.

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Keeping, Period, RecordId, SpanId, TelemetryError, Tenant, TraceId, Written};
use crate::ids::DeploymentId;

/// Stores measurements and reckons with them.
///
/// A measurement is what one project says under one id on one day (UTC). It is written once and never changes: what comes
/// later under the same id is a repeat and is not stored.
#[async_trait]
pub trait Measurements: Keeping {
    /// Stores measurements. When it answers with `Ok`, they are durable, all of them. Those outside of the window are an
    /// error of the caller.
    ///
    /// # Errors
    /// When the store is away or has enough to do; another try is worth it, and stores nothing twice.
    async fn write_points(&self, tenant: Tenant, points: Vec<Point>) -> Result<Written, TelemetryError>;

    /// What is measured, by name, at most `limit`.
    async fn metric_names(
        &self,
        tenant: Tenant,
        period: Period,
        limit: i64,
    ) -> Result<Vec<MetricName>, TelemetryError>;

    /// One number for each step and group, in this order; texts in the order of their bytes, those that are absent last. A
    /// name that was sent as several kinds is answered from the kind that was sent last.
    async fn metrics(
        &self,
        tenant: Tenant,
        question: &MetricQuestion,
    ) -> Result<MetricAnswer, TelemetryError>;
}

/// What a measurement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetricKind {
    /// A value at a time.
    Gauge,
    /// An increment.
    Delta,
    /// All increments since its sender began.
    Cumulative,
    /// How many values there were in each range.
    Histogram,
    /// The same, of all values since its sender began.
    CumulativeHistogram,
}

impl MetricKind {
    const ALL: [Self; 5] =
        [Self::Gauge, Self::Delta, Self::Cumulative, Self::Histogram, Self::CumulativeHistogram];

    /// As it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Delta => "delta",
            Self::Cumulative => "cumulative",
            Self::Histogram => "histogram",
            Self::CumulativeHistogram => "cumulative_histogram",
        }
    }

    /// From its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whether each measurement tells everything since its sender began.
    pub fn is_cumulative(self) -> bool {
        matches!(self, Self::Cumulative | Self::CumulativeHistogram)
    }

    /// Whether it counts values by range.
    pub fn is_histogram(self) -> bool {
        matches!(self, Self::Histogram | Self::CumulativeHistogram)
    }
}

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// What it is known by.
    pub id: RecordId,
    /// What is measured.
    pub name: String,
    /// What it is.
    pub kind: MetricKind,
    /// In which unit.
    pub unit: Option<String>,
    /// When it was measured, in whole microseconds.
    pub at: DateTime<Utc>,
    /// Since when it counts.
    pub started_at: Option<DateTime<Utc>>,
    /// The same for all measurements of one thing by one sender.
    pub series: RecordId,
    /// How many values it stands for: one, unless it is a histogram.
    pub count: i64,
    /// Their sum: the value itself, unless it is a histogram, whose sender may not say it.
    pub sum: Option<f64>,
    /// The least of them.
    pub min: Option<f64>,
    /// The largest of them.
    pub max: Option<f64>,
    /// Of a histogram: where its ranges end, in rising order; the last one has no end.
    pub bounds: Vec<f64>,
    /// Of a histogram: how many values are in each range, or nothing when that is not said.
    pub buckets: Vec<i64>,
    /// What it is told apart by.
    pub labels: Map<String, Value>,
    /// Everything else that was said about it and its sender.
    pub context: Map<String, Value>,
    /// The name that the sending program has for itself.
    pub service: Option<String>,
    /// The deployment that it came from.
    pub deployment_id: Option<DeploymentId>,
    /// The trace it was measured in.
    pub trace_id: Option<TraceId>,
    /// The span it was measured in.
    pub span_id: Option<SpanId>,
}

/// Something that is measured.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricName {
    /// Its name.
    pub name: String,
    /// What was sent last.
    pub kind: MetricKind,
    /// In which unit.
    pub unit: Option<String>,
    /// When it was measured last.
    pub at: DateTime<Utc>,
    /// What that measurement is told apart by.
    pub labels: Vec<String>,
}

/// How many numbers become one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aggregate {
    /// A second: of histograms how many values, of all else how much.
    Rate,
    /// All together.
    Sum,
    /// How many.
    Count,
    /// On average.
    Average,
    /// The least.
    Min,
    /// The largest.
    Max,
    /// What this part of them (0.95) is at most.
    Quantile(f64),
}

/// A question.
#[derive(Clone, Debug)]
pub struct MetricQuestion {
    /// What is measured.
    pub name: String,
    /// How many numbers become one.
    pub aggregate: Aggregate,
    /// Labels; `service` and `deploymentId` are columns.
    pub group_by: Vec<String>,
    /// One number for so many seconds, counted from 1970; one for all when absent.
    pub step: Option<u32>,
    /// When it was measured.
    pub period: Period,
    /// How many seconds a rate without steps is about.
    pub seconds: f64,
    /// Where it came from.
    pub deployment_id: Option<DeploymentId>,
    /// At most so many numbers.
    pub limit: usize,
}

impl MetricQuestion {
    /// How many seconds a rate is about: those of its step that are in the period.
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a step are exact")]
    pub fn seconds_of(&self, begin: Option<DateTime<Utc>>) -> f64 {
        let Some((step, begin)) = self.step.zip(begin) else { return self.seconds };
        let end = begin.checked_add_signed(TimeDelta::seconds(step.into())).unwrap_or(begin);
        let end = self.period.to.map_or(end, |to| end.min(to));
        let begin = self.period.from.map_or(begin, |from| begin.max(from));
        let micros = end.signed_duration_since(begin).num_microseconds().unwrap_or_default();
        // As with a period without steps, a rate is about a millisecond at least.
        micros.max(1000) as f64 / 1_000_000.0
    }
}

/// Numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricAnswer {
    /// At most as many as were asked for.
    pub samples: Vec<MetricSample>,
    /// Whether there are more, which were asked for or could not be reckoned together with these.
    pub truncated: bool,
}

/// A number.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSample {
    /// Where its step begins.
    pub at: Option<DateTime<Utc>>,
    /// What its measurements have in common, in the order in which that was asked for.
    pub group: Vec<Option<String>>,
    /// The number.
    pub value: f64,
    /// How many values it is made of.
    pub count: i64,
}

/// A range of a histogram: its ends, where it has them, and how many values are in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Above this.
    pub low: Option<f64>,
    /// Up to this.
    pub high: Option<f64>,
    /// How many values.
    pub count: i64,
}

/// What a part of all values is at most, as far as ranges can tell: within one, values are taken to be spread evenly.
/// The ranges are in rising order; `least` and `most` are of all values. None without values.
#[expect(clippy::cast_precision_loss, reason = "it is an estimate")]
pub fn quantile(part: f64, ranges: &[Range], least: Option<f64>, most: Option<f64>) -> Option<f64> {
    let all: f64 = ranges.iter().map(|range| range.count as f64).sum();
    let (mut left, mut found) = (part * all, None);
    for range in ranges.iter().filter(|range| range.count > 0) {
        let low = range.low.or(least).or(range.high).unwrap_or_default();
        let high = range.high.or(most).or(range.low).unwrap_or_default();
        let (low, high) = (low.max(least.unwrap_or(low)), high.min(most.unwrap_or(high)));
        let share = (left / range.count as f64).clamp(0.0, 1.0);
        found = Some(low + (high - low).max(0.0) * share);
        left -= range.count as f64;
        if left <= 0.0 {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(low: Option<f64>, high: Option<f64>, count: i64) -> Range {
        Range { low, high, count }
    }

    #[test]
    fn a_rate_is_about_what_the_period_has_of_its_step() {
        let at = |seconds: i64| DateTime::from_timestamp(seconds, 0);
        let question = |step, from, to| MetricQuestion {
            name: "x".into(),
            aggregate: Aggregate::Rate,
            group_by: vec![],
            step,
            period: Period { from, to },
            seconds: 50.0,
            deployment_id: None,
            limit: 1,
        };
        let steps = question(Some(60), at(90), at(200));
        let seconds = [60, 120, 180].map(|begin| steps.seconds_of(at(begin)));
        assert_eq!(seconds, [30.0, 60.0, 20.0]);
        assert_eq!(question(Some(60), None, None).seconds_of(at(60)), 60.0);
        assert_eq!(question(Some(60), at(70), at(75)).seconds_of(at(60)), 5.0);
        assert_eq!(
            question(Some(60), at(70), at(70)).seconds_of(at(60)),
            0.001,
            "nothing is divided by nothing"
        );
        assert_eq!(question(None, at(70), at(75)).seconds_of(None), 50.0);
    }

    #[test]
    fn a_quantile_lies_in_its_range_and_never_beyond_what_was_there() {
        let ranges =
            [range(None, Some(10.0), 50), range(Some(10.0), Some(20.0), 49), range(Some(20.0), None, 1)];
        let of = |part| quantile(part, &ranges, Some(1.0), Some(30.0)).unwrap();
        assert!((of(0.5) - 10.0).abs() < 1e-9, "{}", of(0.5));
        assert!((of(0.25) - 5.5).abs() < 1e-9, "{}", of(0.25));
        assert!((of(0.95) - (10.0 + 10.0 * 45.0 / 49.0)).abs() < 1e-9);
        assert!((of(1.0) - 30.0).abs() < 1e-9);
        // Without ends: as much as is known.
        assert_eq!(quantile(0.99, &[range(Some(5.0), None, 3)], None, None), Some(5.0));
        assert_eq!(quantile(0.5, &[range(None, None, 3)], Some(7.0), Some(7.0)), Some(7.0));
        assert_eq!(quantile(0.5, &[range(None, None, 0)], None, None), None);
        assert_eq!(quantile(0.5, &[], None, None), None);
        // What was there is less wide than its range.
        assert_eq!(quantile(0.5, &[range(Some(0.0), Some(100.0), 4)], Some(42.0), Some(42.0)), Some(42.0));
    }
}
