//! `GET /api/v1/projects/{project}/usage-by-model` and `…/stats`: what was used, and how long it took.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use domain::ports::telemetry::ModelUsage;
use projections::projects::ProjectRow;
use serde::Serialize;
use serde_json::{Value, json};

use super::show::Tokens;
use super::{When, dollars, millis, tenant};
use crate::body::Query;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::items;

/// What was used of a model. Each call counts once: what agents and steps repeat does not.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ModelUsage)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ModelView<'a> {
    model: Option<&'a str>,
    provider: Option<&'a str>,
    calls: i64,
    /// How many of the calls have no cost, because their model has no price here.
    calls_without_cost: i64,
    usage: Tokens,
    /// US dollars, a decimal number.
    cost_usd: String,
}

/// Traces in numbers.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = TraceStats)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatsView {
    traces: i64,
    /// How many of them ended with an error.
    errors: i64,
    average_ms: f64,
    min_ms: f64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

pub(crate) async fn usage(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Query(when): Query<When>,
) -> Result<Json<Value>, ApiError> {
    let usage = platform.telemetry.usage(tenant(&project), when.period()?).await?;
    Ok(items(usage.iter().map(|model| json!(view(model))).collect(), None))
}

pub(crate) async fn stats(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Query(when): Query<When>,
) -> Result<Json<StatsView>, ApiError> {
    let stats = platform.telemetry.stats(tenant(&project), when.period()?).await?;
    Ok(Json(StatsView {
        traces: stats.traces,
        errors: stats.errors,
        average_ms: millis(stats.average_us),
        min_ms: millis(stats.min_us),
        p50_ms: millis(stats.p50_us),
        p95_ms: millis(stats.p95_us),
        p99_ms: millis(stats.p99_us),
        max_ms: millis(stats.max_us),
    }))
}

fn view(model: &ModelUsage) -> ModelView<'_> {
    ModelView {
        model: model.model.as_deref(),
        provider: model.provider.as_deref(),
        calls: model.calls,
        calls_without_cost: model.calls_without_cost,
        usage: model.usage.into(),
        cost_usd: dollars(model.cost_picos),
    }
}
