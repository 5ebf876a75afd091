//! `GET /api/v1/projects/{project}/scores`: newest first.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::ids::DeploymentId;
use domain::ports::telemetry::{Score, ScoreFilter, ScoreKind, TraceId};
use projections::projects::ProjectRow;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::body::Query;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::{items, page, time_and_id};
use crate::traces::{period, tenant};

/// Which scores. All that is given must hold.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(rename_all = "camelCase")]
pub(crate) struct Wanted {
    /// Given not before.
    from: Option<DateTime<Utc>>,
    /// Given before.
    to: Option<DateTime<Utc>>,
    /// `score` or `feedback`.
    kind: Option<String>,
    /// What was looked at.
    name: Option<String>,
    /// The trace it is about.
    trace_id: Option<String>,
    /// How many items; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    pub(crate) limit: Option<i64>,
    /// `nextCursor` of the page before.
    pub(crate) cursor: Option<String>,
}

/// A score.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Score)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View<'a> {
    id: String,
    /// `score` (a program thinks so) or `feedback` (a person does).
    kind: &'static str,
    at: DateTime<Utc>,
    /// What was looked at.
    name: &'a str,
    /// How well it did, where that is a number.
    value: Option<f64>,
    /// How well it did, in words.
    text: Option<&'a str>,
    comment: Option<&'a str>,
    source: Option<&'a str>,
    user_id: Option<&'a str>,
    trace_id: Option<String>,
    span_id: Option<String>,
    #[schema(value_type = Option<uuid::Uuid>)]
    deployment_id: Option<DeploymentId>,
    details: &'a Map<String, Value>,
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
    let filter = ScoreFilter { limit: limit + 1, ..filter(wanted)? };
    let scores = platform.signals.scores(tenant(&project), &filter).await?;
    let (scores, next) = page(scores, limit, |score| format!("{}-{}", score.at.timestamp_micros(), score.id));
    Ok(items(scores.iter().map(|score| json!(view(score))).collect(), next))
}

pub(crate) fn filter(wanted: Wanted) -> Result<ScoreFilter, ApiError> {
    let kind = wanted.kind.map(|name| {
        let unknown = || ApiError::field("kind", "invalid", "must be score or feedback");
        ScoreKind::from_name(&name).ok_or_else(unknown)
    });
    let trace = wanted.trace_id.map(|id| {
        id.parse::<TraceId>().map_err(|error| ApiError::field("traceId", "invalid", error.to_string()))
    });
    if wanted.name.as_ref().is_some_and(|name| name.contains('\0')) {
        return Err(ApiError::field("name", "invalid", "must not have U+0000 in it"));
    }
    Ok(ScoreFilter {
        period: period(wanted.from, wanted.to)?,
        kind: kind.transpose()?,
        name: wanted.name,
        trace_id: trace.transpose()?,
        after: wanted.cursor.as_deref().map(time_and_id).transpose()?,
        limit: 0,
    })
}

pub(crate) fn view(score: &Score) -> View<'_> {
    View {
        id: score.id.to_string(),
        kind: score.kind.as_str(),
        at: score.at,
        name: &score.name,
        value: score.value,
        text: score.text.as_deref(),
        comment: score.comment.as_deref(),
        source: score.source.as_deref(),
        user_id: score.user_id.as_deref(),
        trace_id: score.trace_id.map(|id| id.to_string()),
        span_id: score.span_id.map(|id| id.to_string()),
        deployment_id: score.deployment_id,
        details: &score.details,
    }
}
