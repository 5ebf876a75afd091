//! `/api/health`, `/api/ready`, `/metrics`, `/openapi.json`.

pub(crate) mod metrics;
pub(crate) mod openapi;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::ports::telemetry::Backlog;
use http::StatusCode;
use projections::feed::Progress;
use serde_json::{Value, json};

use crate::platform::Platform;

/// Events behind from which on the query tables are not ready.
const MAX_LAG: i64 = 10_000;

pub(crate) async fn health(State(platform): State<Arc<Platform>>) -> Response {
    let connected = sqlx::query("SELECT 1").execute(&platform.pool).await.is_ok();
    let environment = &platform.settings.environment;
    let timestamp = (platform.now)();
    if connected {
        return Json(json!({
            "status": "ok",
            "timestamp": timestamp,
            "database": { "status": "healthy", "connected": true },
            "environment": environment,
        }))
        .into_response();
    }
    let body = json!({
        "status": "error",
        "timestamp": timestamp,
        "database": { "status": "unhealthy", "connected": false },
        "environment": environment,
        "error": "The database does not answer.",
    });
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}

pub(crate) async fn ready(State(platform): State<Arc<Platform>>) -> Response {
    let (Ok(consumers), Ok(work)) =
        (platform.feed.progress().await, projections::work::counts(&platform.pool).await)
    else {
        let body = json!({ "status": "error", "database": { "connected": false } });
        return (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response();
    };
    let keeps_up =
        |consumer: &Progress| consumer.is_paused || consumer.stalled.is_none() && consumer.lag <= MAX_LAG;
    let is_ready = consumers.iter().all(keeps_up);
    // What waits or was paused is for operators to resolve; all else is served as ever.
    let is_whole = consumers.iter().all(|consumer| consumer.parked == 0 && !consumer.is_paused);
    let view = consumers.iter().map(|consumer| {
        json!({
            "name": consumer.name,
            "position": consumer.position,
            "lag": consumer.lag,
            // Why it stalls is the operator's to know: it stands in the server's log.
            "stalled": consumer.stalled.is_some(),
            "paused": consumer.is_paused,
            "parked": consumer.parked,
        })
    });
    let work = work
        .iter()
        .map(|count| json!({ "process": count.process, "state": count.state, "rows": count.rows }));
    // Senders try again for a while; all else is served as ever.
    let has_telemetry = platform.telemetry.check().await.is_ok();
    let backlog = platform.telemetry.backlog();
    let keeps_telemetry = has_telemetry && !backlog.is_refusing && backlog.set_aside == 0;
    let body = json!({
        "status": if is_ready && is_whole && keeps_telemetry { "ok" } else { "degraded" },
        "database": { "connected": true },
        "telemetry": telemetry(&platform, has_telemetry, &backlog),
        "encryption": platform.settings.encryption,
        "runner": {
            "name": platform.runner.name(),
            "serversApart": platform.runner.keeps_servers_apart(),
        },
        "consumers": view.collect::<Vec<_>>(),
        "work": work.collect::<Vec<_>>(),
    });
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(body)).into_response()
}

/// The store of telemetry, and what waits for it.
fn telemetry(platform: &Platform, is_connected: bool, backlog: &Backlog) -> Value {
    let oldest = backlog.oldest.map(|oldest| ((platform.now)() - oldest).num_seconds().max(0));
    json!({
        "store": platform.telemetry.name(),
        "connected": is_connected,
        "waiting": {
            "rows": backlog.rows,
            "bytes": backlog.bytes,
            "room": backlog.room,
            "oldestSeconds": oldest,
            "refusedRows": backlog.refused,
            "setAsideRows": backlog.set_aside,
        },
    })
}
