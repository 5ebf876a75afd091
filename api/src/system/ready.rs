//! `GET /api/ready`: whether everything that a request needs is there and up to date.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use super::health::is_connected;
use crate::platform::Platform;

/// A read model that is further behind is not ready to answer.
const MAX_LAG: i64 = 10_000;

/// Each dependency.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Readiness {
    /// Whether requests should come here.
    ready: bool,
    database: bool,
    /// Read models and processes.
    consumers: Vec<Reader>,
    /// Rows of work by process and state.
    work: Vec<WorkCount>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Reader {
    name: String,
    /// The last position of the log that it has applied.
    position: i64,
    /// How many events it is behind.
    lag: i64,
    /// Whether an event stops it.
    stalled: bool,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
struct WorkCount {
    process: String,
    /// `ready`, `running`, `done` or `dead`.
    state: String,
    rows: i64,
}

#[utoipa::path(get, path = "/api/ready", operation_id = "ready", tag = "system",
    responses((status = 200, body = Readiness), (status = 503, body = Readiness)))]
pub(crate) async fn handler(State(platform): State<Arc<Platform>>) -> (StatusCode, Json<Readiness>) {
    let readiness = look(&platform).await;
    let code = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(readiness))
}

async fn look(platform: &Platform) -> Readiness {
    let away = Readiness { ready: false, database: false, consumers: vec![], work: vec![] };
    if !is_connected(&platform.pool).await {
        return away;
    }
    let (progress, counts) =
        tokio::join!(platform.feed.progress(), projections::work::counts(&platform.pool));
    let (Ok(progress), Ok(counts)) = (progress, counts) else { return away };
    let consumers: Vec<Reader> = progress
        .into_iter()
        .map(|one| Reader {
            name: one.name,
            position: one.position,
            lag: one.lag,
            stalled: one.stalled.is_some(),
        })
        .collect();
    let ready = consumers.iter().all(|reader| !reader.stalled && reader.lag <= MAX_LAG);
    let count =
        |row: projections::work::Count| WorkCount { process: row.process, state: row.state, rows: row.rows };
    Readiness { ready, database: true, consumers, work: counts.into_iter().map(count).collect() }
}
