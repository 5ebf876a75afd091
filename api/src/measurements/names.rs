//! `GET /api/v1/projects/{project}/metrics/names`: what is measured.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use projections::projects::ProjectRow;
use serde::Serialize;
use serde_json::{Value, json};

use crate::body::Query;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::items;
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

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Query(when): Query<When>,
) -> Result<Json<Value>, ApiError> {
    let names = platform.signals.metric_names(tenant(&project), when.period()?, MOST).await?;
    let view = |it: &domain::ports::telemetry::MetricName| {
        json!(View {
            name: &it.name,
            kind: it.kind.as_str(),
            unit: it.unit.as_deref(),
            at: it.at,
            labels: &it.labels,
        })
    };
    Ok(items(names.iter().map(view).collect(), None))
}
