//! `GET /api/v1/projects/{project}/traces`: newest first.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::ids::DeploymentId;
use domain::ports::telemetry::{Filter, Place, Status, TraceSummary};
use projections::projects::ProjectRow;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{dollars, millis, period, tenant};
use crate::body::Query;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::{items, list as cut, time_and_id};

/// Which traces. All that is given must hold.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(rename_all = "camelCase")]
pub(crate) struct Wanted {
    /// Began not before.
    from: Option<DateTime<Utc>>,
    /// Began before.
    to: Option<DateTime<Utc>>,
    /// How its root ended: `ok`, `error` or `unset`.
    status: Option<String>,
    /// What the name of its root contains, in any case of letters.
    name: Option<String>,
    /// How long its root took at least, in milliseconds.
    #[param(minimum = 0)]
    min_duration_ms: Option<i64>,
    /// For whom any of its spans was.
    user_id: Option<String>,
    /// In which conversation any of its spans was.
    session_id: Option<String>,
    /// A label of any of its spans.
    tag: Option<String>,
    /// A model of any of its spans.
    model: Option<String>,
    /// Where its root came from.
    #[param(value_type = Option<uuid::Uuid>)]
    deployment_id: Option<DeploymentId>,
    /// How many items; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    pub(crate) limit: Option<i64>,
    /// `nextCursor` of the page before.
    pub(crate) cursor: Option<String>,
}

/// A trace in a list.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Trace)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View<'a> {
    trace_id: String,
    /// Name of its root span.
    name: &'a str,
    kind: &'a str,
    /// `ok`, `error` or `unset`.
    status: &'static str,
    status_message: Option<&'a str>,
    started_at: DateTime<Utc>,
    duration_ms: f64,
    #[schema(value_type = Option<uuid::Uuid>)]
    deployment_id: Option<DeploymentId>,
    user_id: Option<&'a str>,
    session_id: Option<&'a str>,
    tags: &'a [String],
    spans: i64,
    /// How many of its spans ended with an error.
    errors: i64,
    input_tokens: i64,
    output_tokens: i64,
    /// US dollars, a decimal number.
    cost_usd: String,
}

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Value>, ApiError> {
    let limit = wanted.limit.unwrap_or(50);
    if !(1..=200).contains(&limit) {
        return Err(ApiError::field("limit", "out_of_range", "must be 1 to 200"));
    }
    let filter = Filter { limit: limit + 1, ..filter(wanted)? };
    let traces = platform.telemetry.traces(tenant(&project), &filter).await?;
    let (traces, next) = cut(traces, limit, cursor);
    Ok(items(traces.iter().map(|trace| json!(view(trace))).collect(), next))
}

pub(crate) fn filter(wanted: Wanted) -> Result<Filter, ApiError> {
    let known = |name: String| Status::from_name(&name);
    let unknown = || ApiError::field("status", "invalid", "must be ok, error or unset");
    let status = wanted.status.map(|name| known(name).ok_or_else(unknown)).transpose()?;
    let least =
        wanted.min_duration_ms.map(|millis| u32::try_from(millis).map(|millis| i64::from(millis) * 1000));
    let least = least
        .transpose()
        .map_err(|_| ApiError::field("minDurationMs", "out_of_range", "must be 0 to 4294967295"))?;
    for (field, text) in [
        ("name", &wanted.name),
        ("userId", &wanted.user_id),
        ("sessionId", &wanted.session_id),
        ("tag", &wanted.tag),
        ("model", &wanted.model),
    ] {
        if text.as_ref().is_some_and(|text| text.contains('\0')) {
            return Err(ApiError::field(field, "invalid", "must not have U+0000 in it"));
        }
    }
    Ok(Filter {
        period: period(wanted.from, wanted.to)?,
        status,
        name: wanted.name,
        min_duration_us: least,
        user_id: wanted.user_id,
        session_id: wanted.session_id,
        tag: wanted.tag,
        model: wanted.model,
        deployment_id: wanted.deployment_id,
        after: wanted.cursor.as_deref().map(place).transpose()?,
        limit: 0,
    })
}

/// Where the next page goes on: when the last trace began, and which it is.
fn cursor(trace: &TraceSummary) -> String {
    format!("{}-{}", trace.started_at.timestamp_micros(), trace.trace_id)
}

fn place(cursor: &str) -> Result<Place, ApiError> {
    time_and_id(cursor).map(|(started_at, trace_id)| Place { started_at, trace_id })
}

fn view(trace: &TraceSummary) -> View<'_> {
    View {
        trace_id: trace.trace_id.to_string(),
        name: &trace.name,
        kind: &trace.kind,
        status: trace.status.as_str(),
        status_message: trace.status_message.as_deref(),
        started_at: trace.started_at,
        duration_ms: millis(trace.duration_us),
        deployment_id: trace.deployment_id,
        user_id: trace.user_id.as_deref(),
        session_id: trace.session_id.as_deref(),
        tags: &trace.tags,
        spans: trace.spans,
        errors: trace.errors,
        input_tokens: trace.input_tokens,
        output_tokens: trace.output_tokens,
        cost_usd: dollars(trace.cost_picos),
    }
}
