//! `GET /api/v1/projects/{project}/metrics`: numbers made of measurements.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, TimeDelta, Utc};
use domain::ids::DeploymentId;
use domain::ports::telemetry::{Aggregate, MetricAnswer, MetricQuestion, MetricSample};
use projections::projects::ProjectRow;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::body::Query;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::traces::{period, tenant};

/// So many numbers are in one answer.
const MOST: usize = 5000;
/// So many labels make a group.
const LABELS: usize = 4;
/// The longest step, in seconds: 31 days.
const LONGEST: u32 = 31 * 86_400;
/// What is asked about when it is not said: a day.
const BEFORE: TimeDelta = TimeDelta::days(1);

/// Which numbers.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(rename_all = "camelCase")]
pub(crate) struct Wanted {
    /// What is measured.
    #[param(min_length = 1)]
    name: String,
    /// How many measurements become one number: `rate` (a second), `sum`, `count`, `avg`, `min`, `max`, `p50`, `p95` or
    /// `p99`; `avg` when absent.
    agg: Option<String>,
    /// Labels that make a group, up to four with commas between them; `service` and `deploymentId` stand for the sender.
    group_by: Option<String>,
    /// One number for so many seconds; one for all when absent.
    #[param(minimum = 1, maximum = 2_678_400)]
    step: Option<u32>,
    /// Measured not before; a day before `to` when absent.
    from: Option<DateTime<Utc>>,
    /// Measured before; now when absent.
    to: Option<DateTime<Utc>>,
    /// Where it came from.
    #[param(value_type = Option<uuid::Uuid>)]
    deployment_id: Option<DeploymentId>,
}

/// Numbers, in the order of steps and groups.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Metrics)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    name: String,
    agg: String,
    step: Option<u32>,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    items: Vec<Sample>,
    /// Whether there are more: ask for less at a time, by longer steps, fewer groups or a shorter period.
    truncated: bool,
}

/// One number.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = MetricSample)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sample {
    /// Where its step begins; steps without measurements are left out.
    at: Option<DateTime<Utc>>,
    /// The labels that were asked for, with the values that its measurements have in common; null where they have none.
    group: Map<String, Value>,
    value: f64,
    /// How many values it is made of.
    count: i64,
}

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Answer>, ApiError> {
    let agg = wanted.agg.unwrap_or_else(|| "avg".to_owned());
    let aggregate = aggregate(&agg)?;
    if wanted.name.is_empty() || wanted.name.contains('\0') {
        return Err(ApiError::field("name", "invalid", "must be the name of what is measured"));
    }
    if wanted.step.is_some_and(|step| !(1..=LONGEST).contains(&step)) {
        return Err(ApiError::field("step", "out_of_range", "must be 1 to 2678400 seconds"));
    }
    let to = wanted.to.unwrap_or_else(|| (platform.now)());
    period(None, Some(to))?;
    let from = wanted.from.or_else(|| to.checked_sub_signed(BEFORE)).unwrap_or(to);
    let period = period(Some(from), Some(to))?;
    let question = MetricQuestion {
        name: wanted.name,
        aggregate,
        group_by: labels(wanted.group_by.as_deref())?,
        step: wanted.step,
        period,
        seconds: seconds(from, to),
        deployment_id: wanted.deployment_id,
        limit: MOST,
    };
    let MetricAnswer { samples, truncated } = platform.signals.metrics(tenant(&project), &question).await?;
    let items = samples.into_iter().map(|sample| shown(sample, &question.group_by)).collect();
    Ok(Json(Answer { name: question.name, agg, step: question.step, from, to, items, truncated }))
}

fn aggregate(name: &str) -> Result<Aggregate, ApiError> {
    Ok(match name {
        "rate" => Aggregate::Rate,
        "sum" => Aggregate::Sum,
        "count" => Aggregate::Count,
        "avg" => Aggregate::Average,
        "min" => Aggregate::Min,
        "max" => Aggregate::Max,
        "p50" => Aggregate::Quantile(0.5),
        "p95" => Aggregate::Quantile(0.95),
        "p99" => Aggregate::Quantile(0.99),
        _ => {
            let names = "must be rate, sum, count, avg, min, max, p50, p95 or p99";
            return Err(ApiError::field("agg", "invalid", names));
        }
    })
}

fn labels(list: Option<&str>) -> Result<Vec<String>, ApiError> {
    let labels: Vec<String> =
        list.into_iter().flat_map(|list| list.split(',')).map(|label| label.trim().to_owned()).collect();
    let odd = |label: &String| label.is_empty() || label.contains('\0');
    let repeats = labels.iter().collect::<HashSet<_>>().len() < labels.len();
    if repeats || labels.len() > LABELS || labels.iter().any(odd) {
        return Err(ApiError::field(
            "groupBy",
            "invalid",
            "must be up to four different labels with commas between them",
        ));
    }
    Ok(labels)
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of ten thousand years are exact")]
fn seconds(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    ((to - from).num_milliseconds().max(1)) as f64 / 1000.0
}

fn shown(sample: MetricSample, labels: &[String]) -> Sample {
    let group = labels.iter().cloned().zip(sample.group.into_iter().map(Value::from)).collect();
    Sample { at: sample.at, group, value: sample.value, count: sample.count }
}
