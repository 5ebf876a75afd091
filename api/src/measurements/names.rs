//! `GET /api/v1/projects/{project}/metrics/names`: what is measured.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::ports::telemetry::MetricName;
use projections::projects::ProjectRow;
use serde::Serialize;
use serde_json::{Value, json};

use crate::body::Query;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::traces::{When, tenant};

/// So many names are shown.
const MOST: i64 = 1000;

/// Something that is measured.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = MetricName)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View<'a> {
    name: &'a str,
    /// What was sent last: `gauge`, `delta`, `cumulative`, `histogram` or `cumulative_histogram`.
    kind: &'static str,
    unit: Option<&'a str>,
    /// When it was measured last.
    at: DateTime<Utc>,
    /// What that measurement is told apart by: `groupBy` takes these.
    labels: &'a [String],
}

impl<'a> View<'a> {
    fn of(MetricName { name, kind, unit, at, labels }: &'a MetricName) -> Self {
        Self { name, kind: kind.as_str(), unit: unit.as_deref(), at: *at, labels }
    }
}

/// What is measured, by name.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MetricNames<'a> {
    items: Vec<View<'a>>,
    /// Always null: all that is shown is shown at once.
    next_cursor: Option<&'static str>,
    /// Whether there are more: a shorter period has fewer.
    truncated: bool,
}

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Query(when): Query<When>,
) -> Result<Json<Value>, ApiError> {
    let names = platform.signals.metric_names(tenant(&project), when.period()?, MOST + 1).await?;
    let most = usize::try_from(MOST).unwrap_or(usize::MAX);
    let items = names.iter().take(most).map(View::of).collect();
    Ok(Json(json!(MetricNames { items, next_cursor: None, truncated: names.len() > most })))
}
