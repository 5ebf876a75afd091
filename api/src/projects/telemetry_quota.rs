//! `GET` and `PUT /projects/{project}/telemetry-quota` — how many rows of telemetry are taken in a day.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use commands::telemetry_usage;
use domain::project::ProjectSettings;
use projections::projects::ProjectRow;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::retention::change;
use crate::body::Body;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::{Done, resource};
use crate::telemetry::day_after;

/// How many rows of telemetry a project may bring on a day (UTC).
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TelemetryQuota {
    /// Null: any number.
    rows_per_day: Option<u32>,
    /// Rows that were taken in today; counted only where there is a quota.
    rows_today: u64,
    /// When it begins anew.
    resets_at: DateTime<Utc>,
}

/// Rows on a day (UTC); null for any number.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SetTelemetryQuota {
    /// At least one.
    #[schema(minimum = 1)]
    rows_per_day: Option<u32>,
}

pub(crate) async fn show(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
) -> Result<Response, ApiError> {
    let now = (platform.now)();
    let rows = telemetry_usage::of_day(&platform.pool, project.it.id, now.date_naive()).await?;
    Ok(resource(view(&project.it, rows, now), project.it.version))
}

pub(crate) async fn set(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Body(SetTelemetryQuota { rows_per_day }): Body<SetTelemetryQuota>,
) -> Result<Done, ApiError> {
    if rows_per_day == Some(0) {
        return Err(ApiError::field("rowsPerDay", "out_of_range", "must be at least 1, or null"));
    }
    let now = (platform.now)();
    let rows = telemetry_usage::of_day(&platform.pool, project.it.id, now.date_naive()).await?;
    let settings = ProjectSettings { telemetry_rows: rows_per_day, ..project.it.settings.clone() };
    change(&platform, &project, settings, |_, project| view(project, rows, now)).await
}

fn view(project: &ProjectRow, rows_today: u64, now: DateTime<Utc>) -> serde_json::Value {
    json!(TelemetryQuota {
        rows_per_day: project.settings.telemetry_rows,
        rows_today,
        resets_at: day_after(now),
    })
}
