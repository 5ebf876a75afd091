//! `/api/health`, `/api/ready`, `/metrics`, `/openapi.json`.

pub(crate) mod openapi;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde_json::json;

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
    let good = consumers.iter().all(|consumer| consumer.stalled.is_none() && consumer.lag <= MAX_LAG);
    let view = consumers.iter().map(|consumer| {
        json!({
            "name": consumer.name,
            "position": consumer.position,
            "lag": consumer.lag,
            // Why it stalls is the operator's to know: it stands in the server's log.
            "stalled": consumer.stalled.is_some(),
        })
    });
    let work = work
        .iter()
        .map(|count| json!({ "process": count.process, "state": count.state, "rows": count.rows }));
    let body = json!({
        "status": if good { "ok" } else { "degraded" },
        "database": { "connected": true },
        "consumers": view.collect::<Vec<_>>(),
        "work": work.collect::<Vec<_>>(),
    });
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(body)).into_response()
}

pub(crate) async fn metrics(State(platform): State<Arc<Platform>>) -> Response {
    if let Ok(consumers) = platform.feed.progress().await {
        for consumer in consumers {
            metrics::gauge!("mastra_admin_consumer_lag_events", "consumer" => consumer.name)
                .set(consumer.lag as f64);
        }
    }
    if let Ok(counts) = projections::work::counts(&platform.pool).await {
        for count in counts {
            metrics::gauge!("mastra_admin_work_rows", "process" => count.process, "state" => count.state)
                .set(count.rows as f64);
        }
    }
    measure_ledger(&platform).await;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], platform.metrics.render()).into_response()
}

/// How much of the log no checkpoint covers yet, and how old what the anchors know is.
async fn measure_ledger(platform: &Platform) {
    let Ok(mut db) = platform.pool.acquire().await else { return };
    let Ok(status) = projections::ledger::status(&mut db).await else { return };
    let seconds = |at: chrono::DateTime<chrono::Utc>| ((platform.now)() - at).as_seconds_f64().max(0.0);
    metrics::gauge!("mastra_admin_ledger_lag_events").set((status.head - status.size) as f64);
    if let Some(at) = status.at {
        metrics::gauge!("mastra_admin_ledger_checkpoint_age_seconds").set(seconds(at));
    }
    for anchor in status.anchors {
        metrics::gauge!("mastra_admin_ledger_anchor_age_seconds", "anchor" => anchor.name)
            .set(seconds(anchor.at));
    }
}
